"""Nats per token of a model on held-out ids, in lanes, while it trains."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.data.lanes import held_out_windows
from ostinato.models.tokens import TokenModel as Model
from ostinato.training.metrics import BITS
from ostinato.types import Ids

_WARM_UP = 256  # tokens read before a lane's first scored one
_LANES = 32
_BPTT = 128


@dataclass(frozen=True)
class HeldOut:
    """Held-out ids ``(N,)`` and the boundary token that stands before and after them."""

    ids: NDArray[np.integer]
    boundary: int
    chars_per_token: float = 1.0
    """Of this text, to tell bits per character."""

    @property
    def size(self) -> int:
        """Tokens in it."""
        return len(self.ids)

    def first(self, tokens: int) -> HeldOut:
        """The part of at most so many tokens."""
        return replace(self, ids=self.ids[:tokens])

    def measure(self, model: Model) -> dict[str, float]:
        """``nats`` and ``bits_per_char``."""
        nats = self.nats(model)
        return {"nats": nats, "bits_per_char": nats * BITS / self.chars_per_token}

    def nats(self, model: Model) -> float:
        """Mean negative log-probability per token, in nats; every token counts once."""
        total, count = 0.0, 0
        device = next(model.parameters()).device
        state = None
        for ids, counts in self._windows(model):
            window = torch.from_numpy(ids).to(device)
            state = model.initial_state(ids.shape[1]) if state is None else state
            nats, state = model.nats(window, state)
            scored = torch.from_numpy(counts).to(device)
            total += float(nats[scored].double().sum())
            count += int(counts.sum())
        return total / count

    def seconds(self, model: Model) -> float:
        """Expected time of ``nats``, from its first two windows."""
        windows = list(islice(self._windows(model), 2))
        state = model.initial_state(windows[0][0].shape[1])
        start = time.perf_counter()
        for ids, _ in windows:
            _, state = model.nats(torch.from_numpy(ids).to(next(model.parameters()).device), state)
        took = time.perf_counter() - start
        tokens = sum(counts.size for _, counts in windows)
        return took * max(1.0, 1.25 * len(self.ids) / tokens)

    def _windows(self, model: Model) -> Iterator[tuple[Ids, NDArray[np.bool_]]]:
        return held_out_windows(self.ids, self.boundary, _LANES, _BPTT, _WARM_UP, model.lookahead)
