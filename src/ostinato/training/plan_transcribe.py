"""From recordings to a recogniser: what the user did not set, with the reason for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ostinato.architectures.recogniser import RecogniserConfig
from ostinato.config import ModelConfig, Regularisers
from ostinato.errors import ConfigError
from ostinato.training.plan import RATES, Choices, Plan
from ostinato.training.settings import TrainingConfig

HOURS = 1.0
"""Of recordings, up to which they are few."""


@dataclass(frozen=True)
class RecordingsSize:
    """What the plan has to know of the recordings."""

    recordings: int
    """To train on."""
    seconds: float
    """Of all of them."""
    longest: int
    """Steps of the longest string that may be made of them."""
    vocab: int
    """Characters, the blank among them."""


def plan(size: RecordingsSize, given: Mapping[str, Any]) -> Plan[RecogniserConfig]:
    """Choose what ``given`` leaves open; it holds the settings of speech, and one of minutes, epochs and steps.

    It looks at the size of the data only, not at the speed of the machine. Raises ConfigError on settings that are for
    texts.
    """
    choices = Choices({name: value for name, value in given.items() if value is not None})
    _check(size, choices.given)
    model = _model(size, choices)
    choices.choose("threads", torch.get_num_threads(), "all")
    regularisers, training = _regularisers(size, choices), _training(size, choices, model)
    choices.values = {**choices.given, **choices.values}
    return Plan(model, regularisers, training, choices.values["threads"], choices.values, choices.reasons)


def _check(size: RecordingsSize, given: Mapping[str, Any]) -> None:
    names = ["sampled_softmax", "activation_penalty", "temporal_penalty", "dropout_embedding", "tied", "skip_output"]
    if given.get("embed") != given["mels"] * given["stack"]:  # which a run that is resumed brings along
        names.append("embed")
    for name in names:
        if given.get(name):
            raise ConfigError(f"{name} is {given[name]}, which --task transcribe does not have; leave it out")
    if given.get("bptt", size.longest) < size.longest:
        raise ConfigError(
            f"bptt is {given['bptt']}, but a string of recordings has up to {size.longest} steps; they are heard "
            "whole, leave it out"
        )


def _model(size: RecordingsSize, choices: Choices) -> RecogniserConfig:
    given = choices.given
    options = {name: value for name, value in choices.given_of(ModelConfig).items() if name not in _NOT_OF_LAYERS}
    options["cell"] = choices.choose("cell", "lstm", "the usual choice")
    both = choices.choose("bidirectional", True, "a sound is heard to its end first; to stream, --no-bidirectional")
    widths = tuple(given.get("hidden") or ())
    if len(widths) > 1:
        choices.values["layers"] = len(widths)
    else:
        widths = (widths or (128 if both else 256,)) * choices.choose("layers", 2, "letters over sounds")
    choices.choose("hidden", widths, "of each direction" if both else "as wide as both directions together")
    step = given["mels"] * given["stack"]
    layers = ModelConfig(**{**options, "vocab": size.vocab, "embed": step, "hidden": widths})
    reader = "encoder" if both else "stack"
    return RecogniserConfig(layers, reader, given["sample_rate"], given["mels"], given["stack"])


_NOT_OF_LAYERS = ("embed", "hidden", "bidirectional", "tied", "skip_output")


def _regularisers(size: RecordingsSize, choices: Choices) -> Regularisers:
    few = size.seconds < 3600.0 * HOURS
    strength = choices.choose("dropout", 0.3 if few else 0.1, f"{size.seconds / 3600.0:.1f} hours of recordings")
    choices.choose("dropout_input", round(strength / 3, 3), "a third of dropout")
    choices.choose("dropout_hidden", strength, "as dropout")
    choices.choose("dropout_output", strength, "as dropout")
    choices.choose("weight_decay", 0.01, "the usual small amount")
    return Regularisers(**choices.part(Regularisers))


def _training(size: RecordingsSize, choices: Choices, model: RecogniserConfig) -> TrainingConfig:
    choices.choose("batch", 16, "many updates")
    choices.choose("bptt", size.longest, "recordings are heard whole")
    optimiser, width = choices.given.get("optimiser", "adamw"), max(model.layers.hidden)
    rates = {"adamw": 0.4 * RATES[model.layers.cell] * min(1.0, (128 / width) ** 0.6), "sgd": 0.1, "rmsprop": 0.001}
    choices.choose("lr", float(f"{rates[optimiser]:.2g}"), f"for {optimiser}, {model.layers.cell}, width {width}")
    choices.choose("average", 0.99, "a mean of the weights is steadier than any of them")
    choices.choose("evaluations", 20, "every 5%")
    return TrainingConfig(**choices.part(TrainingConfig))
