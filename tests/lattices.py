"""Small random lattices, every path of them one by one, and language models that are quick to ask."""

from __future__ import annotations

import random
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from hypothesis import strategies as st

from ostinato.lattice.lattice import ACOUSTIC, LM, Lattice
from ostinato.score.scorer import LogProbs

WORDS = ("", "to", "be", "or", "not", "<s>")


def random_lattice(seed: int, nodes: int = 7, extra: int = 9, words: Sequence[str] = WORDS) -> Lattice:
    """Every node on a path; ``extra`` arcs more than are needed for that, some of them parallel."""
    rng = random.Random(seed)
    arcs = {(rng.randrange(node), node) for node in range(1, nodes)}
    arcs |= {(node, rng.randrange(node + 1, nodes)) for node in range(nodes - 1) if node not in {s for s, _ in arcs}}
    pairs = sorted([*arcs, *(sorted(rng.sample(range(nodes), 2)) for _ in range(extra if nodes > 1 else 0))], key=tuple)
    scores = {
        name: [rng.uniform(-low, 1.0) for _ in pairs] for name, low in ((ACOUSTIC, 40), (LM, 6), ("pronunciation", 1))
    }
    return Lattice(
        name=f"utterance-{seed}",
        starts=np.array([start for start, _ in pairs], np.int64),
        ends=np.array([end for _, end in pairs], np.int64),
        words=tuple(rng.choice(words) for _ in pairs),
        scores={name: np.array(values) for name, values in scores.items()},
        scales={ACOUSTIC: 0.13, LM: 1.7},
        penalty=-0.4,
        times=np.cumsum([rng.uniform(0, 0.5) for _ in range(nodes)]),
    )


def all_paths(lattice: Lattice) -> list[tuple[int, ...]]:
    """Every path, arc by arc: the definition that nothing here may differ from."""
    found = []
    stack: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while stack:
        node, arcs = stack.pop()
        if node == lattice.nodes - 1:
            found.append(arcs)
        stack += [(int(lattice.ends[a]), (*arcs, a)) for a in range(lattice.arcs) if lattice.starts[a] == node]
    return found


def path_score(lattice: Lattice, arcs: Sequence[int]) -> float:
    """The total of a path, from the scores and scales themselves."""
    total = 0.0
    for arc in arcs:
        total += sum(lattice.scales.get(name, 1.0) * values[arc] for name, values in lattice.scores.items())
        total += lattice.penalty * (lattice.words[arc] not in lattice.silent)
    return float(total)


def same(a: Lattice, b: Lattice) -> bool:
    """Whether all of two lattices is equal."""
    plain = ("name", "words", "scales", "penalty", "notes", "header", "silent")
    return (
        all(getattr(a, name) == getattr(b, name) for name in plain)
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("starts", "ends"))
        and a.scores.keys() == b.scores.keys()
        and all(np.array_equal(a.scores[name], b.scores[name]) for name in a.scores)
        and (a.times is None) == (b.times is None)
        and (a.times is None or np.array_equal(a.times, b.times))
    )


class WholeHistory:
    """Every word depends on all before it, or on ``order - 1`` of them, by a table drawn from a seed."""

    def __init__(self, seed: int = 0, order: int = 1000, impossible: Sequence[str] = ()) -> None:
        self.seed, self.order, self.impossible = seed, order, impossible
        self.asked: list[tuple[tuple[str, ...], str]] = []
        self.calls = 0

    def begin(self) -> tuple[str, ...]:
        return ("^",)[: self.order - 1]

    def extend(self, states: Sequence[tuple[str, ...]], words: Sequence[str]) -> tuple[LogProbs, list[tuple[str, ...]]]:
        self.calls += 1
        self.asked += zip(states, words, strict=True)
        after = [
            ((*state, word)[1 - self.order :] if self.order > 1 else ())
            for state, word in zip(states, words, strict=False)
        ]
        return np.array([self.one(state, word) for state, word in zip(states, words, strict=True)]), after

    def end(self, states: Sequence[tuple[str, ...]]) -> LogProbs:
        return np.array([self.one(state, "$") for state in states])

    def one(self, state: tuple[str, ...], word: str) -> float:
        if word in self.impossible:
            return -np.inf
        return -8 * crc32(f"{self.seed} {state} {word}".encode()) / 2**32

    def sentence(self, words: Sequence[str]) -> float:
        """``log p`` of a sentence with its end."""
        state, total = self.begin(), 0.0
        for word in words:
            total += self.one(state, word)
            state = (*state, word)[1 - self.order :] if self.order > 1 else ()
        return total + self.one(state, "$")

    def __contains__(self, word: str) -> bool:
        return word not in self.impossible


class Sums:
    """One whose states are vectors: a word moves the state a little, and is scored by where the state is."""

    def begin(self) -> tuple[float, float]:
        return (0.0, 0.0)

    def extend(self, states, words):
        after = [(0.5 * x + len(word), 0.5 * y - len(word) ** 0.5) for (x, y), word in zip(states, words, strict=True)]
        return np.array([-abs(x - y) - len(word) for (x, y), word in zip(states, words, strict=True)]), after

    def end(self, states):
        return np.array([-abs(x) for x, _ in states])

    def __contains__(self, word: str) -> bool:
        return True


SEEDS = st.integers(0, 10**6)
