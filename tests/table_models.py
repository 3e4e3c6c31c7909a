"""Language models whose distributions are known in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ostinato.types import Floats, Ids, State


class Bigram:
    """Each token depends on the one before, by a table of probabilities ``(V, V)``; its state also counts tokens."""

    def __init__(self, table: Sequence[Sequence[float]] | np.ndarray, boundary_id: int = 0) -> None:
        self.table = np.asarray(table, np.float64)
        self.boundary_id = boundary_id
        self.longest_run = 0

    @property
    def vocab_size(self) -> int:
        return len(self.table)

    def _state(self, ids: Ids, count: Floats) -> State:
        return State({"last": np.asarray(ids, np.float32)[:, None], "count": count})

    def start(self, batch: int = 1) -> State:
        return self._state(np.full(batch, self.boundary_id), np.zeros((batch, 1), np.float32))

    def logits(self, state: State) -> Floats:
        with np.errstate(divide="ignore"):
            return np.log(self.table[state.arrays["last"][:, 0].astype(int)]).astype(np.float32)

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        state = self._state(ids, state.arrays["count"] + 1)
        return self.logits(state), state

    def run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        self.longest_run = max(self.longest_run, len(ids))
        logits = np.empty((*ids.shape, self.vocab_size), np.float32)
        for t, row in enumerate(ids):
            logits[t], state = self.step(row, state)
        return logits, state


def uniform(vocab: int, boundary_id: int = 0) -> Bigram:
    return Bigram(np.full((vocab, vocab), 1 / vocab), boundary_id)


def random_bigram(vocab: int, boundary_id: int = 0, seed: int = 0) -> Bigram:
    return Bigram(np.random.default_rng(seed).dirichlet(np.full(vocab, 0.5), vocab), boundary_id)


class Neighbours:
    """A gap model: a token's probability is the product of a bigram table's with both neighbours, normalised."""

    def __init__(self, table: np.ndarray, boundary_id: int) -> None:
        self.table, self.boundary_id = table, boundary_id

    @property
    def vocab_size(self) -> int:
        return len(self.table)

    def gap_logits(self, ids: Ids, positions: Sequence[int] | None = None) -> Floats:
        framed = np.concatenate([[self.boundary_id], ids, [self.boundary_id]])
        wanted = np.arange(len(ids)) if positions is None else np.asarray(positions)
        return np.log(self.table[framed[wanted]] * self.table[:, framed[wanted + 2]].T).astype(np.float32)

    def gap_blocks(self, ids: Ids) -> Iterator[Floats]:
        for begin in range(0, len(ids), 5):
            yield self.gap_logits(ids, list(range(begin, min(begin + 5, len(ids)))))
