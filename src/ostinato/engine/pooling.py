"""From the outputs of all steps to one vector for each row, in numpy, some steps at a time.

The definitions are those of ``ostinato.nn.pooling``; here each is a sum, a maximum or a memory that goes on from block
to block, so that a text of any length needs no more than a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.engine.stack import linear
from ostinato.types import Floats

Lengths = NDArray[np.integer]
Live = NDArray[np.bool_]


class Pool(Protocol):
    """One kind of pooling, of one batch of rows."""

    def take(self, first: int, y: Floats, live: Live) -> None:
        """The outputs ``(T', B, M)`` from step ``first`` on, and where rows have not ended, ``(T', B, 1)``."""
        ...

    def result(self) -> Floats:
        """``(B, M)``, of rows that have all ended."""
        ...


def make_pool(kind: str, width: int, directions: int, lengths: Lengths, tensors: Mapping[str, Floats]) -> Pool:
    """Of rows of ``lengths (B,)``, at least 1 each, with outputs ``width`` wide; ``tensors`` are a bundle's."""
    shape = (len(lengths), width)
    if kind == "attention":
        return _Attention(shape, *(tensors[f"pooling.{name}"] for name in ("weight", "bias", "query")))
    kinds: Mapping[str, Callable[[tuple[int, int], Lengths, int], Pool]] = {"max": _Max, "mean": _Mean, "last": _Last}
    return kinds[kind](shape, lengths, directions)


class _Max:
    def __init__(self, shape: tuple[int, int], _lengths: Lengths, _directions: int) -> None:
        self._top = np.full(shape, -np.inf, np.float32)

    def take(self, _: int, y: Floats, live: Live) -> None:
        np.maximum(self._top, y.max(axis=0, initial=-np.inf, where=live), out=self._top)

    def result(self) -> Floats:
        return self._top


class _Mean:
    def __init__(self, shape: tuple[int, int], lengths: Lengths, _directions: int) -> None:
        self._sum = np.zeros(shape, np.float64)  # of as many numbers as a text is long
        self._lengths = lengths

    def take(self, _: int, y: Floats, live: Live) -> None:
        self._sum += y.sum(axis=0, where=live)

    def result(self) -> Floats:
        return (self._sum / self._lengths[:, None]).astype(np.float32)


class _Last:
    def __init__(self, shape: tuple[int, int], lengths: Lengths, directions: int) -> None:
        self._ends = np.empty(shape, np.float32)
        self._at, self._backward = lengths - 1, shape[1] // 2 if directions == 2 else shape[1]

    def take(self, first: int, y: Floats, _: Live) -> None:
        (here,) = np.nonzero((self._at >= first) & (self._at < first + len(y)))
        self._ends[here, : self._backward] = y[self._at[here] - first, here, : self._backward]
        if first == 0:
            self._ends[:, self._backward :] = y[0, :, self._backward :]

    def result(self) -> Floats:
        return self._ends


class _Attention:
    """A softmax that goes on: what was added up is scaled anew when a larger score comes."""

    def __init__(self, shape: tuple[int, int], weight: Floats, bias: Floats, query: Floats) -> None:
        self._weights = weight, bias
        self._query = query
        self._top = np.full((shape[0], 1), -np.inf, np.float32)
        self._total = np.zeros((shape[0], 1), np.float32)
        self._sum = np.zeros(shape, np.float32)

    def take(self, _: int, y: Floats, live: Live) -> None:
        T, B, M = y.shape
        scores = (np.tanh(linear(y.reshape(-1, M), *self._weights)) @ self._query).reshape(T, B, 1)
        scores[~live] = -np.inf
        top = np.maximum(self._top, scores.max(axis=0))
        kept, shares = np.exp(self._top - top), np.exp(scores - top)
        self._total = self._total * kept + shares.sum(axis=0)
        self._sum = self._sum * kept + (shares * y).sum(axis=0)
        self._top = top

    def result(self) -> Floats:
        return self._sum / self._total
