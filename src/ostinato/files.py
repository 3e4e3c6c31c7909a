"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def check_place(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise the OSError that writing a file there would end in, before the work that is to be written is done.

    A file that is one of ``inputs`` is no place either.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder; expected the name of a file", str(path))
    if path.is_file() and any(one.exists() and path.samefile(one) for one in map(Path, inputs)):
        raise FileExistsError(errno.EEXIST, "this is what is read; give what is written another name", str(path))
    folder = path.resolve().parent
    if not (_is_special(path) or folder.is_dir()):
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder} to write it to", str(path))
    if not os.access(path if _is_special(path) else folder, os.W_OK):
        raise PermissionError(errno.EACCES, f"the folder {folder} cannot be written to", str(path))


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Another name to write a file to, which takes ``path`` in one move when the block ends well.

    A link stays one, and what it leads to is replaced; a file keeps its mode. What is no file, such as a pipe or
    ``/dev/stdout``, is written to when all is there. Raises OSError, naming ``path`` and not the other name; when
    anything is raised nothing is left of what was begun.
    """
    path = Path(path)
    check_place(path)
    goal = None if _is_special(path) else path.resolve()
    part = _elsewhere() if goal is None else goal.with_name(goal.name + ".part")
    try:
        yield part
        if goal is None:
            with part.open("rb") as written, path.open("ab") as file:
                shutil.copyfileobj(written, file)
        else:
            if goal.exists():
                shutil.copymode(goal, part)
            part.replace(goal)
    except OSError as error:
        if error.filename not in (None, str(part)):  # of another file, that was read or run meanwhile
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Write a file: whoever reads it finds what was there before, or all of the new. As ``whole``.

    Text is written as UTF-8, and packed where the name ends in .gz; bytes are written as they are.
    """
    if isinstance(data, str):
        data = gzip.compress(data.encode(), mtime=0) if Path(path).suffix == ".gz" else data.encode()
    with whole(path) as part:
        part.write_bytes(data)


def _is_special(path: Path) -> bool:
    """Whether there is something that is neither a file nor a folder, or what a program has open (/dev/stdout)."""
    if not path.exists() or path.is_dir():
        return False
    place = path.parent.resolve() / path.name
    led = (place.parent / place.readlink()).parent.resolve() if place.is_symlink() else place.parent
    return not path.is_file() or "/proc" in map(str, (led, *led.parents))


def _elsewhere() -> Path:
    handle, name = tempfile.mkstemp(prefix="ostinato-")
    os.close(handle)
    return Path(name)
