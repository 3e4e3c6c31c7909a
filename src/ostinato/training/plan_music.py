"""From a budget to sizes for a composer: what the user did not set, with the reason for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from ostinato.architectures.composer import KEYS, ComposerConfig, composer_tensors
from ostinato.config import ModelConfig, Regularisers
from ostinato.data.rolls import Roll
from ostinato.errors import ConfigError
from ostinato.models.composer import RecurrentComposer
from ostinato.training import probe
from ostinato.training.composing import RollObjective
from ostinato.training.plan import RATES, Choices, Plan
from ostinato.training.settings import TrainingConfig

WIDTHS = (48, 64, 96, 128, 160, 208, 256, 320, 384, 512)
USUAL = 208
"""Width where a budget in steps or epochs says nothing of time, at most."""
EPOCHS = 15
"""Of the pieces that a model should get through: of models that do, the widest is taken."""
WEIGHTS_PER_NOTE = 6.0
"""More of them learn the pieces by heart, transposed or not."""
LONGEST = 256
"""Steps of a window: longer pieces are cut for training."""
EVALUATIONS = 0.1  # share of the time of a run that they take, about
PROBE_SECONDS = 0.3

SecondsOf = Callable[[ComposerConfig, int, int, int], float]
"""Measures a step of training a model at batch, steps of a window, threads."""


@dataclass(frozen=True)
class MusicSize:
    """What the plan has to know of the pieces to train on."""

    pieces: int
    steps: int
    longest: int
    """Steps of the longest piece."""
    notes: int
    """Keys that sound, over all steps."""


def plan(size: MusicSize, given: Mapping[str, Any], seconds_of: SecondsOf | None = None) -> Plan[ComposerConfig]:
    """Choose what ``given`` leaves open; it holds one of minutes, epochs and steps.

    Only a budget in minutes depends on the speed of the machine. Raises ConfigError on settings that are for texts.
    """
    choices = Choices({name: value for name, value in given.items() if value is not None})
    _check(choices.given)
    longest = choices.choose("bptt", min(LONGEST, size.longest), f"the longest piece has {size.longest} steps")
    windows = max(size.pieces, -(-size.steps // longest))
    choices.choose("batch", 16 if windows >= 64 else 4, _BATCH[windows >= 64])
    choices.choose("threads", torch.get_num_threads(), "all")
    choices.choose("cell", "lstm", "the usual choice")
    choices.choose("layers", len(given.get("hidden") or (0,)), "one: the state is carried over a whole piece")
    choices.choose("output", "chain", "keys that sound together depend on each other")
    choices.choose("melody", "none", "whole pieces are composed")
    choices.choose("beats", 1.0, "a step of MIDI is a quarter note")
    choices.choose("transpose", 6, "music is the same in every key")
    model, epochs = _model(size, choices, seconds_of or seconds_a_step, windows)
    regularisers = _regularisers(choices, epochs)
    training = _training(choices, model)
    choices.values = {**choices.given, **choices.values}
    return Plan(model, regularisers, training, choices.values["threads"], choices.values, choices.reasons)


_BATCH = {True: "wide enough for fast products, narrow for many updates", False: "few pieces: more updates"}
_OF_TEXTS = (
    "vocab", "lower", "pretokenized", "sampled_softmax", "activation_penalty", "temporal_penalty", "dropout_embedding",
    "bidirectional", "tied",
)  # fmt: skip


def _check(given: Mapping[str, Any]) -> None:
    for name in _OF_TEXTS:
        if given.get(name):
            raise ConfigError(f"{name} is {given[name]}, which --task music does not have; leave it out")
    if given.get("level", "auto") != "auto" or given.get("min_count", 1) != 1:
        name = "level" if given.get("level", "auto") != "auto" else "min_count"
        raise ConfigError(f"{name} is for texts; leave it out with --task music")
    if given.get("output") == "bernoulli" and "chain" in given:
        raise ConfigError("chain is for --output chain; leave it out")


def _model(size: MusicSize, choices: Choices, seconds_of: SecondsOf, windows: int) -> tuple[ComposerConfig, float]:
    """The widest model that gets EPOCHS times through the pieces, and how often it gets through them."""
    given, batch = choices.given, choices.values["batch"]
    steps = -(-windows // batch)
    free = "hidden" not in given
    widths = [width for width in WIDTHS if given.get("minutes") or width <= USUAL] if free else [0]
    models = [_shaped(choices, width) for width in widths]
    fitting = [model for model in models if _weights(model) <= WEIGHTS_PER_NOTE * size.notes]
    for model in reversed(fitting or models[:1]):
        if given.get("minutes") is None:
            epochs = float(given["epochs"] if "epochs" in given else given["steps"] / steps)
            break
        if not free and "dropout" in given:  # a saved plan: nothing is chosen by the clock any more
            epochs = float(EPOCHS)
            break
        seconds = steps * seconds_of(model, batch, choices.values["bptt"], choices.values["threads"])
        epochs = 60.0 * given["minutes"] * (1.0 - EVALUATIONS) / seconds
        if epochs >= EPOCHS:
            break
    reason = f"{_weights(model) / max(1, size.notes):.1f} weights for each note, {WEIGHTS_PER_NOTE:g} at most"
    if given.get("minutes"):
        reason += f"; the pieces are read {epochs:.0f} times, {EPOCHS} at least where a width allows it"
    choices.choose("hidden", model.layers.hidden, reason)
    choices.choose("embed", model.layers.embed, "few keys sound at once")
    if model.output == "chain":
        choices.choose("chain", model.chain, "half the width, 128 at most")
    return model, epochs


def _weights(model: ComposerConfig) -> int:
    return sum(math.prod(shape) for shape in composer_tensors(model).values())


def _shaped(choices: Choices, width: int) -> ComposerConfig:
    given, values = choices.given, choices.values
    hidden = tuple(given.get("hidden") or (width,))
    hidden = hidden * values["layers"] if len(hidden) == 1 else hidden
    names = [field.name for field in fields(ModelConfig)]
    options = {name: given[name] for name in names if name in given and name not in ("hidden", "embed", "vocab")}
    options |= {"vocab": KEYS, "cell": values["cell"], "embed": given.get("embed") or min(64, hidden[0])}
    layers = ModelConfig(**options, hidden=hidden)
    chain = given.get("chain") or min(128, max(16, hidden[-1] // 2))
    return ComposerConfig(layers, values["output"], chain, values["melody"], values["beats"])


def _regularisers(choices: Choices, epochs: float) -> Regularisers:
    """Dropout grows with the number of times the pieces are read; what a chain learns needs more of it."""
    most = 0.4 if choices.values["output"] == "chain" else 0.15
    strength = round(min(most, max(0.0, 0.1 * math.log2(max(1.0, epochs)))), 2)
    strength = choices.choose("dropout", strength, f"the pieces are read {epochs:.0f} times")
    choices.choose("dropout_input", round(strength / 4, 3), "a quarter of dropout")
    choices.choose("dropout_hidden", strength, "as dropout")
    choices.choose("dropout_output", strength, "as dropout")
    choices.choose("weight_decay", 0.05, "few pieces: more than the usual")
    return Regularisers(**choices.part(Regularisers))


def _training(choices: Choices, model: ComposerConfig) -> TrainingConfig:
    optimiser = choices.given.get("optimiser", "adamw")
    cell, width = model.layers.cell, max(model.layers.hidden)
    rates = {"adamw": 0.8 * RATES[cell] * min(1.0, (256 / width) ** 0.6), "sgd": 0.5, "rmsprop": 0.001}
    choices.choose("lr", float(f"{rates[optimiser]:.2g}"), f"for {optimiser}, {cell}, width {width}")
    choices.choose("evaluations", 20, "every 5%")
    choices.choose("average", 0.998, "the mean of many weights: few pieces, noisy steps")
    return TrainingConfig(**choices.part(TrainingConfig))


def seconds_a_step(model: ComposerConfig, batch: int, length: int, threads: int) -> float:
    """How long a step of training takes, by doing some."""

    def make() -> tuple[RecurrentComposer, RollObjective]:
        network = RecurrentComposer(model, Regularisers(dropout_input=0.1, dropout_output=0.3))
        rng = np.random.default_rng(0)
        steps = max(1, length // 2)  # as long as most
        rolls: list[Roll] = [rng.random((steps, KEYS)) < 4 / KEYS for _ in range(batch)]
        return network, RollObjective(network, rolls, batch, steps, 0, 0)

    return probe.seconds_a_step(make, threads, PROBE_SECONDS)
