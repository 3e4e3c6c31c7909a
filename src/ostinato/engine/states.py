"""States as files: safetensors with the fingerprint of the model that made them, and with a note where wanted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ostinato.engine.engine import Engine
from ostinato.errors import BundleError
from ostinato.files import write_whole
from ostinato.types import State

_NOTE = "note"  # beside the arrays, not in the header: that may hold no more than 100 MB


def save_state(path: str | Path, state: State, engine: Engine, note: str = "") -> None:
    """Write ``state`` of ``engine``, and a ``note`` with it, to a file, in one move.

    Raises BundleError when it cannot be written.
    """
    arrays: dict[str, np.ndarray] = dict(state.arrays)
    if note:
        arrays[_NOTE] = np.frombuffer(note.encode(), np.uint8)
    metadata = {"model": engine.fingerprint, "state": str(hash(state)), "note": _digest(note.encode())}
    try:
        write_whole(path, safetensors.numpy.save(arrays, metadata))
    except OSError as error:
        raise BundleError(f"the state cannot be written to {path}: {error.strerror or error}") from error


def load_state(path: str | Path, engine: Engine) -> State:
    """Read a state that ``save_state`` wrote. Raises BundleError when it is missing, damaged or of another model."""
    return load_noted_state(path, engine)[0]


def load_noted_state(path: str | Path, engine: Engine) -> tuple[State, str]:
    """As ``load_state``, with the note; without one it is empty."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise BundleError(f"{path} does not exist; expected a state that save_state wrote") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"{path} is not a saved state or is damaged: {error}") from None
    if metadata.get("model") != engine.fingerprint:
        raise BundleError(f"{path} is not a state of this model; load it with the model that saved it")
    note = arrays.pop(_NOTE, np.zeros(0, np.uint8)).tobytes()
    state = State({name: arrays[name] for name in sorted(arrays)})
    shapes = {name: array.shape[1:] for name, array in state.arrays.items()}
    expected = {name: (width,) for name, width in engine.state_widths.items()}
    known = metadata.keys() <= {"model", "state", "note"}  # states were once saved without notes
    whole = metadata.get("state") == str(hash(state)) and metadata.get("note", _digest(b"")) == _digest(note)
    if shapes != expected or not known or not whole:
        raise BundleError(f"{path} is damaged: its contents do not match what was saved")
    return state, note.decode("utf-8", "replace")


def _digest(note: bytes) -> str:
    return hashlib.blake2b(note, digest_size=16).hexdigest()
