"""Pairs of sequences for the loop: what it learns from, and what it is measured on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.data.lanes import Place
from ostinato.data.ragged import Buckets, Ragged
from ostinato.models.translator import Pairs, Translator
from ostinato.nn.recurrent import States
from ostinato.training.objective import BatchObjective, Loss, device_of

_BATCH = 64


@dataclass(frozen=True)
class PairText:
    """Sources and targets, line by line, and the token that targets begin after and end with."""

    sources: Ragged
    targets: Ragged
    boundary: int

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def predictions(self) -> int:
        """Tokens of the targets, their ends included."""
        return int(self.targets.lengths.sum()) + len(self)

    def cut(self, longest: int) -> PairText:
        """The same with at most so many tokens of each line."""
        return replace(self, sources=self.sources.cut(longest), targets=self.targets.cut(longest))

    def pairs(self, index: NDArray[np.integer], device: torch.device) -> Pairs:
        """Some of them as the model takes them. A source without a token is read as the boundary."""
        source, lengths = self.sources.take(index).padded(self.boundary)
        target, target_lengths = self.targets.take(index).padded(self.boundary)
        edge = np.full((1, len(index)), self.boundary)
        parts = (
            source if len(source) else edge,
            np.maximum(lengths, 1),
            np.concatenate([edge, target, edge]),
            target_lengths + 1,
        )
        return Pairs(*(torch.from_numpy(part).to(device) for part in parts))


class PairObjective(BatchObjective):
    """A translator on pairs, in batches of about equal length."""

    def __init__(self, model: Translator, text: PairText, batch: int, seed: int) -> None:
        self._model, self._text = model, text
        lengths = text.sources.lengths
        super().__init__(Buckets(lengths * (1 + text.targets.lengths.max()) + text.targets.lengths, batch, seed))

    def loss(self, place: Place, state: States) -> Loss:
        """Of the batch at ``place``."""
        pairs = self._text.pairs(self._buckets.indices(place), device_of(self._model))
        nats, tokens, penalty = self._model.loss(pairs)
        return Loss(nats, tokens, penalty, state)


@dataclass(frozen=True)
class HeldOutPairs:
    """Pairs that a translator is measured on."""

    text: PairText

    @property
    def size(self) -> int:
        """Tokens that are predicted."""
        return self.text.predictions

    def first(self, predictions: int) -> HeldOutPairs:
        """The first pairs that have about so many; at least one."""
        ends = np.cumsum(self.text.targets.lengths + 1)
        kept = np.arange(max(1, int(np.searchsorted(ends, predictions, side="right"))))
        return HeldOutPairs(
            replace(self.text, sources=self.text.sources.take(kept), targets=self.text.targets.take(kept))
        )

    def measure(self, model: Translator) -> dict[str, float]:
        """Mean nats of a target token, all sources known, and what they are as perplexity."""
        nats = sum(float(model.nats(pairs).double().sum()) for pairs in self._batches(model)) / self.size
        return {"nats": nats, "perplexity": math.exp(min(nats, 700.0))}

    def seconds(self, model: Translator) -> float:
        """Expected time of ``measure``, from one batch of middling length."""
        batches = range(0, len(self.text), _BATCH)
        start = time.perf_counter()
        model.nats(self._batch(model, batches[len(batches) // 2]))
        return (time.perf_counter() - start) * 1.25 * len(batches)

    def _batches(self, model: Translator) -> Iterator[Pairs]:
        return (self._batch(model, first) for first in range(0, len(self.text), _BATCH))

    def _batch(self, model: Translator, first: int) -> Pairs:
        index = np.argsort(-self.text.sources.lengths, kind="stable")[first : first + _BATCH]
        return self.text.pairs(index, device_of(model))
