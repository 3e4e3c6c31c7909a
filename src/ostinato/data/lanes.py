"""Batches for truncated back-propagation: lanes of contiguous text, so that the state carries over.

The text is a circle cut into ``B`` lanes of equal length; a window is the next ``T`` tokens of every lane. Each epoch
cuts the circle at another place, drawn from the seed, so that windows do not fall on the same tokens every time. A
place is two whole numbers, ``(epoch, window)``, which is all that a checkpoint needs to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.data.store import release
from ostinato.errors import TextError
from ostinato.types import Ids

_RELEASE = 64  # windows between two releases of the text's memory: seldom enough to cost nothing


@dataclass(frozen=True)
class Place:
    """Where in the text training is: the next window of the given epoch."""

    epoch: int = 0
    window: int = 0


@dataclass(frozen=True)
class Lanes:
    """``B`` lanes over ``ids (N,)``, read in windows of ``T`` predicted tokens."""

    ids: NDArray[np.integer]
    batch: int
    bptt: int
    lookahead: int = 0
    """Tokens to the right of a window that are read, not predicted (a backward stack warms up on them)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.windows < 1:
            raise TextError(
                f"the text has {len(self.ids)} tokens to train on; expected at least {2 * self.batch}, two for each of "
                f"{self.batch} lanes: give more text or a smaller --batch"
            )

    @property
    def length(self) -> int:
        """Predicted tokens of each lane in an epoch."""
        return len(self.ids) // self.batch

    @property
    def windows(self) -> int:
        """Windows in an epoch; the last may be shorter than ``T``."""
        return -(-self.length // self.bptt) if self.length >= 2 else 0

    def window(self, place: Place) -> Ids:
        """The ids ``(T + 1 + lookahead, B)`` at ``place``: inputs are all but the last, targets all but the first."""
        first = place.window * self.bptt
        T = min(self.bptt, self.length - first)
        starts = self._cut(place.epoch) + first + self.length * np.arange(self.batch)
        reach = np.arange(T + 1 + self.lookahead)
        index = (starts[None, :] + reach[:, None]) % len(self.ids)
        window: Ids = self.ids[index].astype(np.int64)
        if place.window % _RELEASE == 0:
            release(self.ids)
        return window

    def after(self, place: Place) -> Place:
        """The place that follows."""
        if place.window + 1 < self.windows:
            return Place(place.epoch, place.window + 1)
        return Place(place.epoch + 1, 0)

    def _cut(self, epoch: int) -> int:
        return int(np.random.default_rng((self.seed, epoch)).integers(len(self.ids)))


def held_out_windows(
    ids: NDArray[np.integer], boundary: int, batch: int, bptt: int, warm_up: int, lookahead: int
) -> Iterator[tuple[Ids, NDArray[np.bool_]]]:
    """Every token of ``ids (N,)`` scored once, in lanes, each lane warmed up on the ``warm_up`` tokens before it.

    Gives windows ``(T + 1 + lookahead, B)`` and which of their ``(T, B)`` targets count. The state carries over from
    window to window. What lies before the text, and after it, is the boundary token.
    """
    N = len(ids)
    B = max(1, min(batch, N // max(1, 4 * warm_up)))  # so that warming up costs a quarter more at most
    length = -(-N // B)
    starts = np.arange(B) * length
    for number, first in enumerate(range(-warm_up if B > 1 else 0, length, bptt)):
        T = min(bptt, length - first)
        at = starts[None, :] + np.arange(first, first + T)[:, None]
        counts = (at >= starts[None, :]) & (at < np.minimum(starts + length, N)[None, :])
        reach = starts[None, :] + np.arange(first - 1, first + T + lookahead)[:, None]
        inside = (reach >= 0) & (reach < N)
        yield np.where(inside, ids[np.clip(reach, 0, N - 1)], boundary).astype(np.int64), counts
        if number % _RELEASE == 0:
            release(ids)
