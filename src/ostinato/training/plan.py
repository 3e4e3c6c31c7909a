"""From a budget to sizes: everything about a run that the user did not set, with the reason for each.

The rules were fitted to measurements; docs/plan.md has the table and the command.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ostinato.config import ModelConfig, Regularisers
from ostinato.models.build import build
from ostinato.training.settings import TrainingConfig

WIDTHS = (64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024)
LARGE_VOCABULARY = 2000  # from here on the output layer is most of the work, and tying pays
PROBE_SECONDS = 0.4
TOKENS_PER_WEIGHT = {"characters": 12.0, "words": 3.0}
WEIGHTS_PER_TOKEN = 4.0
GATES_IN = {"rnn": 1, "gru": 3, "gru_reset_after": 3, "lstm": 4, "peephole": 4, "peephole_diagonal": 4}
GATES_BACK = {**GATES_IN, "peephole": 7}  # V_i, V_f and V_o are full matrices too


@dataclass(frozen=True)
class Plan:
    """A run in full: the model, its regularisers, its training, and why."""

    model: ModelConfig
    regularisers: Regularisers
    training: TrainingConfig
    reasons: Mapping[str, str]
    """By the name of a setting; those the user gave have none."""
    operations_per_second: float
    """What the probe measured."""
    values: Mapping[str, Any]
    """Every setting by name, as ``--config`` takes them."""


@dataclass(frozen=True)
class TextSize:
    """What the plan has to know of the text: tokens to train on, and their kind."""

    tokens: int
    vocab: int
    level: str

    @property
    def words(self) -> bool:
        """Whether a token is a word or so long a piece that the vocabulary is large."""
        return self.vocab >= LARGE_VOCABULARY


@dataclass
class _Choices:
    """Values so far: those the user set, then those the plan adds, each with its reason."""

    given: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def choose(self, name: str, value: Any, reason: str) -> Any:
        if self.given.get(name) is not None:
            value = self.given[name]
        else:
            self.reasons[name] = reason
        self.values[name] = value
        return value


def plan(
    text: TextSize, given: Mapping[str, Any], speed: Callable[[ModelConfig, int, int], float] | None = None
) -> Plan:
    """Choose what ``given`` leaves open. ``speed`` measures operations per second of a model at batch, bptt."""
    choices = _Choices(dict(given))
    batch = choices.choose("batch", 32 if text.tokens >= 64 * 32 * 8 else 8, _batch_reason(text))
    bptt = choices.choose(
        "bptt", _bptt(text, batch), "context through which gradients flow; longer gained nothing measurable"
    )
    options = _architecture(text, choices)
    measured = (speed or probe)(_shaped(text, options, _start_width(text)), batch, bptt)
    seconds = _seconds(choices.given, text, measured, options)
    width = _width(text, choices, options, measured, seconds)
    model = _shaped(text, options, width)
    epochs = _epochs(text, choices.given, model, measured, seconds)
    regularisers = _regularisers(choices, epochs)
    training = _training(choices, model)
    return Plan(model, regularisers, training, choices.reasons, measured, choices.values)


def operations_per_token(model: ModelConfig) -> float:
    """Floating-point operations of training on one token: three times those of the forward products."""
    directions = 2 if model.bidirectional else 1
    inputs = (model.embed, *model.hidden[:-1])
    layers = sum(
        GATES_IN[model.cell] * width * below + GATES_BACK[model.cell] * width * width
        for width, below in zip(model.hidden, inputs, strict=True)
    )
    return 6.0 * (directions * layers + model.readout * model.vocab)


def parameters(model: ModelConfig) -> int:
    """Number of weights, biases left out."""
    inputs = (model.embed, *model.hidden[:-1])
    directions = 2 if model.bidirectional else 1
    layers = sum(
        GATES_IN[model.cell] * width * below + GATES_BACK[model.cell] * width * width
        for width, below in zip(model.hidden, inputs, strict=True)
    )
    output = 0 if model.tied else model.readout * model.vocab
    return directions * layers + output + model.vocab * model.embed


def probe(model: ModelConfig, batch: int, bptt: int) -> float:
    """Operations per second that training such a model reaches on this machine, in about PROBE_SECONDS."""
    random = torch.get_rng_state()
    network = build(model, Regularisers())
    ids = torch.randint(model.vocab, (bptt + 1 + network.lookahead, batch))
    state = network.initial_state(batch)
    steps, start = -1, time.perf_counter()  # the first step warms up and does not count
    while steps < 1 or time.perf_counter() - start < PROBE_SECONDS:
        nats, penalty, state = network.loss(ids, state)
        (nats / (batch * bptt) + penalty).backward()  # type: ignore[no-untyped-call]
        network.zero_grad()
        steps += 1
        if steps == 0:
            start = time.perf_counter()
    torch.set_rng_state(random)
    return steps * batch * bptt * operations_per_token(model) / (time.perf_counter() - start)


def _batch_reason(text: TextSize) -> str:
    if text.tokens >= 64 * 32 * 8:
        return "32 lanes: wide enough for fast products, narrow enough for many updates"
    return "few lanes, because the text is short"


def _bptt(text: TextSize, batch: int) -> int:
    longest = max(4, text.tokens // (2 * batch))
    return min(35 if text.words else 64, longest)


def _architecture(text: TextSize, choices: _Choices) -> dict[str, Any]:
    """All of ModelConfig that does not depend on speed."""
    given = choices.given
    options: dict[str, Any] = {name: given[name] for name in _fields(ModelConfig) if given.get(name) is not None}
    choices.values |= options
    options["cell"] = choices.choose(
        "cell", "lstm", "the best quality for the time among the six cells, see docs/cells.md"
    )
    options.pop("hidden", None)
    options.pop("embed", None)
    separate = bool(given.get("skip_output")) or len(set(given.get("hidden") or ())) > 1
    tied = text.words and not separate and given.get("embed") in (None, *(given.get("hidden") or (None,)))
    reason = "a large vocabulary: sharing saves weights and scores better" if tied else "a small vocabulary"
    options["tied"] = choices.choose("tied", tied, reason)
    layers = 2 if text.words else 1
    why = "words: two layers" if text.words else "one wide layer beats two narrow ones at equal time"
    options["layers"] = (
        len(given["hidden"]) if len(given.get("hidden") or ()) > 1 else choices.choose("layers", layers, why)
    )
    return options


def _fields(kind: type) -> set[str]:
    return {entry.name for entry in fields(kind)}


def _start_width(text: TextSize) -> int:
    return 192 if text.words else 256


def _shaped(text: TextSize, options: Mapping[str, Any], width: int | tuple[int, ...]) -> ModelConfig:
    """The model of the given width (all layers, or one each), with the embedding that goes with it."""
    values = {name: value for name, value in options.items() if name not in ("layers", "embed")}
    hidden = width if isinstance(width, tuple) else (width,) * options["layers"]
    embed = options.get("embed")
    if embed is None:
        readout = hidden[-1] * (2 if values.get("bidirectional") else 1)
        embed = readout if values["tied"] else min(128, max(16, hidden[0] // 2))
    return ModelConfig(**{**values, "vocab": text.vocab, "embed": embed, "hidden": hidden})


def _seconds(given: Mapping[str, Any], text: TextSize, speed: float, options: Mapping[str, Any]) -> float:
    """The budget in seconds; for one in epochs or steps, what it takes a model of the width to start from."""
    if given.get("minutes") is not None:
        return 60.0 * float(given["minutes"])
    per_token = operations_per_token(_shaped(text, options, _start_width(text))) / speed
    return per_token * _tokens(given, text)


def _tokens(given: Mapping[str, Any], text: TextSize) -> float:
    """Tokens read in a budget of epochs or steps."""
    if given.get("epochs") is not None:
        return float(given["epochs"]) * text.tokens
    return float(given["steps"]) * (given.get("batch") or 32) * (given.get("bptt") or _bptt(text, 32))


def _width(text: TextSize, choices: _Choices, options: dict[str, Any], speed: float, seconds: float) -> tuple[int, ...]:
    """The widest layers that still see enough of the text: TOKENS_PER_WEIGHT for each weight."""
    given = choices.given
    options["embed"] = given.get("embed")
    if given.get("hidden"):
        hidden = tuple(given["hidden"])
        hidden = hidden * options["layers"] if len(hidden) == 1 else hidden
        choices.values["hidden"] = hidden
    else:
        wanted = TOKENS_PER_WEIGHT["words" if text.words else "characters"]
        fitting = [w for w in WIDTHS if _seen(text, options, w, speed, seconds) >= wanted]
        width = max(fitting, default=WIDTHS[0])
        width = min(width, _widest(text, options))
        seen = _seen(text, options, width, speed, seconds)
        hidden = (width,) * options["layers"]
        choices.values["hidden"] = hidden
        choices.reasons["hidden"] = (
            f"the widest that reads {wanted:g} tokens for each weight in the time (it will read {seen:.0f})"
        )
    model = _shaped(text, options, hidden)
    choices.choose(
        "embed", model.embed, "as wide as the readout, to be tied" if model.tied else "half the width, at most 128"
    )
    return hidden


def _seen(text: TextSize, options: Mapping[str, Any], width: int, speed: float, seconds: float) -> float:
    """Tokens read in the budget for each weight of a model of this width."""
    model = _shaped(text, options, width)
    return seconds * speed / operations_per_token(model) / parameters(model)


def _widest(text: TextSize, options: Mapping[str, Any]) -> int:
    """More than a few weights for each token of the text only learn it by heart."""
    fitting = [w for w in WIDTHS if parameters(_shaped(text, options, w)) <= WEIGHTS_PER_TOKEN * text.tokens]
    return max(fitting, default=WIDTHS[0])


def _epochs(text: TextSize, given: Mapping[str, Any], model: ModelConfig, speed: float, seconds: float) -> float:
    if given.get("minutes") is not None:
        return seconds * speed / operations_per_token(model) / text.tokens
    return _tokens(given, text) / text.tokens


def _regularisers(choices: _Choices, epochs: float) -> Regularisers:
    """Dropout grows with the number of times the text is read: what is new needs none."""
    given = {name: choices.given[name] for name in _fields(Regularisers) if choices.given.get(name) is not None}
    strength = round(min(0.5, max(0.0, 0.11 * math.log2(max(1.0, epochs)))), 2)
    reason = f"the text is read {epochs:.1f} times"
    strength = choices.choose("dropout", strength, reason)
    values = {
        "dropout_input": round(strength / 3, 3),
        "dropout_hidden": strength,
        "dropout_output": strength,
        "weight_decay": 0.01,
    }
    for name, value in values.items():
        choices.choose(name, value, "follows dropout" if name.startswith("dropout") else "the usual small amount")
    chosen = {name: choices.values[name] for name in values}
    choices.values |= given
    return Regularisers(**{**chosen, **given})


def _training(choices: _Choices, model: ModelConfig) -> TrainingConfig:
    given = {name: choices.given[name] for name in _fields(TrainingConfig) if choices.given.get(name) is not None}
    optimiser = given.get("optimiser", "adamw")
    width = max(model.hidden)
    rates = {"adamw": 0.004 * min(1.5, (384 / width) ** 0.6), "sgd": 1.0, "rmsprop": 0.001}
    choices.choose("lr", float(f"{rates[optimiser]:.2g}"), f"for {optimiser} at width {width}")
    brief = given.get("minutes") is not None and given["minutes"] < 2
    choices.choose(
        "evaluations", 10 if brief else 20, "each costs time that training could use" if brief else "every 5%"
    )
    chosen = {name: choices.values[name] for name in ("batch", "bptt", "lr", "evaluations")}
    choices.values |= given
    return TrainingConfig(**{**given, **chosen})
