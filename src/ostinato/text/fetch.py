"""Getting a file from the web so that it is whole or not there at all, and taking archives apart."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import lzma
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, cast

from ostinato.errors import TextError

BLOCK = 1 << 16
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes that are here and the bytes there will be (None: not known)."""


def fetch(url: str, target: Path, size: int | None, sha256: str | None, progress: Progress | None = None) -> None:
    """Get ``url`` into ``target``, going on from ``target``.part where an earlier attempt was cut.

    ``target`` appears only when its size and checksum are right (None: not known). Raises TextError in one line.
    """
    part = target.with_name(target.name + ".part")
    try:
        _receive(url, part, size, progress or (lambda *_: None))
    except urllib.error.HTTPError as error:
        error.close()
        raise TextError(
            f"{url} answered {error.code} {error.reason}; expected the file, try later or put it into a folder that "
            "OSTINATO_DATA names"
        ) from None
    except (http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TextError(f"no space left for {target}; what has come is kept, make room and run it again") from None
        here = part.stat().st_size if part.exists() else 0
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise TextError(
            f"the connection to {url} failed: {reason}; {here} bytes are kept, run it again to go on"
        ) from None
    _check(url, part, size, sha256)
    part.replace(target)


def _receive(url: str, part: Path, size: int | None, progress: Progress) -> None:
    """Append to ``part`` until the whole is there."""
    here = part.stat().st_size if part.exists() else 0
    if size is not None and here >= size:
        return
    with _ask(url, here) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            here = 0
        length = answer.headers.get("Content-Length")
        total = here + int(length) if length else size
        with part.open("ab" if here else "wb") as out:
            while block := answer.read(BLOCK):
                out.write(block)
                here += len(block)
                progress(part.name.removesuffix(".part"), here, total)
    if total is not None and here < total:
        raise ConnectionError(f"it was cut after {here} of {total} bytes")


def _ask(url: str, here: int) -> http.client.HTTPResponse:
    """The answer from byte ``here`` on; the whole where the server does not know about parts, or has fewer bytes."""
    headers = {"User-Agent": "ostinato"} | ({"Range": f"bytes={here}-"} if here else {})
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if not here or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        return _ask(url, 0)
    return cast(http.client.HTTPResponse, answer)


def _check(url: str, part: Path, size: int | None, sha256: str | None) -> None:
    found = part.stat().st_size
    if size is not None and found != size:
        part.unlink()
        raise TextError(f"{url} gave {found} bytes; expected {size}, the file was removed, try again or another time")
    if sha256 is not None:
        digest = _digest(part)
        if digest != sha256:
            part.unlink()
            raise TextError(
                f"{url} has the sha256 {digest}; expected {sha256}, so it is another file and was removed; try again, "
                "or put a copy into a folder that OSTINATO_DATA names"
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, members: Mapping[str, Path]) -> None:
    """Take ``members`` out of a .zip, .tar (.gz, .xz, .bz2) or .gz, each to the path given, and nothing else.

    A .gz has one member, whatever it is called. Raises TextError where the archive is damaged or lacks one.
    """
    try:
        for member, path in members.items():
            with _container(archive) as container:
                _copy(_open_member(container, member), path)
    except KeyError:
        raise TextError(
            f"{archive} holds no {member}; expected {', '.join(members)}, remove it and try again"
        ) from None
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise TextError(f"{archive} is damaged: {error}; remove it and try again") from None


def _container(archive: Path) -> zipfile.ZipFile | tarfile.TarFile | gzip.GzipFile:
    if archive.suffix == ".zip":
        return zipfile.ZipFile(archive)
    if ".tar" in archive.suffixes or archive.suffix == ".tgz":
        return tarfile.open(archive)
    return gzip.open(archive)


def _open_member(container: zipfile.ZipFile | tarfile.TarFile | gzip.GzipFile, member: str) -> IO[bytes]:
    if isinstance(container, zipfile.ZipFile):
        return container.open(member)
    if isinstance(container, tarfile.TarFile):
        opened = container.extractfile(member)
        if opened is None:
            raise KeyError(member)
        return opened
    return container  # type: ignore[return-value]


def _copy(source: IO[bytes], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with source, part.open("wb") as out:
        shutil.copyfileobj(source, out, BLOCK)
    part.replace(path)
