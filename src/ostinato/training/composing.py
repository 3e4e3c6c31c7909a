"""Learning to compose: batches of pieces, each moved to another key, and what is measured on held-out ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.lanes import Place
from ostinato.data.ragged import Buckets, by_size
from ostinato.data.rolls import Roll, framed, transposed, windows
from ostinato.models.composer import RecurrentComposer
from ostinato.nn.recurrent import States
from ostinato.training.objective import BatchObjective, Loss, device_of

_STEPS = 1 << 11
"""Of held-out pieces that are measured at once, padding included."""
_LONGEST = 1 << 12
"""Steps of a held-out piece that is measured as a whole; what is longer is measured in windows of so many."""


class RollObjective(BatchObjective):
    """A composer on windows of pieces, in batches of about equal length; every window once an epoch.

    A piece is moved up or down by up to ``transpose`` semitones, in a way that seed and place decide.
    """

    def __init__(
        self, model: RecurrentComposer, rolls: Sequence[Roll], batch: int, longest: int, transpose: int, seed: int
    ) -> None:
        self._model, self._transpose, self._seed = model, transpose, seed
        self._windows = windows(rolls, longest)
        super().__init__(Buckets(np.array([len(roll) for _, roll in self._windows]), batch, seed))
        self._device = device_of(model)

    def loss(self, place: Place, state: States) -> Loss:  # noqa: ARG002 - pieces do not go on in the next batch
        """Of the batch at ``place``, per step."""
        rng = np.random.default_rng((self._seed, place.epoch, place.window))
        chosen = [self._windows[index] for index in self._buckets.indices(place)]
        shifts = rng.integers(-self._transpose, self._transpose + 1, len(chosen))
        moved = [_moved(window, int(shift)) for window, shift in zip(chosen, shifts, strict=True)]
        keys, lengths = _tensors(moved, self._device)
        nats = self._model.nats(keys, lengths).sum()
        return Loss(nats, int(lengths.sum()), nats.new_zeros(()), ())


def _moved(window: tuple[Roll, Roll], by: int) -> tuple[Roll, Roll]:
    """A window and the step before it, moved together."""
    before, roll = window
    both = transposed(np.concatenate([before[None], roll]), by)
    return both[0], both[1:]


@dataclass(frozen=True)
class HeldOutRolls:
    """Pieces that are not trained on, as they are, read from their first step to their last."""

    rolls: Sequence[Roll]

    @property
    def size(self) -> int:
        """Steps in them."""
        return sum(map(len, self.rolls))

    def first(self, steps: int) -> HeldOutRolls:
        """The first pieces, one at least, of at most so many steps together."""
        together = np.cumsum([len(roll) for roll in self.rolls])
        return HeldOutRolls(self.rolls[: max(1, int(np.searchsorted(together, steps, side="right")))])

    def measure(self, model: RecurrentComposer) -> dict[str, float]:
        """``nats`` per step: the mean over all steps of all pieces of the sum over the keys."""
        return {"nats": float(self.nats(model).sum()) / self.size}

    @torch.no_grad()
    def nats(self, model: RecurrentComposer) -> NDArray[np.float64]:
        """Of each piece, or window of a long one, ``(n,)``. Nothing is dropped, whatever the mode."""
        pieces = windows(self.rolls, _LONGEST)
        found = np.zeros(len(pieces))
        mode = model.training
        model.eval()
        try:
            for index in by_size(np.array([len(roll) for _, roll in pieces]), _STEPS):
                keys, lengths = _tensors([pieces[i] for i in index], device_of(model))
                each = model.nats(keys, lengths).double().cpu().numpy()
                live = np.arange(len(keys) - 1)[:, None] < lengths.cpu().numpy()
                found[index] = np.bincount(np.nonzero(live)[1], each, minlength=len(index))
        finally:
            model.train(mode)
        return found

    def seconds(self, model: RecurrentComposer) -> float:
        """Expected time of ``measure``."""
        some = self.first(500)
        start = time.perf_counter()
        some.nats(model)
        return (time.perf_counter() - start) * self.size / some.size


def _tensors(pieces: Sequence[tuple[Roll, Roll]], device: torch.device) -> tuple[Tensor, Tensor]:
    keys, lengths = framed(pieces)
    return torch.from_numpy(keys).to(device), torch.from_numpy(lengths).to(device)
