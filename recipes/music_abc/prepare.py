"""Tunes of a folder in ABC to three texts to train on, hold out and test on, no melody in two of them.

    python prepare.py FOLDER OUT

Two tunes that share a run of RUN intervals are near copies: all that hang together so go into one part, drawn by a
digest of the first of them. Of tunes with the same melody throughout one is kept. What is kept of a tune is its rhythm
(by the file it is from), metre, unit, key and music; titles, sources and order of parts are not music.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from pathlib import Path

from ostinato.text.abc import Tune, intervals, numbered, read_tunes

RUN = 16
"""Intervals that two tunes share only where one was copied: about four bars."""
RHYTHMS = {
    "jigs": "jig", "reels": "reel", "hpps": "hornpipe", "waltzes": "waltz", "slip": "slip jig", "morris": "morris",
    "playford": "playford", "xmas": "carol", "ashover": "country dance",
}  # fmt: skip
"""By the beginning of the file's name."""
KEPT = "MLK"


def rhythm(name: str) -> str:
    """Of a file."""
    return next((about for start, about in RHYTHMS.items() if name.startswith(start)), "tune")


def plain(tune: Tune, about: str) -> str:
    """A tune with a header of five lines, whose metre, unit and key are those that the music begins with."""
    header = {"M": "4/4", "L": "1/8", **{letter: tune.header[letter] for letter in KEPT if letter in tune.header}}
    lines = [line for line in tune.body.splitlines() if line.strip() and not line.startswith("%")]
    while lines and re.match("[A-Za-z]:", lines[0]):
        letter, _, value = lines.pop(0).partition(":")
        if letter in KEPT:
            header[letter] = value.strip()
    lines = [line for line in lines if not re.match("[A-Za-z]:", line) or line[0] in KEPT]
    music = re.sub(r"\\\s*\n(?![A-Za-z]:)", "", "\n".join(line.strip() for line in lines)).replace("\\", "")
    fields = [("X", "1"), ("R", about), *((letter, header[letter]) for letter in KEPT)]
    return "".join(f"{letter}:{value}\n" for letter, value in fields) + spelled(mended(music.strip())) + "\n"


def mended(music: str) -> str:
    """The same music with repeats that pair up, as players read them.

    Where a part ends with ``:|`` and the next does too but nothing opens it, ``::`` stands between; a ``|:`` that
    nothing closes is a double bar.
    """
    pieces = re.split(r"(:\|+:?|\|+:|::)", music)
    opened = closed = None
    for number in range(1, len(pieces), 2):
        sign = pieces[number]
        if closed is not None and re.search(r"\[2|\|2", pieces[number - 1]):
            closed = None  # the second ending was the end of that repeat
        if sign.startswith(":"):
            if opened is None and closed is not None:
                pieces[closed] = "::"
            opened, closed = None, number
        if sign.endswith(":"):
            if opened is not None:
                pieces[opened] = "||"
            opened, closed = number, None
    if opened is not None:
        pieces[opened] = "||"
    return "".join(pieces)


_TIE = re.compile(r"""([_^=]*)([A-Ga-g][,']*)([\d/]*\s*)-(?!(?:[\s|:()]|"[^"]*"|\[\d)*[_^=]*\2(?![,']))""")
_ODD_CHORDS = {"d": "dim", "a": "aug", "a7": "aug", "7b9": "7"}
"""As this collection writes them, and as they are usually written."""


def spelled(music: str) -> str:
    """The same music with signs that every reader of ABC knows.

    A tie to another note is left out: it was a slur. A capital with an octave mark is a small letter. Chords begin with
    a capital and have usual names.
    """
    music = re.sub(r"([A-G])'", lambda note: note[1].lower(), music)
    music = _TIE.sub(r"\1\2\3", music)
    return re.sub(r'"([A-Ga-g][#b]?)([^"]*)"', _chord, music)


def _chord(found: re.Match[str]) -> str:
    root, kind = found[1][0].upper() + found[1][1:], found[2]
    name, slash, bass = kind.partition("/")
    return f'"{root}{_ODD_CHORDS.get(name, name)}{slash}{bass}"'


def families(melodies: list[tuple[int, ...]]) -> list[int]:
    """For each melody the first of those that it hangs together with."""
    parent = list(range(len(melodies)))

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    seen: dict[tuple[int, ...], int] = {}
    for number, melody in enumerate(melodies):
        for start in range(max(1, len(melody) - RUN + 1)):
            other = root(seen.setdefault(melody[start : start + RUN], number))
            mine = root(number)
            parent[max(mine, other)] = min(mine, other)
    return [root(number) for number in range(len(melodies))]


def part(melody: tuple[int, ...]) -> str:
    """Of a family, by its first melody: a twentieth is held out, a tenth is tested on."""
    number = int.from_bytes(hashlib.sha256(repr(melody).encode()).digest()[:4], "little") % 20
    return "valid" if number == 0 else "test" if number < 3 else "train"


def main(folder: Path, out: Path) -> None:
    """Write ``train.abc``, ``valid.abc``, ``test.abc``, and what was done as JSON on standard output."""
    tunes = [(path.stem, tune) for path in sorted(folder.glob("*.abc")) for tune in read_tunes(path)]
    melodies = [intervals(tune) for _, tune in tunes]
    of = families(melodies)
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for number, (name, tune) in enumerate(tunes):
        if melodies.index(melodies[number]) == number:
            parts[part(melodies[of[number]])].append(plain(tune, rhythm(name)))
    out.mkdir(parents=True, exist_ok=True)
    for name, texts in parts.items():
        # A tune is a text of its own: a blank line follows the last one too.
        (out / f"{name}.abc").write_text(re.sub(r"(?m)^X:.*$", "X:1", numbered(texts)) + "\n", "utf-8")
    sizes = Counter(of)
    report = {
        "tunes": len(tunes),
        "same_melody_dropped": len(tunes) - len(set(melodies)),
        "families": len(sizes),
        "tunes_with_near_copies": sum(size for size in sizes.values() if size > 1),
        **{name: {"tunes": len(texts), "characters": sum(map(len, texts))} for name, texts in parts.items()},
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
