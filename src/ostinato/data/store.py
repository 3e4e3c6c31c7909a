"""Ids on disk, memory-mapped: a text of any size costs no memory to train on.

A store is a folder of raw little-endian id files, one a part (``train.ids``, ``valid.ids``, ...), and ``store.json``,
which is written last: a folder without it is not a store. The folder's name is the fingerprint of what the ids were
made from.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import OstinatoError
from ostinato.types import Ids

_FORMAT = 1
_PIECE = 1 << 20  # ids counted at a time


@dataclass(frozen=True)
class Store:
    """The parts of a text as memory-mapped ids, and what is known of them."""

    parts: Mapping[str, NDArray[np.unsignedinteger]]
    """Ids ``(N,)`` by part, read-only, in the smallest type that holds the vocabulary."""
    facts: Mapping[str, Any]
    """What the writer noted: characters and bytes by part."""


def open_store(folder: Path) -> Store | None:
    """The store in ``folder``; None when there is none, or it is not whole (it is then written anew)."""
    try:
        notes = json.loads((folder / "store.json").read_text("utf-8"))
        if notes["format"] != _FORMAT:
            return None
        dtype = np.dtype(notes["dtype"])
        parts = {name: _map(folder / f"{name}.ids", dtype, count) for name, count in notes["counts"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Store(parts, notes["facts"])


def write_store(
    folder: Path, vocab: int, parts: Mapping[str, Iterable[Ids]], facts: Mapping[str, Any], also: Mapping[str, str]
) -> Store:
    """Write ``parts`` chunk by chunk, and the texts ``also`` (by file name) beside them; give the opened store.

    The ``facts`` may be filled while the parts are read: they are looked at after the last chunk.
    """
    dtype = smallest_dtype(vocab)
    building = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(mkdtemp(prefix=folder.name + ".", dir=folder.parent))
        counts = {name: _write(building / f"{name}.ids", chunks, dtype) for name, chunks in parts.items()}
        for name, text in also.items():
            (building / name).write_text(text, "utf-8")
        notes = {"format": _FORMAT, "dtype": dtype.str, "counts": counts, "facts": dict(facts)}
        (building / "store.json").write_text(json.dumps(notes), "utf-8")
        _put(building, folder)
    except OSError as error:
        raise OstinatoError(f"{folder}: cannot keep the prepared text: {error.strerror}; set OSTINATO_CACHE") from None
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    store = open_store(folder)
    assert store is not None
    return store


def _put(building: Path, folder: Path) -> None:
    """Move a finished store to where it belongs, unless another process has been quicker."""
    if open_store(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        building.rename(folder)
    except OSError:
        if open_store(folder) is None:
            raise


def release(ids: NDArray[np.integer]) -> None:
    """Give back the memory of what has been read of a memory-mapped part; it is mapped again when it is needed."""
    mapped = getattr(ids, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def count_tokens(ids: NDArray[np.integer], vocab: int) -> NDArray[np.int64]:
    """How often each token stands in ``ids (N,)``, ``(V,)``; a memory-mapped text is never in memory as a whole."""
    counts = np.zeros(vocab, np.int64)
    for start in range(0, len(ids), _PIECE):
        counts += np.bincount(ids[start : start + _PIECE], minlength=vocab)
        release(ids)
    return counts


def smallest_dtype(vocab: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned integer type that holds ids below ``vocab``."""
    return np.dtype(np.uint8 if vocab <= 1 << 8 else np.uint16 if vocab <= 1 << 16 else np.uint32)


def _write(path: Path, chunks: Iterable[Ids], dtype: np.dtype[np.unsignedinteger]) -> int:
    count = 0
    with path.open("wb") as file:
        for ids in chunks:
            file.write(ids.astype(dtype).tobytes())
            count += len(ids)
        file.flush()
        os.fsync(file.fileno())
    return count


def _map(path: Path, dtype: np.dtype[np.unsignedinteger], count: int) -> NDArray[np.unsignedinteger]:
    if path.stat().st_size != count * dtype.itemsize:
        raise ValueError(f"{path} is cut")
    if count == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r", shape=(count,))
