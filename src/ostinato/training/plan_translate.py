"""From a budget to the sizes of a translator; docs/plan.md says what that rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ostinato.architectures import TranslatorConfig, expected_tensors
from ostinato.config import ModelConfig, Regularisers
from ostinato.training.plan import Choices, Plan, SpeedOf
from ostinato.training.probe import probe
from ostinato.training.settings import TrainingConfig

WIDTHS = (64, 96, 128, 192, 256, 384, 512)
PASSES = 12.0  # over the pairs, at least, in the budget: what else fits goes into width
WEIGHTS_PER_TOKEN = 16.0  # of the targets, at most
SHARE_OF_PROBE = 0.5  # of the speed of a language model: padding, attention, small steps


@dataclass(frozen=True)
class PairSize:
    """What the plan has to know of the pairs."""

    pairs: int
    sources: int
    """Tokens."""
    targets: int
    """Tokens."""
    vocabs: tuple[int, int]
    longest: int
    """Tokens of the longest line, of either side."""


def plan_translator(text: PairSize, given: Mapping[str, Any], speed_of: SpeedOf = probe) -> Plan[TranslatorConfig]:
    """Choose what ``given`` leaves open; it holds one of minutes, epochs and steps."""
    choices = Choices({name: value for name, value in given.items() if value is not None})
    choose = choices.choose
    choose("batch", 64 if text.pairs >= 4000 else 32, "sentences of about the same length, many for fast products")
    choose("bptt", min(text.longest, 200), "the longest line; of longer ones the beginning")
    choose("cell", "lstm", "the usual choice")
    choose("layers", 1, "short sentences need no more")
    choose("attention", "general", "one product; docs/translation.md compares the four")
    choose("input_feeding", False, "a step that reads the one before cannot be computed with the others at once")
    choose("tied", True, "the output layer and the target's embedding share their weights")
    model = _model(text, choices, _passes(text, choices, speed_of))
    regularisers = _regularisers(choices, text, model)
    training = _training(choices, model)
    choices.values = {**choices.given, **choices.values}
    return Plan(model, regularisers, training, choices.values["threads"], choices.values, choices.reasons)


def _passes(text: PairSize, choices: Choices, speed_of: SpeedOf) -> Any:
    """How often a model reads the pairs in the budget."""
    given = choices.given
    if given.get("minutes") is None:
        choices.choose("threads", torch.get_num_threads(), "all")
        epochs = given["epochs"] if "epochs" in given else given["steps"] * choices.values["batch"] / text.pairs
        return lambda _: float(epochs)
    typical = ModelConfig(vocab=text.vocabs[1], embed=256, hidden=(256,), tied=True)
    speed = speed_of(typical, 64, 16, given.get("threads"), 0)
    choices.choose("threads", speed.threads, speed.reason)
    return lambda model: 60.0 * given["minutes"] * SHARE_OF_PROBE * speed.operations / _operations(text, model)


def _operations(text: PairSize, model: TranslatorConfig) -> float:
    """Floating-point operations of training on all pairs once."""
    shapes = expected_tensors(model)
    sizes = {name: math.prod(shape) for name, shape in shapes.items() if "embedding" not in name}
    encoder = sum(size for name, size in sizes.items() if name.startswith("encoder"))
    decoder = sum(sizes.values()) - encoder + model.decoder.vocab * model.decoder.embed * model.tied
    return 6.0 * (encoder * text.sources + decoder * text.targets)


def _model(text: PairSize, choices: Choices, passes: Any) -> TranslatorConfig:
    """The widest that still reads the pairs PASSES times."""
    models = [_shaped(text, choices, width) for width in WIDTHS]
    weights = [sum(map(math.prod, expected_tensors(model).values())) for model in models]
    fitting = [
        model
        for model, size in zip(models, weights, strict=True)
        if passes(model) >= PASSES and size <= WEIGHTS_PER_TOKEN * text.targets
    ]
    model = fitting[-1] if fitting else models[0]
    kept = "the widest that fits" if fitting else "the narrowest"
    reason = f"{kept}: reads the pairs {passes(model):.0f} times, {PASSES:g} wanted; the encoder's two directions half"
    choices.choose("hidden", model.decoder.hidden, reason)
    choices.choose("embed", model.decoder.embed, "as the width, at most 256")
    return model


def _shaped(text: PairSize, choices: Choices, width: int) -> TranslatorConfig:
    given, values = choices.given, choices.values
    hidden = tuple(given.get("hidden") or (width,))
    hidden = hidden * values["layers"] if len(hidden) == 1 else hidden
    embed = given.get("embed") or min(256, hidden[-1])
    options = {name: given[name] for name in ("activation", "residual", "layer_norm", "zoneout") if name in given}
    decoder = ModelConfig(vocab=text.vocabs[1], embed=embed, hidden=hidden, cell=values["cell"], **options)
    half = tuple(max(1, each // 2) for each in hidden)
    encoder = ModelConfig(vocab=text.vocabs[0], embed=embed, hidden=half, cell=values["cell"], **options)
    return TranslatorConfig(
        encoder, decoder, values["attention"], values["input_feeding"],
        tied=values["tied"], shared=choices.given["shared"],
    )  # fmt: skip


def _regularisers(choices: Choices, text: PairSize, model: TranslatorConfig) -> Regularisers:
    per_token = sum(map(math.prod, expected_tensors(model).values())) / text.targets
    strength = choices.choose(
        "dropout", 0.4 if per_token > 1 else 0.2, f"{per_token:.1f} weights for each target token"
    )
    choices.choose("dropout_input", strength, "as dropout")
    choices.choose("dropout_hidden", strength, "as dropout")
    choices.choose("dropout_output", strength, "as dropout")
    choices.choose("label_smoothing", 0.1, "the usual amount")
    choices.choose("weight_decay", 0.01, "the usual small amount")
    return Regularisers(**choices.part(Regularisers))


def _training(choices: Choices, model: TranslatorConfig) -> TrainingConfig:
    width = max(model.decoder.hidden)
    choices.choose("lr", float(f"{0.004 * min(1.0, (256 / width) ** 0.6):.2g}"), f"for width {width}")
    choices.choose("average", 0.999, "the mean of the last weights translates better than the last")
    choices.choose("evaluations", 10, "each takes time from training")
    return TrainingConfig(**choices.part(TrainingConfig))
