"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Write a file, text as UTF-8, in one move: whoever reads it finds what was there before, or all of the new.

    Raises OSError; then nothing is left of what was begun.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
