"""``export``: a model folder in, a copy to ship out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ostinato import bundle
from ostinato.bundle import Weights
from ostinato.errors import BundleError, ConfigError, OstinatoError
from ostinato.pipeline import record
from ostinato.pipeline.card import write_copy_card


@dataclass(frozen=True)
class Exported:
    """A copy of a model, and how large it is."""

    folder: Path
    weights: Weights
    weights_bytes: int
    original_bytes: int
    """Of the weights of the model it was made from."""


def export(model: str | Path, out: str | Path, *, int8: bool = False, force: bool = False) -> Exported:
    """Copy the model in the folder ``model`` into the folder ``out``, without what its training left.

    With ``int8`` its matrices are stored in eight bits, a quarter of the size, and it runs in eight bits; it cannot be
    trained on. ``force`` replaces what ``out`` holds. Raises BundleError when there is no sound model, one in eight
    bits already, or no room for the copy, ConfigError when ``out`` is the model itself.
    """
    source, target = Path(model), Path(out)
    found = bundle.load(source)
    if found.weights == "int8":
        raise BundleError(f"{source} is in eight bits already; copy the folder, or export the model it was made from")
    if target.resolve() == source.resolve():
        raise ConfigError(f"{target} is the model itself; give -o another folder")
    record.check_room(target, force)
    weights: Weights = "int8" if int8 else "float32"
    name, original = target.resolve().name, source.resolve().name
    summary = {**found.training, "copy_of": original}
    bundle.save(
        target,
        model=found.model,
        tensors=found.tensors,
        tokenizer_json=[path.read_text("utf-8") for path in found.tokenizer_paths],
        training=summary,
        card=write_copy_card(name, original, found.model, weights, summary),
        weights=weights,
    )
    _drop_training(target)
    size = (target / bundle.WEIGHTS).stat().st_size
    return Exported(target, weights, size, found.weights_bytes)


def _drop_training(folder: Path) -> None:
    """What the training of a model that was replaced has left: else it could be resumed, and replace the copy."""
    try:
        if (folder / bundle.TRAINING).is_dir():
            shutil.rmtree(folder / bundle.TRAINING)
    except OSError as error:
        raise OstinatoError(f"{folder / bundle.TRAINING} cannot be removed: {error.strerror}; remove it") from None
