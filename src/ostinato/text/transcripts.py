"""Transcripts: a line is the path of a recording, a tab, and what is said in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import TextError
from ostinato.text.captions import inside, listed_lines
from ostinato.text.corpus import Corpus


@dataclass(frozen=True)
class Spoken:
    """One line of a file of transcripts."""

    path: Path
    """Of the recording, in the folder of the file of transcripts or below."""
    text: str
    """Words with one blank between."""
    place: str
    """File and line, for messages."""


def read_transcripts(files: Sequence[str | Path]) -> list[Spoken]:
    """The lines of ``files``; columns after the second are left alone, empty lines left out.

    Raises TextError on a line without a tab, without a text, or with a path that leaves its folder, and as ``Corpus``
    does.
    """
    found = []
    for file in map(Path, files):
        for number, line in enumerate(listed_lines(Corpus([file])), start=1):
            if line.strip():
                found.append(_spoken(line, file.parent, f"{file}, line {number}"))
    return found


def _spoken(line: str, folder: Path, place: str) -> Spoken:
    path, *columns = line.split("\t")
    if not columns:
        raise TextError(f"{place} has no tab: {line[:60]!r}; expected the path of a recording, a tab, and what it says")
    text = " ".join(columns[0].split())
    if not text:
        raise TextError(f"{place} has no text of {path!r}; expected one after the tab, or leave the line out")
    return Spoken(folder / inside(path, place, "recording"), text, place)
