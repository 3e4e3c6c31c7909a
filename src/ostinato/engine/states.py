"""States as files: safetensors with the fingerprint of the model that made them."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.numpy

from ostinato.engine.engine import Engine
from ostinato.errors import BundleError
from ostinato.types import State


def save_state(path: str | Path, state: State, engine: Engine) -> None:
    """Write ``state`` of ``engine`` to a file, in one move. Raises BundleError when it cannot be written."""
    path = Path(path)
    metadata = {"model": engine.fingerprint, "state": str(hash(state))}
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(safetensors.numpy.save(dict(state.arrays), metadata))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BundleError(f"the state cannot be written to {path}: {error.strerror or error}") from error


def load_state(path: str | Path, engine: Engine) -> State:
    """Read a state that ``save_state`` wrote. Raises BundleError when it is missing, damaged or of another model."""
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
    state = State({name: arrays[name] for name in sorted(arrays)})
    shapes = {name: array.shape[1:] for name, array in state.arrays.items()}
    expected = {name: (width,) for name, width in engine.state_widths.items()}
    if shapes != expected or metadata.get("state") != str(hash(state)):
        raise BundleError(f"{path} is damaged: its contents do not match what was saved")
    return state
