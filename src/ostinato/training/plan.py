"""From a budget to sizes: everything about a run that the user did not set, with the reason for each.

docs/plan.md says which of the rules rest on a measurement and which on custom.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import torch

from ostinato.architectures import Architecture
from ostinato.config import ModelConfig, Regularisers
from ostinato.errors import ConfigError
from ostinato.training.probe import (
    LARGE_VOCABULARY,
    Speed,
    most_scored,
    operations_per_token,
    probe,
    weights,
)
from ostinato.training.settings import TrainingConfig

WIDTHS = (64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024)
TOKENS_PER_WEIGHT = {"characters": 3.0, "words": 1.2}
WEIGHTS_PER_TOKEN = {"characters": 1.5, "words": 5.0}  # more of them learn the text by heart

RATES = {
    "lstm": 0.01,
    "peephole_diagonal": 0.01,
    "peephole": 0.005,
    "gru": 0.005,
    "gru_reset_after": 0.005,
    "rnn": 0.004,
}
"""Of adamw, to width 256, for characters; the GRUs take the rate of the others where tokens are words."""

SpeedOf = Callable[[ModelConfig, int, int, int | None, int], Speed]
"""Measures training a model at batch, bptt, threads, sampled_softmax."""


@dataclass(frozen=True)
class TextSize:
    """What the plan has to know of the text: how many tokens there are to train on, of how many kinds."""

    tokens: int
    vocab: int

    @property
    def words(self) -> bool:
        """Whether tokens are words, or pieces so long that the vocabulary is large."""
        return self.vocab >= LARGE_VOCABULARY


Model = TypeVar("Model", bound=Architecture)


@dataclass(frozen=True)
class Plan(Generic[Model]):
    """A run in full: the model, its regularisers, its training, and why."""

    model: Model
    regularisers: Regularisers
    training: TrainingConfig
    threads: int
    values: Mapping[str, Any]
    """Every setting by name, as ``--config`` takes them."""
    reasons: Mapping[str, str]
    """By the name of a setting; those the user gave have none."""


@dataclass
class Choices:
    """Values so far: those the user set, then those the plan adds, each with its reason."""

    given: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def choose(self, name: str, value: Any, reason: str) -> Any:
        """The user's value, or ``value`` for ``reason``."""
        if self.given.get(name) is not None:
            value = self.given[name]
        else:
            self.reasons[name] = reason
        self.values[name] = value
        return value

    def part(self, kind: type) -> dict[str, Any]:
        """What was chosen or given of the fields of ``kind``."""
        values = {**self.given, **self.values}
        return {entry.name: values[entry.name] for entry in fields(kind) if entry.name in values}

    def given_of(self, kind: type) -> dict[str, Any]:
        """What the user set of the fields of ``kind``."""
        names = [entry.name for entry in fields(kind)]
        return {name: self.given[name] for name in names if self.given.get(name) is not None}


def plan(text: TextSize, given: Mapping[str, Any], speed_of: SpeedOf = probe) -> Plan[ModelConfig]:
    """Choose what ``given`` leaves open; it holds one of minutes, epochs and steps.

    Only a budget in minutes depends on the speed of the machine, so that any other run can be repeated exactly.
    Raises ConfigError when ``sampled_softmax`` draws no fewer tokens than the text has.
    """
    choices = Choices({name: value for name, value in given.items() if value is not None})
    _check_drawn(choices.given.get("sampled_softmax", 0), text.vocab)
    batch, bptt = _batches(text, choices)
    options = _architecture(text, choices)
    reads = _reading(text, choices, options, speed_of, batch * bptt)
    model = _model(text, choices, options, reads)
    regularisers = _regularisers(choices, reads(model) / text.tokens, words=text.words)
    training = _training(choices, model, words=text.words)
    choices.values = {**choices.given, **choices.values}
    return Plan(model, regularisers, training, choices.values["threads"], choices.values, choices.reasons)


def _check_drawn(drawn: int, vocab: int) -> None:
    if drawn >= vocab:
        raise ConfigError(
            f"sampled_softmax is {drawn}, but the text has {vocab} tokens to draw from; give fewer, or 0 to score all"
        )


def _batches(text: TextSize, choices: Choices) -> tuple[int, int]:
    short = text.tokens < 64 * 32 * 8
    reason = "few lanes, the text is short" if short else "wide enough for fast products, narrow for many updates"
    batch = choices.choose("batch", 8 if short else 32, reason)
    longest = max(4, text.tokens // (2 * batch))
    reason = "the usual for words" if text.words else "the usual for characters, about a line"
    return batch, choices.choose("bptt", min(35 if text.words else 64, longest), reason)


def _architecture(text: TextSize, choices: Choices) -> dict[str, Any]:
    """Of ModelConfig all but the widths, and the number of layers."""
    given = choices.given
    options = choices.given_of(ModelConfig)
    widths = options.pop("hidden", ())
    embed = options.pop("embed", None)
    options["vocab"] = text.vocab
    options["cell"] = choices.choose("cell", "lstm", "the usual choice; docs/cells.md compares the six")
    possible = not given.get("skip_output") and len(set(widths)) <= 1 and embed in (None, *widths)
    tied = text.words and possible and not given.get("bidirectional")
    reason = "a large vocabulary: sharing saves weights" if tied else "a small vocabulary"
    options["tied"] = choices.choose("tied", tied, reason)
    if len(widths) > 1:
        choices.values["layers"] = len(widths)
    else:
        reason = "the usual for words" if text.words else "one wide layer keeps the products large"
        choices.choose("layers", 2 if text.words else 1, reason)
    return options


def _reading(
    text: TextSize, choices: Choices, options: Mapping[str, Any], speed_of: SpeedOf, step: int
) -> Callable[[ModelConfig], float]:
    """How many tokens a model reads in the budget."""
    given = choices.given
    if given.get("minutes") is None:
        choices.choose("threads", torch.get_num_threads(), "all")
        tokens = given["epochs"] * text.tokens if "epochs" in given else given["steps"] * step
        return lambda _: float(tokens)
    typical = _shaped(choices, options, 192 if text.words else 256)
    drawn = given.get("sampled_softmax", 0)
    speed = speed_of(typical, choices.values["batch"], choices.values["bptt"], given.get("threads"), drawn)
    scored = most_scored(drawn, step)
    choices.choose("threads", speed.threads, speed.reason)
    return lambda model: 60.0 * given["minutes"] * speed.operations / operations_per_token(model, scored)


def _shaped(choices: Choices, options: Mapping[str, Any], width: int) -> ModelConfig:
    """The model whose layers are so wide, with the embedding that goes with it."""
    given = choices.given
    directions = 2 if options.get("bidirectional") else 1
    if options["tied"] and given.get("embed"):
        width = given["embed"] // directions
    hidden = tuple(given.get("hidden") or (width,))
    hidden = hidden * choices.values["layers"] if len(hidden) == 1 else hidden
    readout = hidden[-1] * directions
    embed = readout if options["tied"] else min(128, max(16, hidden[0] // 2))
    return ModelConfig(**options, embed=given.get("embed") or embed, hidden=hidden)


def _model(
    text: TextSize, choices: Choices, options: Mapping[str, Any], reads: Callable[[ModelConfig], float]
) -> ModelConfig:
    """The widest model that still reads TOKENS_PER_WEIGHT tokens for each of its weights."""
    kind = "words" if text.words else "characters"
    wanted, most = TOKENS_PER_WEIGHT[kind], WEIGHTS_PER_TOKEN[kind] * text.tokens
    models = [_shaped(choices, options, width) for width in WIDTHS]
    fitting = [model for model in models if wanted * weights(model) <= reads(model) and weights(model) <= most]
    model = fitting[-1] if fitting else models[0]
    kept = "the widest that fits" if fitting else "the narrowest"
    seen = f"{reads(model) / weights(model):.1f} tokens read for each weight, {wanted:g} wanted"
    held = f"{weights(model) / text.tokens:.2f} weights for each token of the text, {WEIGHTS_PER_TOKEN[kind]:g} at most"
    choices.choose("hidden", model.hidden, f"{kept}: {seen}; {held}")
    choices.choose("embed", model.embed, "as the readout, to be tied" if model.tied else "half the width, at most 128")
    return model


def _regularisers(choices: Choices, epochs: float, *, words: bool) -> Regularisers:
    """Dropout grows with the number of times the text is read: what is new needs none."""
    strength = round(min(0.5, max(0.0, 0.1 * math.log2(max(1.0, epochs)))), 2)
    strength = choices.choose("dropout", strength, f"the text is read {epochs:.1f} times")
    if words:
        choices.choose("dropout_input", round(strength / 3, 3), "a third of dropout")
    else:
        choices.choose("dropout_input", 0.0, "so that the first layer computes what it makes of a token once")
    choices.choose("dropout_hidden", strength, "as dropout")
    choices.choose("dropout_output", strength, "as dropout")
    choices.choose("weight_decay", 0.01, "the usual small amount")
    return Regularisers(**choices.part(Regularisers))


def _training(choices: Choices, model: ModelConfig, *, words: bool) -> TrainingConfig:
    optimiser = choices.given.get("optimiser", "adamw")
    width = max(model.hidden)
    cell = "lstm" if words and model.cell.startswith("gru") else model.cell
    rates = {"adamw": RATES[cell] * min(1.0, (256 / width) ** 0.6), "sgd": 1.0, "rmsprop": 0.001}
    choices.choose("lr", float(f"{rates[optimiser]:.2g}"), f"for {optimiser}, {model.cell}, width {width}")
    brief = choices.given.get("minutes", 5.0) < 2
    choices.choose("evaluations", 10 if brief else 20, "each takes time from training" if brief else "every 5%")
    return TrainingConfig(**choices.part(TrainingConfig))
