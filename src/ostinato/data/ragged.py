"""Sequences of different lengths: how they are held, padded, and put into batches of about equal length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.data.lanes import Place
from ostinato.errors import TextError
from ostinato.types import Ids

_POOL = 50  # batches whose sequences are sorted by length together: few enough that an epoch is still in random order


@dataclass(frozen=True)
class Ragged:
    """Sequences end to end: the i-th is ``ids[bounds[i, 0] : bounds[i, 1]]``."""

    ids: NDArray[np.integer]
    """``(N,)``, which may lie on disk."""
    bounds: NDArray[np.int64]
    """``(n, 2)``."""

    @staticmethod
    def lines(ids: NDArray[np.integer], boundary: int) -> Ragged:
        """The lines of a text ``ids (N,)``, without the ``boundary`` that ends each."""
        ends = np.flatnonzero(ids == boundary)
        if len(ids) and (len(ends) == 0 or ends[-1] != len(ids) - 1):
            ends = np.append(ends, len(ids))
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        return Ragged(ids, np.stack([starts, ends], axis=1).astype(np.int64))

    @staticmethod
    def of(sequences: list[Ids]) -> Ragged:
        """Sequences that come one by one."""
        ends = np.cumsum([len(one) for one in sequences], dtype=np.int64)
        ids = np.concatenate([np.zeros(0, np.int64), *sequences])
        return Ragged(ids, np.stack([ends - [len(one) for one in sequences], ends], axis=1).reshape(-1, 2))

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[NDArray[np.integer]]:
        return (self.ids[start:end] for start, end in self.bounds)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(n,)``."""
        return np.diff(self.bounds, axis=1)[:, 0]

    def cut(self, longest: int) -> Ragged:
        """The same with at most so many elements of each."""
        starts, ends = self.bounds.T
        return Ragged(self.ids, np.stack([starts, np.minimum(ends, starts + longest)], axis=1))

    def take(self, index: NDArray[np.integer]) -> Ragged:
        """Some of the sequences, in that order."""
        return Ragged(self.ids, self.bounds[index])

    def padded(self, fill: int = 0) -> tuple[Ids, NDArray[np.int64]]:
        """All of them as ``(T, n)``, ``fill`` where one has ended, and their lengths ``(n,)``."""
        lengths = self.lengths
        padded = np.full((int(lengths.max(initial=0)), len(self)), fill, np.int64)
        for b, ids in enumerate(self):
            padded[: len(ids), b] = ids
        return padded, lengths


class Buckets:
    """Batches of ``batch`` sequences of about equal length, drawn anew for every epoch from the seed."""

    def __init__(self, lengths: NDArray[np.integer], batch: int, seed: int = 0) -> None:
        """``lengths (n,)``: of each sequence what it is sorted by. Raises TextError when there is none."""
        if len(lengths) == 0:
            raise TextError("there is nothing to train on; give more data")
        self._lengths, self._batch, self._seed = lengths, batch, seed
        self._epoch, self._order, self._batches = -1, np.zeros(0, np.intp), np.zeros(0, np.intp)

    @property
    def steps(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return -(-len(self._lengths) // self._batch)

    def indices(self, place: Place) -> NDArray[np.intp]:
        """Which sequences are in the batch at ``place``, longest first."""
        if place.epoch != self._epoch:
            self._shuffle(place.epoch)
        first = int(self._batches[place.window]) * self._batch
        return self._order[first : first + self._batch]

    def after(self, place: Place) -> Place:
        """The place that follows."""
        if place.window + 1 < self.steps:
            return Place(place.epoch, place.window + 1)
        return Place(place.epoch + 1, 0)

    def _shuffle(self, epoch: int) -> None:
        """All sequences, those of a batch side by side, and the order of the batches."""
        rng = np.random.default_rng((self._seed, epoch))
        self._epoch, self._order = epoch, rng.permutation(len(self._lengths))
        for first in range(0, len(self._order), _POOL * self._batch):
            pool = self._order[first : first + _POOL * self._batch]
            pool[:] = pool[np.argsort(-self._lengths[pool], kind="stable")]
        self._batches = rng.permutation(self.steps)


def by_size(lengths: NDArray[np.integer], most: int) -> Iterator[NDArray[np.intp]]:
    """All of the sequences ``lengths (n,)``, each once, in batches of about equal length, the longest first in each.

    A batch has at most ``most`` elements, padding included; a sequence longer than that is by itself.
    """
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        longest = max(1, int(lengths[order[first]]))
        count = max(1, most // longest)
        yield order[first : first + count]
        first += count
