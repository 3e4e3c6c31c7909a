"""Texts with a label each, for the loop: the loss of a batch, and what a classifier reaches on held-out texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.lanes import Place
from ostinato.data.ragged import Buckets, Ragged, by_size
from ostinato.models.classifier import TextClassifier
from ostinato.nn.recurrent import States
from ostinato.training.objective import BatchObjective, Loss, device_of

TOKENS = 16_384
"""Of a batch of held-out texts, padding included."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, each between its two boundary tokens, and the number of the label of each."""

    texts: Ragged
    labels: NDArray[np.int64]
    """``(n,)``."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: NDArray[np.integer]) -> LabelledTexts:
        """Some of them, in that order."""
        return LabelledTexts(self.texts.take(index), self.labels[index])

    def cut(self, longest: int) -> LabelledTexts:
        """The same with the first so many tokens of each."""
        return replace(self, texts=self.texts.cut(longest))


def balanced_weights(labels: NDArray[np.integer], count: int) -> Tensor:
    """``n / (C n_c)`` for each of ``count`` labels, ``(C,)``: every label weighs the same, a text 1 in the mean."""
    often = np.bincount(labels, minlength=count)
    return torch.from_numpy((len(labels) / (count * np.maximum(often, 1))).astype(np.float32))


class LabelObjective(BatchObjective):
    """A classifier on labelled texts, in batches of about equal length, in another order in every epoch.

    The loss of a text is ``-w_c log p_c`` of its label ``c`` (``weights (C,)``, 1 where there are none), of which
    ``smoothing`` is spread over all labels (Szegedy et al. 2016).
    """

    def __init__(
        self,
        model: TextClassifier,
        data: LabelledTexts,
        buckets: Buckets,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(buckets)
        self._model, self._data = model, data
        self._device = device_of(model)
        self._weights = None if weights is None else weights.to(self._device)
        self._smoothing = smoothing

    def loss(self, place: Place, state: States) -> Loss:
        """Of the batch at ``place``."""
        index = self._buckets.indices(place)
        ids, lengths, labels = batch_of(self._data, index, self._device)
        logits = self._model(ids, lengths)
        nats = F.cross_entropy(logits, labels, self._weights, reduction="sum", label_smoothing=self._smoothing)
        return Loss(nats, len(index), logits.new_zeros(()), state)


@dataclass(frozen=True)
class HeldOutTexts:
    """Labelled texts that a classifier is measured on. Their order must not tell their labels: parts are cut off it."""

    data: LabelledTexts
    note: Callable[[NDArray[np.float32], NDArray[np.int64]], Any] = lambda *_: None
    """Told the scores ``(n, C)`` and the labels ``(n,)`` of every ``measure``."""

    @property
    def size(self) -> int:
        """Tokens in it."""
        return int(self.data.texts.lengths.sum())

    def first(self, tokens: int) -> HeldOutTexts:
        """The first texts that have at most so many tokens together, one at least."""
        ends = np.cumsum(self.data.texts.lengths)
        count = max(1, int(np.searchsorted(ends, tokens, side="right")))
        return replace(self, data=self.data.take(np.arange(min(count, len(self.data)))))

    def measure(self, model: TextClassifier) -> dict[str, float]:
        """``nats`` a text, whatever weights or smoothing training has, and ``accuracy``."""
        logits = self._scores(model, [*by_size(self.data.texts.lengths, TOKENS)])
        labels = self.data.labels
        nats = F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels))
        self.note(logits, labels)
        return {"nats": float(nats), "accuracy": float((logits.argmax(1) == labels).mean())}

    def seconds(self, model: TextClassifier) -> float:
        """Expected time of ``measure``, from two batches."""
        batches = list(islice(by_size(self.data.texts.lengths, TOKENS), 2))
        start = time.perf_counter()
        self._scores(model, batches)
        took = time.perf_counter() - start
        tokens = sum(int(self.data.texts.lengths[index].sum()) for index in batches)
        return took * max(1.0, 1.25 * self.size / tokens)

    def _scores(self, model: TextClassifier, batches: list[NDArray[np.intp]]) -> NDArray[np.float32]:
        """``(n, C)``; NaN of the texts in none of the batches."""
        logits = np.full((len(self.data), len(model.config.labels)), np.nan, np.float32)
        for index in batches:
            ids, lengths, _ = batch_of(self.data, index, device_of(model))
            logits[index] = model.scores(ids, lengths).float().cpu().numpy()
        return logits


def batch_of(data: LabelledTexts, index: NDArray[np.integer], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids ``(T, B)``, lengths ``(B,)`` and labels ``(B,)`` of some of the texts."""
    ids, lengths = data.texts.take(index).padded()
    each = (ids, lengths, data.labels[index])
    ids_, lengths_, labels = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in each)
    return ids_, lengths_, labels


def layer_factors(depths: Mapping[str, int], decay: float, unfreeze: float) -> Callable[[float], Mapping[str, float]]:
    """What the rate of each parameter is multiplied with, by the share of the budget (Howard and Ruder 2018).

    A layer that is ``d`` away from the labels learns at ``decay ** -d`` of the rate. With ``unfreeze`` the layers are
    let go one after another, the last one first, evenly over that share of the budget; until then their factor is 0.
    """
    deepest = max(1, max(depths.values()))

    def factors(fraction: float) -> Mapping[str, float]:
        free = deepest if unfreeze <= 0 else int(deepest * fraction / unfreeze + 1e-9)
        return {name: decay**-depth if depth <= free else 0.0 for name, depth in depths.items()}

    return factors
