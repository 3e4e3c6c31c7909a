"""Runs a classifier without torch: texts of any length in, scores of the labels out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures.classifier import ClassifierConfig
from ostinato.data.ragged import Ragged, by_size
from ostinato.engine.encoder import Encoder, reverse
from ostinato.engine.engine import check_boundary
from ostinato.engine.pooling import make_pool
from ostinato.engine.stack import Stack, check_ids, linear
from ostinato.types import Floats, Ids

TOKENS = 8192
"""Of a batch of texts, padding included. A longer text is by itself."""
STEPS = 1024
"""Steps of a long text that go through a stack, or a pooling, at once."""

Lengths = NDArray[np.integer]


class ClassifierEngine:
    """Scores texts by label. A text stands between two boundary tokens, which the engine adds."""

    def __init__(self, model: ClassifierConfig, tensors: Mapping[str, Floats], boundary_id: int) -> None:
        """``tensors`` as in a bundle, float32. Raises BundleError when the boundary is not a token of the model."""
        check_boundary(model.layers, boundary_id)
        self.model = model
        self._boundary_id = boundary_id
        self._tensors = tensors
        self._encoder = Encoder(model.layers, tensors) if model.reader == "encoder" else None
        self._stacks = [Stack(model.layers, tensors, f"{name}.") for name in model.stacks]

    def logits(self, texts: Sequence[Ids]) -> Floats:
        """Scores ``(n, C)`` of texts of any length, none included, before temperature and softmax.

        They are read in batches of about equal length, of at most TOKENS tokens with their padding. Memory beyond that
        grows with the longest text: not at all where the model reads forward only; else by its outputs, as
        ``Encoder.read`` says. Raises IndexError on an id that is no token.
        """
        end = np.array([self._boundary_id], np.int64)
        ragged = Ragged.of([np.concatenate([end, ids, end]) for ids in texts])
        check_ids(ragged.ids, self.model.layers.vocab)
        logits = np.empty((len(texts), len(self.model.labels)), np.float32)
        for index in by_size(ragged.lengths, TOKENS):
            ids, lengths = ragged.take(index).padded(self._boundary_id)
            pooled = self._pooled(ids, lengths)
            logits[index] = linear(pooled, self._tensors["output.weight"], self._tensors["output.bias"])
        return logits

    def _pooled(self, ids: Ids, lengths: Lengths) -> Floats:
        """What the labels are scored from, ``(B, K*M)``."""
        model = self.model
        pools = [make_pool(kind, model.memory, model.directions, lengths, self._tensors) for kind in model.pooling]
        first = 0
        for y in self._blocks(ids, lengths):
            live = (first + np.arange(len(y))[:, None] < lengths)[:, :, None]
            for pool in pools:
                pool.take(first, y, live)
            first += len(y)
        return np.concatenate([pool.result() for pool in pools], axis=1)

    def _blocks(self, ids: Ids, lengths: Lengths) -> Iterator[Floats]:
        """What the layers give, ``(T', B, M)`` block after block; beyond a row's length it means nothing."""
        steps = max(1, STEPS // ids.shape[1])
        if self._encoder is None and len(self._stacks) == 1:
            yield from _read(self._stacks[0], ids, steps)
            return
        if self._encoder is not None:
            y, _ = self._encoder.read(self._tensors["embedding.weight"][ids], lengths)
        else:
            ahead, back = (
                np.concatenate([*_read(stack, read, steps)])
                for stack, read in zip(self._stacks, (ids, reverse(ids, lengths)), strict=True)
            )
            y = np.concatenate([ahead, reverse(back, lengths)], axis=-1)
        yield from (y[t : t + steps] for t in range(0, len(y), steps))


def _read(stack: Stack, ids: Ids, steps: int) -> Iterator[Floats]:
    """The readouts ``(T', B, R)`` of ``ids (T, B)``, some steps at a time, from a state of zeros."""
    state = stack.zero(ids.shape[1])
    for t in range(0, len(ids), steps):
        y, state = stack.run(ids[t : t + steps], state)
        yield y
