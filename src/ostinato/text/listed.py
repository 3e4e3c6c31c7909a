"""Files that are named in a text: a line is the path of one, a tab, and what is said of it."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import TextError
from ostinato.text.corpus import lines, read_chunks


@dataclass(frozen=True)
class Wording:
    """What messages call the parts of a line."""

    file: str
    """``an image``."""
    text: str
    """``caption``."""
    own: str
    """``its caption``."""


CAPTIONS = Wording("an image", "caption", "its caption")
TRANSCRIPTS = Wording("a recording", "text", "what it says")


@dataclass(frozen=True)
class Listed:
    """One line."""

    path: str
    """Of the file, with ``/`` between its parts and without ``..``."""
    text: str
    """Words with one blank between."""
    folder: Path
    """Of the file that lists it."""
    place: str
    """File and line, for messages."""

    @property
    def file(self) -> Path:
        """The file itself, where it is in that folder."""
        return self.folder / self.path


def read_listed(files: Sequence[str | Path], wording: Wording) -> list[Listed]:
    """The lines of ``files``; columns after the second are left alone, empty lines left out.

    Raises TextError on a line without a tab, without a text, or with a path that leaves its folder, and as ``Corpus``
    does.
    """
    found = []
    for file in map(Path, files):
        for number, line in enumerate(lines(read_chunks([file])), start=1):
            if line.strip():
                found.append(_listed(line, file.parent, f"{file}, line {number}", wording))
    return found


def _listed(line: str, folder: Path, place: str, wording: Wording) -> Listed:
    path, *columns = line.split("\t")
    if not columns:
        raise TextError(
            f"{place} has no tab: {line[:60]!r}; expected the path of {wording.file}, a tab, and {wording.own}"
        )
    text = " ".join(columns[0].split())
    if not text:
        raise TextError(f"{place} has no {wording.text} of {path!r}; expected one after the tab, or leave the line out")
    return Listed(_inside(path, place, wording.file.split()[-1]), text, folder, place)


def _inside(path: str, place: str, what: str) -> str:
    """``path`` of a file of the kind ``what``, without detours.

    Raises TextError, which names ``place``, when it is empty or leads out of its folder.
    """
    plain = posixpath.normpath(path) if path.strip() else ""
    if not plain or plain == ".":
        raise TextError(f"{place} names no {what}; expected its path before the tab")
    # A backslash, a colon and NUL are separators, drives and the end of a name to some systems.
    if odd := [mark for mark in "\\:\0" if mark in plain]:
        raise TextError(f"{place}: {path!r} has {odd[0]!r} in it, which is no letter of a name everywhere; rename it")
    if plain.startswith(("/", "../")) or plain == "..":
        raise TextError(f"{place}: {path!r} leads out of the folder of the {what}s; expected a path inside of it")
    return plain
