"""From labelled texts to a classifier: what the user did not set, from the size of the data, with the reason for each.

docs/plan.md says which of the rules rest on a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ostinato.architectures.classifier import ClassifierConfig
from ostinato.config import ModelConfig, Regularisers
from ostinato.training.plan import Choices, Plan
from ostinato.training.settings import TrainingConfig

LONGEST = 400
"""Tokens of a text that training reads: what says most about a text stands well before, and gradients fade."""


@dataclass(frozen=True)
class LabelledSize:
    """What the plan has to know of the texts to train on."""

    texts: int
    tokens: int
    """In all, boundaries among them."""
    longest: int
    """Tokens of the longest text."""
    vocab: int
    labels: tuple[str, ...]
    words: bool
    """Whether tokens are words or pieces of them, not characters or bytes."""


def plan_classifier(
    size: LabelledSize, given: Mapping[str, Any], start: ModelConfig | None = None
) -> Plan[ClassifierConfig]:
    """Choose what ``given`` leaves open; ``start`` is the language model whose layers the classifier begins with.

    It looks at the size of the data only, not at the speed of the machine.
    """
    choices = Choices({name: value for name, value in given.items() if value is not None})
    layers = _layers(size, choices) if start is None else replace(start, tied=False)
    pooling, reason = "max,mean", "what is strongest, and what there is most of"
    if start is not None:
        pooling, reason = "last,max,mean", "as ULMFiT does (Howard and Ruder 2018)"
    chosen = tuple(name.strip() for name in choices.choose("pooling", pooling, reason).split(","))
    model = ClassifierConfig(layers, size.labels, chosen, "encoder" if start is None else "language_model")
    choices.choose("threads", torch.get_num_threads(), "all")
    regularisers = _regularisers(size, choices, start is not None)
    training = _training(size, choices, start is not None)
    choices.values = {**choices.given, **choices.values}
    return Plan(model, regularisers, training, choices.values["threads"], choices.values, choices.reasons)


def _layers(size: LabelledSize, choices: Choices) -> ModelConfig:
    options = choices.given_of(ModelConfig)
    widths = tuple(options.pop("hidden", ()))
    options["cell"] = choices.choose("cell", "lstm", "the usual choice; docs/cells.md compares the six")
    if len(widths) > 1:
        choices.values["layers"] = len(widths)
    else:
        layers = choices.choose("layers", 1, "one, in both directions")
        widths = (widths or (_width(size),)) * layers
    choices.choose("hidden", widths, f"for {size.texts:,} texts")
    reason = "of words: what is alike has to be told from few examples" if size.words else "a small vocabulary"
    options["embed"] = choices.choose("embed", 256 if size.words else 32, reason)
    return ModelConfig(**{**options, "vocab": size.vocab, "hidden": widths})


def _width(size: LabelledSize) -> int:
    return 64 if size.texts < 2_000 else 128 if size.texts < 50_000 else 256


def _regularisers(size: LabelledSize, choices: Choices, started: bool) -> Regularisers:
    few = size.texts < 50_000
    strength = choices.choose("dropout", 0.5 if few else 0.3, "few texts, soon known by heart" if few else "many texts")
    whole, half = ((0.3 if started else 0.5) * few, round(strength / 2, 3)) if size.words else (0.0, 0.0)
    choices.choose("dropout_embedding", whole, "no label hangs on one word" if whole else "off")
    choices.choose("dropout_input", half, "half of dropout" if half else "off")
    choices.choose("dropout_hidden", strength, "as dropout")
    choices.choose("dropout_output", strength, "as dropout; on the pooled vector")
    choices.choose("weight_decay", 0.01, "the usual small amount")
    return Regularisers(**choices.part(Regularisers))


def _training(size: LabelledSize, choices: Choices, started: bool) -> TrainingConfig:
    few = size.texts < 2_000
    batch = choices.choose("batch", 16 if few else 32, "few texts" if few else "the usual")
    longest = min(size.longest, LONGEST)
    cut = longest < size.longest
    reason = f"the longest text has {size.longest:,} tokens: it is cut in training" if cut else "the longest text"
    choices.choose("bptt", longest, reason)
    choices.choose("lr", 0.01 if started else 0.002, f"for texts in batches of {batch}")
    choices.choose("average", 0.99, "a mean of the weights is steadier than any of them on few texts")
    choices.choose("evaluations", 20, "every 5%")
    return TrainingConfig(**choices.part(TrainingConfig))
