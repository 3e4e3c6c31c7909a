"""What tunes a model writes, beside real ones.

    python measure.py MODEL PARTS OUT [--count 200] [--temperature 1.0] [--redraw 8] [--seed 0]

``PARTS`` is what ``prepare.py`` wrote. Prints one JSON object, and writes into OUT the tunes as ``tunes.abc`` and the
first of them as sheets, where abcm2ps is. Needs Debian's abc2midi (package abcmidi); torch is not needed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import ostinato
from ostinato.language_model import LanguageModel, Writing
from ostinato.text.abc import Tune, bars, intervals, numbered, read_tunes, split_tunes
from ostinato.text.metre import faults
from ostinato.tunes import REDRAW, Composed, compose

SHEETS = 3
COPIED = 16
"""A run of so many intervals is one that prepare.py takes for a copy."""


def header(tune: Tune) -> str:
    """Its lines up to the key."""
    return tune.text[: -len(tune.body)] if tune.body else tune.text


def write(lm: LanguageModel, like: list[Tune], count: int, redraw: int, options: Writing) -> list[Composed]:
    """So many tunes with the headers of ``like``, one after the other."""
    return [
        compose(lm, header(like[index % len(like)]), redraw=redraw, options={**options, "index": index})
        for index in range(count)
    ]


def remarks(tune: Tune) -> list[str]:
    """The warnings and errors of abc2midi."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tune.abc"
        path.write_text(tune.text, "utf-8")
        command = ["abc2midi", str(path), "-o", str(path.with_suffix(".mid"))]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if re.search("warning|error", line, re.I)]
    return [re.sub(r"\d+(/\d+)?", "N", re.sub(r" in line-char \S+", "", line)) for line in lines]


class Known:
    """The melodies of the tunes that were trained on."""

    def __init__(self, tunes: list[Tune]) -> None:
        self._all = "|".join(_letters(tune) for tune in tunes)

    def longest_run(self, tune: Tune) -> int:
        """Intervals of the longest run that a tune shares with any of them."""
        melody, best = _letters(tune), 0
        for start in range(len(melody)):
            while start + best < len(melody) and melody[start : start + best + 1] in self._all:
                best += 1
        return best


def _letters(tune: Tune) -> str:
    """A letter for each interval."""
    return "".join(chr(0x400 + max(-200, min(200, interval))) for interval in intervals(tune))


def judge(tunes: list[Tune], known: Known) -> dict[str, Any]:
    """What is measured of tunes, written or real."""
    said = [remarks(tune) for tune in tunes]
    each = [bars(tune) for tune in tunes]
    count = sum(map(len, each))
    runs = [known.longest_run(tune) for tune in tunes]
    return {
        "tunes": len(tunes),
        "accepted": sum(not lines for lines in said) / len(tunes),
        "without_a_fault": sum(not faults(tune) for tune in tunes) / len(tunes),
        "bars": count,
        "bars_that_fit": sum(bar.fits for found in each for bar in found) / count,
        "tunes_all_of_whose_bars_fit": sum(all(bar.fits for bar in found) for found in each) / len(tunes),
        "longest_common_run": {"median": statistics.median(runs), "most": max(runs)},
        "copied": sum(run >= COPIED for run in runs) / len(tunes),
        "remarks": dict(Counter(line for lines in said for line in set(lines)).most_common(5)),
    }


def sheets(tunes: list[str], out: Path) -> None:
    """The first tunes as SVG, where abcm2ps is."""
    program = shutil.which("abcm2ps")
    if program is not None:
        (out / "sheet.abc").write_text(numbered(tunes[:SHEETS]), "utf-8")
        command = [program, "-q", "-g", "-O", str(out / "sheet"), str(out / "sheet.abc")]
        subprocess.run(command, check=False, capture_output=True, timeout=60)  # it draws what it can


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("parts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--redraw", type=int, default=REDRAW)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lm = ostinato.load(given.model)
    assert isinstance(lm, LanguageModel)
    real = {part: read_tunes(given.parts / f"{part}.abc") for part in ("train", "test")}
    known = Known(real["train"])
    options: Writing = {"temperature": given.temperature, "seed": given.seed}
    composed = write(lm, real["test"], given.count, given.redraw, options)
    texts = [one.text for one in composed]
    tunes = [tune for text in texts for tune in split_tunes(text)[:1]]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "tunes.abc").write_text(numbered(texts), "utf-8")
    sheets(texts, given.out)
    report = {
        "temperature": given.temperature,
        "seed": given.seed,
        "test_bits_per_char": lm.training["test"]["bits_per_char"],
        "redraw": given.redraw,
        "ended": sum(one.ended for one in composed) / given.count,
        "bars_drawn_again": sum(one.redrawn for one in composed),
        "written": judge(tunes, known),
        "real_test_tunes": judge(real["test"], known),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
