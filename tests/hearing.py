"""Recognisers' outputs of a few frames, all that they can mean, and small language models for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ostinato.ctc import Labels
from ostinato.types import Floats, Ids, State

LABELS = Labels(["-", "a", "b", " "])
"""Two letters and the blank between words."""
UNKNOWN, END = "<unk>", "</s>"


def random_frames(T: int, V: int, seed: int, sharp: float = 1.5) -> np.ndarray:
    """Log-probabilities ``(T, V)``, all different."""
    scores = sharp * np.random.default_rng(seed).normal(size=(T, V))
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


@dataclass
class Meaning:
    """A label sequence: nats of all its alignments, and of the likeliest, whose labels are said at ``spans``."""

    logprob: float = -np.inf
    best: float = -np.inf
    spans: tuple[tuple[int, int, int], ...] = ()


def meanings(frames: np.ndarray, blank: int) -> dict[tuple[int, ...], Meaning]:
    """Of every label sequence that ``frames (T, V)`` can mean, by going through all ``V ** T`` alignments."""
    T, V = frames.shape
    found: dict[tuple[int, ...], Meaning] = {}
    for alignment in itertools.product(range(V), repeat=T):
        logprob = float(sum(frames[t, v] for t, v in enumerate(alignment)))
        runs, t = [], 0
        for v, group in itertools.groupby(alignment):
            length = len(list(group))
            if v != blank:
                runs.append((v, t, t + length))
            t += length
        meaning = found.setdefault(tuple(v for v, _, _ in runs), Meaning())
        meaning.logprob = float(np.logaddexp(meaning.logprob, logprob))
        if logprob > meaning.best:
            meaning.best, meaning.spans = logprob, tuple(runs)
    return found


class WordBigram:
    """Each word depends on the one before, by random probabilities; what it does not know is ``<unk>``."""

    def __init__(self, words: Sequence[str], seed: int = 0) -> None:
        self.words = [*words, UNKNOWN, END]
        table = np.random.default_rng(seed).dirichlet(np.full(len(self.words), 0.7), len(self.words))
        self.table = np.log(table)
        self.calls: list[int] = []

    def number(self, word: str) -> int:
        return self.words.index(word if word in self.words else UNKNOWN)

    def begin(self) -> str:
        return END

    def extend(self, states: Sequence[str], words: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        self.calls.append(len(words))
        numbers = [(self.number(state), self.number(word)) for state, word in zip(states, words, strict=True)]
        return np.array([self.table[pair] for pair in numbers]), [self.words[number] for _, number in numbers]

    def end(self, states: Sequence[str]) -> np.ndarray:
        return np.array([self.table[self.number(state), self.number(END)] for state in states])

    def __contains__(self, word: str) -> bool:
        return word in self.words

    def logprob(self, words: Sequence[str]) -> float:
        """Of a sentence and its end."""
        chain = [self.number(word) for word in (END, *words, END)]
        return float(sum(self.table[pair] for pair in itertools.pairwise(chain)))


class Echo:
    """A language model of tokens that remembers all it has read, the more faintly the longer ago."""

    def __init__(self, vocab: int, boundary_id: int) -> None:
        self.vocab_size, self.boundary_id = vocab, boundary_id

    def start(self, batch: int = 1) -> State:
        return self.step(np.full(batch, self.boundary_id), State({"x": np.zeros((batch, 1), np.float32)}))[1]

    def logits(self, state: State) -> Floats:
        return 2 * np.sin(state.arrays["x"] * np.arange(1, self.vocab_size + 1, dtype=np.float32))

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        state = State({"x": np.float32(0.7) * state.arrays["x"] + ids[:, None].astype(np.float32) + 1})
        return self.logits(state), state

    def run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        raise NotImplementedError  # decoding goes step by step

    def logprob(self, ids: Sequence[int]) -> float:
        """Of tokens and the boundary after them."""
        state, total = self.start(), 0.0
        for token in [*ids, self.boundary_id]:
            scores = self.logits(state)[0].astype(np.float64)
            total += float(scores[token] - np.log(np.exp(scores).sum()))
            state = self.step(np.array([token]), state)[1]
        return total
