"""Captions: a line is the path of an image, a tab, and what the image shows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import TextError
from ostinato.text.corpus import Corpus


@dataclass(frozen=True)
class Captioned:
    """One line of a file of captions."""

    image: str
    """The path of the image in its folder or archive, with ``/`` between its parts and without ``..``."""
    caption: str
    folder: Path
    """Of the file of captions: where images are that no other place is named for."""
    place: str
    """File and line, for messages."""


def read_captions(files: Sequence[str | Path]) -> list[Captioned]:
    """The lines of ``files``; columns after the second are left alone, empty lines left out.

    Raises TextError on a line without a tab, without a caption, or with a path that leaves its folder, and as
    ``Corpus`` does.
    """
    found = []
    for file in map(Path, files):
        for number, line in enumerate(listed_lines(Corpus([file])), start=1):
            if line.strip():
                found.append(_captioned(line, file.parent, f"{file}, line {number}"))
    return found


def listed_lines(corpus: Corpus) -> Iterator[str]:
    """The lines of a text, without their ends."""
    rest = ""
    for chunk in corpus.chunks():
        *lines, rest = (rest + chunk).split("\n")
        yield from (line.removesuffix("\r") for line in lines)
    yield rest.removesuffix("\r")


def _captioned(line: str, folder: Path, place: str) -> Captioned:
    path, *columns = line.split("\t")
    if not columns:
        raise TextError(f"{place} has no tab: {line[:60]!r}; expected the path of an image, a tab, and its caption")
    caption = " ".join(columns[0].split())
    if not caption:
        raise TextError(f"{place} has no caption of {path!r}; expected one after the tab, or leave the line out")
    return Captioned(inside(path, place, "image"), caption, folder, place)


def inside(path: str, place: str, what: str) -> str:
    """``path`` of a file of the kind ``what``, without detours.

    Raises TextError, which names ``place``, when it is empty or leads out of its folder.
    """
    plain = posixpath.normpath(path) if path.strip() else ""
    if not plain or plain == ".":
        raise TextError(f"{place} names no {what}; expected its path before the tab")
    # A backslash, a colon and NUL are separators, drives and the end of a name to some systems.
    if plain.startswith(("/", "../")) or plain == ".." or any(mark in plain for mark in "\\:\0"):
        raise TextError(f"{place}: {path!r} leads out of the folder of the {what}s; expected a path inside of it")
    return plain
