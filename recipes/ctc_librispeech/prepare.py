"""English as it is spoken: the text that the language models of this recipe learn from.

    python recipes/ctc_librispeech/prepare.py DATA OUT

Writes OUT/train.txt and OUT/valid.txt, small letters, apostrophes and blanks, a turn or a verse a line: the
conversations of ``self_dialogue`` and the plays of ``tinyshakespeare``, without headings and names of speakers. Every
fiftieth line is held out. Nothing of LibriSpeech is in it.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HELD_OUT = 50


def lines(data: Path) -> Iterator[str]:
    """All lines, as they would be said."""
    for line in (data / "tinyshakespeare" / "input.txt").read_text("utf-8").splitlines():
        if not line.endswith(":"):
            yield spoken(line)
    with gzip.open(data / "self_dialogue" / "self_dialogue.txt.gz", "rt", encoding="utf-8") as file:
        for line in file:
            if not line.startswith("# "):
                yield spoken(line)


def spoken(line: str) -> str:
    """The words of a line; figures and symbols are left out."""
    return " ".join(re.findall(r"[a-z]+(?:'[a-z]+)*", line.lower().replace("\u2019", "'")))


def main(data: Path, out: Path) -> None:
    """Write both parts."""
    out.mkdir(parents=True, exist_ok=True)
    with (
        (out / "train.txt").open("w", encoding="utf-8") as train,
        (out / "valid.txt").open("w", encoding="utf-8") as valid,
    ):
        for number, line in enumerate(filter(None, lines(data))):
            (valid if number % HELD_OUT == 0 else train).write(line + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
