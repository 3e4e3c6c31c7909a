"""From a budget to sizes for a captioner: what the user did not set, with the reason for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from ostinato.architectures.captioner import CaptionerConfig, captioner_tensors
from ostinato.config import ModelConfig, Regularisers
from ostinato.data.pixels import Augmentation
from ostinato.data.ragged import Ragged
from ostinato.errors import ConfigError
from ostinato.models.captioner import RecurrentCaptioner
from ostinato.training import probe
from ostinato.training.captioning import CaptionObjective, Captions
from ostinato.training.plan import RATES, Choices, Plan
from ostinato.training.settings import TrainingConfig

WIDTHS = (96, 128, 192, 256, 384)
"""Of the decoder; the images' side grows with it."""
USUAL = 256
"""Width where a budget in steps or epochs says nothing of time."""
EPOCHS = 10
"""Of the captions that a model should get through: of models that do, the widest is taken. Of emoji a width of 256 knew
more after eight epochs than one of 96 after eighteen: 2.67 bits per character against 2.93."""
WEIGHTS_PER_TOKEN = 30.0
"""More of them learn the captions by heart: at 63 emoji were at their best after six epochs, with 2.72 bits per
character; at 28 after eight, with 2.67 (dropout and rate differed a little)."""
CONVOLUTIONS = 4
SIDE = 4
"""Height and width of the last feature map, for images that so many convolutions can bring there."""
PROBE_SECONDS = 0.3
EVALUATIONS = 0.1  # share of the time of a run that they take, about

SecondsOf = Callable[[CaptionerConfig, int, int, int], float]
"""Measures a step of training a model at batch, steps of a caption, threads."""


@dataclass(frozen=True)
class CaptionsSize:
    """What the plan has to know of the data."""

    captions: int
    """To train on."""
    longest: int
    """Tokens of the longest, its end among them."""
    vocab: int
    tokens: int
    """Of all captions, their ends among them."""


def plan(size: CaptionsSize, given: Mapping[str, Any], seconds_of: SecondsOf | None = None) -> Plan[CaptionerConfig]:
    """Choose what ``given`` leaves open; it holds one of minutes, epochs and steps, and the settings of captions.

    Only a budget in minutes depends on the speed of the machine. Raises ConfigError on settings that are for texts.
    """
    choices = Choices({name: value for name, value in given.items() if value is not None})
    _check(size, choices.given)
    batch = choices.choose("batch", 32 if size.captions >= 512 else 8, _BATCH[size.captions >= 512])
    choices.choose("bptt", size.longest, "captions are read whole")
    choices.choose("threads", torch.get_num_threads(), "all")
    choices.choose("cell", "lstm", "the usual choice")
    choices.choose("layers", len(given.get("hidden") or (0,)), "one: captions are short")
    choices.choose("attention", "additive", "regions are weighed by what was written")
    choices.choose("tied", False, "the embedding is free to be small")
    model, epochs = _model(size, choices, seconds_of or seconds_a_step, batch)
    regularisers = _regularisers(choices, epochs)
    training = _training(choices, model)
    choices.values = {**choices.given, **choices.values}
    return Plan(model, regularisers, training, choices.values["threads"], choices.values, choices.reasons)


_BATCH = {True: "wide enough for fast products, narrow for many updates", False: "few captions: more updates"}


def _check(size: CaptionsSize, given: Mapping[str, Any]) -> None:
    for name in ("sampled_softmax", "activation_penalty", "temporal_penalty", "bidirectional", "skip_output"):
        if given.get(name):
            raise ConfigError(f"{name} is {given[name]}, which --task caption does not have; leave it out")
    if given.get("bptt", size.longest) < size.longest:
        raise ConfigError(
            f"bptt is {given['bptt']}, but a caption has {size.longest} tokens with its end; captions are read whole, "
            "leave it out"
        )


def _model(size: CaptionsSize, choices: Choices, seconds_of: SecondsOf, batch: int) -> tuple[CaptionerConfig, float]:
    """The widest model that gets EPOCHS times through the captions, and how often it gets through them."""
    given, steps = choices.given, -(-size.captions // batch)
    left = 1.0 if given["blind"] else 1.0 - given["words_first"]
    widths = WIDTHS if given.get("minutes") and "hidden" not in given else (USUAL,)
    models = [_shaped(size, choices, width) for width in widths]
    fitting = [model for model in models if _weights(model) <= WEIGHTS_PER_TOKEN * size.tokens]
    for model in reversed(fitting or models[:1]):
        if given.get("minutes") is None:
            epochs = left * float(given["epochs"] if "epochs" in given else given["steps"] / steps)
        elif "hidden" in given and "dropout" in given:  # a saved plan: nothing is chosen by the clock any more
            epochs = float(EPOCHS)
        else:
            seconds = steps * seconds_of(model, batch, size.longest, choices.values["threads"])
            epochs = left * 60.0 * given["minutes"] * (1.0 - EVALUATIONS) / seconds
        if epochs >= EPOCHS:
            break
    kept = "the widest of those" if epochs >= EPOCHS else "the narrowest, none"
    reason = f"{kept} that read the captions {EPOCHS} times, this one {epochs:.0f}; "
    reason += f"{_weights(model) / size.tokens:.1f} weights for each token, {WEIGHTS_PER_TOKEN:g} at most"
    choices.choose("hidden", model.decoder.hidden, reason if len(widths) > 1 else "wide enough for most captions")
    choices.choose("embed", model.decoder.embed, "half the width, 64 at least: the readout is as wide")
    choices.choose("channels", model.memory, "half the width of the decoder")
    return model, epochs


def _weights(model: CaptionerConfig) -> int:
    return sum(math.prod(shape) for shape in captioner_tensors(model).values())


def _shaped(size: CaptionsSize, choices: Choices, width: int) -> CaptionerConfig:
    given = choices.given
    hidden = tuple(given.get("hidden") or (width,))
    hidden = hidden * choices.values["layers"] if len(hidden) == 1 else hidden
    embed = given.get("embed") or max(64, hidden[-1] // 2)
    names = [field.name for field in fields(ModelConfig)]
    options = {name: given[name] for name in names if name in given and name not in ("tied", "hidden", "embed")}
    options |= {"vocab": size.vocab, "cell": choices.values["cell"]}
    channels, strides = convolutions(given.get("channels") or max(8, hidden[-1] // 2), given["image_size"])
    return CaptionerConfig(
        ModelConfig(**options, embed=embed, hidden=hidden),
        channels,
        strides,
        given["image_size"],
        choices.values["attention"],
        choices.values["tied"],
        given["blind"],
    )


def convolutions(channels: int, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and strides that bring ``size`` near SIDE: doubling up to ``channels``, halving as late as possible."""
    halvings = min(CONVOLUTIONS, max(0, round(math.log2(size / SIDE))))
    widths = tuple(max(4, channels >> shift) for shift in (2, 1, 0, 0))
    return widths, (1,) * (CONVOLUTIONS - halvings) + (2,) * halvings


def _regularisers(choices: Choices, epochs: float) -> Regularisers:
    """Dropout grows with the number of times the captions are read."""
    strength = round(min(0.5, max(0.0, 0.1 * math.log2(max(1.0, epochs)))), 2)
    strength = choices.choose("dropout", strength, f"the captions are read {epochs:.1f} times")
    choices.choose("dropout_input", round(strength / 3, 3), "a third of dropout")
    choices.choose("dropout_hidden", round(0.4 * strength, 3), "of what is seen of an image: less than of what is said")
    choices.choose("dropout_output", strength, "as dropout")
    choices.choose("weight_decay", 0.01, "the usual small amount")
    return Regularisers(**choices.part(Regularisers))


def _training(choices: Choices, model: CaptionerConfig) -> TrainingConfig:
    optimiser = choices.given.get("optimiser", "adamw")
    width = max(model.decoder.hidden)
    rates = {"adamw": 0.3 * RATES[model.decoder.cell] * min(1.0, (256 / width) ** 0.6), "sgd": 0.5, "rmsprop": 0.001}
    choices.choose("lr", float(f"{rates[optimiser]:.2g}"), f"for {optimiser}, {model.decoder.cell}, width {width}")
    choices.choose("evaluations", 20, "every 5%")
    return TrainingConfig(**choices.part(TrainingConfig))


def seconds_a_step(model: CaptionerConfig, batch: int, length: int, threads: int) -> float:
    """How long a step of training takes, changed images and all, by doing some."""

    def make() -> tuple[RecurrentCaptioner, CaptionObjective]:
        usual = Regularisers(dropout_input=0.1, dropout_hidden=0.1, dropout_output=0.1)
        network = RecurrentCaptioner(model, usual)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (batch, model.size, model.size, 4)).astype(np.uint8)
        ids = [rng.integers(model.decoder.vocab, size=max(1, length // 2)) for _ in range(batch)]  # as long as most
        data = Captions(images, np.arange(batch), Ragged.of(ids), 0, 1)
        return network, CaptionObjective(network, data, batch, Augmentation(), 0)

    return probe.seconds_a_step(make, threads, PROBE_SECONDS)
