"""All that a run needs to go on as if it had never stopped, in one file that is replaced atomically.

The file is safetensors (tensors only, nothing is executed on loading); the numbers that are not tensors travel as JSON
in its header, and so does a digest of them all: a flipped bit is noticed. What is held: weights, optimiser, weight
average, recurrent state, random generators, place in the text, progress.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ostinato.errors import BundleError, OstinatoError, TrainingError
from ostinato.training.optim import Average

State = tuple[Tensor, ...]
Tensors = dict[str, Tensor]


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Replace ``path`` atomically: a crash at any moment leaves the old file or the new one, whole."""
    plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    noted = json.dumps(facts)
    content = save(plain, {"facts": noted, "digest": _digest(plain, noted)})
    building = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with building.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        building.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            building.unlink(missing_ok=True)
        raise OstinatoError(
            f"{path}: cannot save the checkpoint: {error.strerror}; make room, then go on from the one before it with "
            "--resume"
        ) from None


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and facts of a checkpoint. Raises TrainingError when there is none, BundleError when damaged."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint, so there is nothing to resume; train without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            noted = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        if noted["digest"] != _digest(tensors, noted["facts"]):
            raise ValueError("its digest differs")
        return tensors, json.loads(noted["facts"])
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path}: damaged checkpoint ({reason}); train anew with --force") from None


def collect(model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None, state: State) -> Tensors:
    """Everything that changes in a step, by name."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, slots in optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser.{number}.{slot}": torch.as_tensor(value) for slot, value in slots.items() if value is not None
        }
    if average is not None:
        tensors |= {f"average.{index}": weight for index, weight in enumerate(average.weights)}
        tensors["average.steps"] = torch.tensor(average.steps)
    tensors |= {f"state.{index}": part for index, part in enumerate(state)}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore(tensors: Tensors, model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None) -> State:
    """The reverse of ``collect``; gives the recurrent state. Raises BundleError when it is of another model."""
    try:
        return _restore(tensors, model, optimiser, average)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"the checkpoint does not fit the run ({reason}); train anew with --force") from None


def _restore(tensors: Tensors, model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None) -> State:
    model.load_state_dict(_under(tensors, "model."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimiser.").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = tensor
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    if average is not None:
        for number, weight in enumerate(average.weights):
            weight.copy_(tensors[f"average.{number}"])
        average.steps = int(tensors["average.steps"])
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    device = next(model.parameters()).device
    state = _under(tensors, "state.")
    return tuple(state[str(part)].to(device) for part in range(len(state)))


def _digest(tensors: Tensors, noted: str) -> str:
    digest = hashlib.blake2b(noted.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _under(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
