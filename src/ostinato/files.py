"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_place(path: str | Path) -> None:
    """Raise the OSError that writing a file there would end in, before the work that is to be written is done."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder; expected the name of a file", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent} to write it to", str(path))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, f"the folder {path.parent} cannot be written to", str(path))


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Another name to write a file to, which takes ``path`` in one move when the block ends well.

    Raises OSError, naming ``path`` and not that name; when anything is raised nothing is left of what was begun.
    """
    path = Path(path)
    check_place(path)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.filename not in (None, str(part)):  # of another file, that was read or run meanwhile
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Write a file, text as UTF-8: whoever reads it finds what was there before, or all of the new. As ``whole``."""
    with whole(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
