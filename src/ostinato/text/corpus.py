"""Reading text: plain or .gz, several files, standard input, always in a stream and never whole."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast
from weakref import finalize

from ostinato.config import did_you_mean
from ostinato.errors import TextError

CHUNK = 1 << 20
"""Bytes read at once."""
_BINARY_SHARE = 0.1
_CONTROLS = bytes({*range(1, 0x20)} - {*b"\b\t\n\f\r\x1b"})
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class _Totals:
    chars: int
    fingerprint: str


class Corpus:
    """A text in one or more files, in their order; ``-`` is standard input. It can be read any number of times.

    A line end is put between two files where the first does not end in one; nothing else is changed, but for a
    leading byte order mark, which is dropped.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        """Look at every file once. Raises TextError when one is missing, a folder, unreadable, or is empty.

        What can be read only once (standard input, a pipe) is copied to a temporary file first.
        """
        if not paths:
            raise TextError("no text was named; expected one or more files, or - for standard input")
        self.names = [str(path) for path in paths]
        self._spooled: dict[str, Path] = {}
        for name in dict.fromkeys(self.names):
            if _once_only(name):
                self._spooled[name] = spool = _spool(name)
                finalize(self, spool.unlink, missing_ok=True)

    def chunks(self) -> Iterator[str]:
        """The text from its beginning, in pieces of at most about a million characters. Raises TextError on bytes
        that are not UTF-8 (naming file, line and byte), on binary data, an empty file and a damaged .gz.
        """
        ended = True
        for name in self.names:
            if not ended:
                yield "\n"
            for piece in self._file(name):
                yield piece
                ended = piece.endswith("\n")

    def _file(self, name: str) -> Iterator[str]:
        shown = "standard input" if name == "-" else name
        with _stated(shown), self._opened(name) as (file, packed):
            yield from _decoded(file, shown, packed)

    def byte_lines(self) -> Iterator[bytes]:
        """The lines without their ends, file after file, as bytes: for formats of which a bad line spoils no other."""
        for name in self.names:
            with _stated(name), self._opened(name) as (file, _):
                for number, line in enumerate(file):
                    yield (line if number else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r\n")

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, bool]]:
        """The file, unpacked where it is .gz, and whether it was."""
        with self._spooled.get(name, Path(name)).open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    yield cast(BinaryIO, unpacked), True
            else:
                yield file, False

    @cached_property
    def _totals(self) -> _Totals:
        digest = hashlib.blake2b(digest_size=16)
        chars = 0
        for chunk in self.chunks():
            digest.update(chunk.encode())
            chars += len(chunk)
        return _Totals(chars, digest.hexdigest())

    @property
    def chars(self) -> int:
        """Length of the text in characters; reads all of it the first time."""
        return self._totals.chars

    def fingerprint(self) -> str:
        """A digest of the content, the same however it is packed or cut into files; reads it all the first time."""
        return self._totals.fingerprint

    def slice_chars(self, start: int, stop: int) -> Iterator[str]:
        """The characters from ``start`` to before ``stop``, in a stream."""
        place = 0
        for chunk in self.chunks():
            if place >= stop:
                return
            piece = chunk[max(0, start - place) : max(0, stop - place)]
            if piece:
                yield piece
            place += len(chunk)


def read_chunks(paths: Sequence[str | Path]) -> Iterator[str]:
    """The text of several files, once, in a stream. Raises TextError as ``Corpus`` does."""
    return Corpus(paths).chunks()


def lines(chunks: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces, without their ends (``\\n`` or ``\\r\\n``)."""
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split("\n")
        yield from (line.removesuffix("\r") for line in whole)
    if rest:
        yield rest.removesuffix("\r")


def _once_only(name: str) -> bool:
    """Whether what ``name`` names can be read only once; raises TextError where there is nothing to read."""
    if name == "-":
        return True
    path = Path(name)
    with _stated(name):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise TextError(f"{name} is a folder; expected a text file, name the files in it: {name.rstrip('/')}/*.txt")
    return not stat.S_ISREG(mode)


def _spool(name: str) -> Path:
    handle, path = tempfile.mkstemp(prefix="ostinato-")
    with os.fdopen(handle, "wb") as spool:
        if name == "-":
            shutil.copyfileobj(sys.stdin.buffer, spool)
        else:
            with _stated(name), Path(name).open("rb") as file:
                shutil.copyfileobj(file, spool)
    return Path(path)


@contextmanager
def _stated(name: str) -> Iterator[None]:
    """What the system says about a file, as one line."""
    try:
        yield
    except FileNotFoundError:
        raise TextError(f"no such file: {name}{_near(Path(name))}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TextError(f"{name} is a damaged .gz file: {error}; get it again") from None
    except OSError as error:
        raise TextError(f"cannot read {name}: {error.strerror or error}; expected a text file") from None


def _near(path: Path) -> str:
    """A name like it in the same folder, or what is missing of the way there."""
    if path.parent.is_dir():
        hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_file()])
        return hint or "; expected a text file, plain or .gz, or - for standard input"
    return f"; there is no folder {path.parent}"


def _decoded(file: BinaryIO, name: str, packed: bool) -> Iterator[str]:
    """UTF-8 to text; a character is never cut in two."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = file.read(CHUNK)
    _refuse_binary(block, name)
    marked = len(codecs.BOM_UTF8) if block.startswith(codecs.BOM_UTF8) else 0
    place, line, block = marked, 1, block[marked:]
    if not block:
        raise TextError(f"{name} is empty; expected text")
    while block:
        following = file.read(CHUNK)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not following)
        except UnicodeDecodeError as error:
            raise TextError(_bad_byte(error, name, place - pending, line, packed)) from None
        if text:
            yield text
        place, line, block = place + len(block), line + block.count(b"\n"), following


def _bad_byte(error: UnicodeDecodeError, name: str, place: int, line: int, packed: bool) -> str:
    before, bad = error.object[: error.start], error.object[error.start]
    where = "byte offset of the unpacked text" if packed else "byte offset"
    return (
        f"{name}, line {line + before.count(0x0A)}, {where} {place + error.start}: byte 0x{bad:02x} is not UTF-8; "
        "expected UTF-8 text, convert it with: iconv -f ISO-8859-1 -t UTF-8"
    )


def _refuse_binary(block: bytes, name: str) -> None:
    if block.startswith(_UTF16):
        raise TextError(f"{name} is UTF-16; expected UTF-8 text, convert it with: iconv -f UTF-16 -t UTF-8")
    controls = len(block) - len(block.translate(None, _CONTROLS))
    if 0 in block or controls > _BINARY_SHARE * len(block):
        found = f"{block.count(0)} NUL bytes" if 0 in block else f"{controls} control characters"
        raise TextError(f"{name} looks binary: {found} in its first {len(block)} bytes; expected UTF-8 text")
