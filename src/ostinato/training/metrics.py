"""What a run measured: ``metrics.jsonl`` while it goes on, and pictures of it afterwards."""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ostinato.errors import OstinatoError

BITS = 1.0 / math.log(2.0)


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class MetricsFile:
    """One JSON object a line, flushed as it is written; a resumed run cuts what came after its checkpoint."""

    def __init__(self, path: Path, upto_step: int) -> None:
        """Raises OstinatoError when the file cannot be written."""
        self._path = path
        with self._stated():
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = _length(path, upto_step)
            self._file = path.open("ab", buffering=0)  # nothing is held back that a full disk would refuse later
            self._file.truncate(kept)

    def write(self, line: dict[str, Any]) -> None:
        """Add one line; what is not finite becomes null. Raises OstinatoError when the disk is full."""
        finite = {name: value if math.isfinite(value) else None for name, value in line.items()}
        data = (json.dumps(finite) + "\n").encode()
        with self._stated():
            while data:
                data = data[self._file.write(data) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _stated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OstinatoError(f"{self._path}: cannot write: {reason}; make room, then go on with --resume") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole: the last one of a killed run may be half written."""
    lines: list[dict[str, Any]] = []
    if path.exists():
        for text in path.read_bytes().split(b"\n")[:-1]:
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines


def _length(path: Path, upto_step: int) -> int:
    """Bytes of the lines that belong to the first ``upto_step`` steps; 0 when it is negative."""
    if upto_step < 0 or not path.exists():
        return 0
    whole = read_lines(path)
    kept = sum(1 for line in whole if line["step"] <= upto_step)
    return sum(len(text) + 1 for text in path.read_bytes().split(b"\n")[:kept])
