"""A recurrent language model as a scorer of words, whatever its tokens are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from ostinato.errors import ConfigError
from ostinato.score.arpa import columns
from ostinato.score.logprob import SCORES
from ostinato.score.scorer import LogProbs
from ostinato.types import Floats, Ids, RecurrentModel, State, Tokenizer

REMEMBERED = 1 << 16
"""Words whose tokens are kept at hand: a search tries many that are none."""


class ReadingModel(RecurrentModel, Protocol):
    """A recurrent model that can read on without scores: words need those of the tokens before them only."""

    def read(self, ids: Ids, state: State) -> State:
        """The state after ``ids (T, B)``."""
        ...


@dataclass(frozen=True)
class Reached:
    """Where a sentence has come to: a row of a batch of states, which is never copied for it.

    Two are equal when the same tokens led to them.
    """

    key: bytes
    """A digest of the tokens since the beginning of the sentence; empty there."""
    batch: State = field(compare=False, repr=False)
    row: int = field(compare=False)


class RecurrentScorer:
    """Words scored by the sum of their tokens' log-probabilities. Implements ``Scorer[Reached]``.

    A model of characters, bytes or pieces spells each word in its tokens, and the blank before a word counts as part of
    it, so the first one of a sentence has none; a sentence ends with the line end. What several words share, the state
    before them or their first tokens, is computed once in each call.
    """

    def __init__(self, model: ReadingModel, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._blank = "" if tokenizer.level == "word" else " "
        self._encode = lru_cache(REMEMBERED)(self._encoded)
        self._start = Reached(b"", model.start(), 0)

    def begin(self) -> Reached:
        """The state at the beginning of a sentence: a line end was read."""
        return self._start

    def extend(self, states: Sequence[Reached], words: Sequence[str]) -> tuple[LogProbs, list[Reached]]:
        """``log p(words[n] | states[n])``, ``(N,)``, and the states after those words.

        Raises ConfigError on a word that is empty or has one of ASCII's blanks.
        """
        tokens = [self.tokens(word, first=not state.key) for word, state in zip(words, states, strict=True)]
        logprobs = np.zeros(len(states))
        places = list(states)
        active = list(range(len(states)))
        depth = 0
        while active:
            here = [(places[n], tokens[n][depth]) for n in active]
            scores, after = self._step(here)
            for n, score, reached in zip(active, scores.tolist(), after, strict=True):
                logprobs[n] += score
                places[n] = reached
            depth += 1
            active = [n for n in active if len(tokens[n]) > depth]
        return logprobs, places

    def end(self, states: Sequence[Reached]) -> LogProbs:
        """``log p`` of the line end after each state, ``(N,)``."""
        nodes = list(dict.fromkeys(states))
        place = {node: index for index, node in enumerate(nodes)}
        rows = np.array([place[state] for state in states], np.int64)
        return self._logprobs(nodes, rows, np.full(len(states), self._tokenizer.boundary_id))

    def __contains__(self, word: str) -> bool:
        """Whether no token of the word is ``<unk>``; what ``extend`` refuses is no word."""
        return columns(word) == [word] and self._tokenizer.unk_id not in self.tokens(word, first=False)

    def tokens(self, word: str, *, first: bool) -> tuple[int, ...]:
        """The tokens of a word, ``first`` in its sentence or not. Raises ConfigError as ``extend`` does."""
        return self._encode(word, "" if first else self._blank)

    def _encoded(self, word: str, before: str) -> tuple[int, ...]:
        if columns(word) != [word]:
            raise ConfigError(f"{word!r} is not a word; expected one or more characters without a blank")
        ids, unknown = tuple(self._tokenizer.encode(before + word).tolist()), self._tokenizer.unk_id
        return ids if ids or unknown is None else (unknown,)  # blanks that are none of ASCII's may have no token

    def _step(self, pairs: Sequence[tuple[Reached, int]]) -> tuple[LogProbs, list[Reached]]:
        """Log-probabilities ``(N,)`` of a token after each state, and the states after it, each pair computed once."""
        once = list(dict.fromkeys(pairs))
        nodes = list(dict.fromkeys(node for node, _ in once))
        place = {node: index for index, node in enumerate(nodes)}
        rows = np.array([place[node] for node, _ in once], np.int64)
        ids = np.array([token for _, token in once], np.int64)
        scores = self._logprobs(nodes, rows, ids)
        batch = self._model.read(ids[None], _gather([node for node, _ in once]))
        after = [Reached(_key(node, token), batch, row) for row, (node, token) in enumerate(once)]
        index = {pair: n for n, pair in enumerate(once)}
        found = [index[pair] for pair in pairs]
        return scores[found], [after[n] for n in found]

    def _logprobs(self, nodes: Sequence[Reached], rows: Ids, ids: Ids) -> LogProbs:
        """``log p(ids[n])`` after ``nodes[rows[n]]``, ``(N,)``, in bounded memory."""
        result = np.empty(len(ids))
        size = max(1, SCORES // self._model.vocab_size)
        for first in range(0, len(nodes), size):
            logits = self._model.logits(_gather(nodes[first : first + size]))
            wanted = np.flatnonzero((rows >= first) & (rows < first + size))
            here = rows[wanted] - first
            result[wanted] = logits[here, ids[wanted]] - _log_mass(logits)[here]
        return result


def _log_mass(logits: Floats) -> LogProbs:
    """``log sum exp`` of each row of ``logits (N, V)``, ``(N,)``."""
    top = logits.max(axis=1)
    mass: LogProbs = top + np.log(np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64))
    return mass


def _key(node: Reached, token: int) -> bytes:
    return hashlib.blake2b(node.key + token.to_bytes(4, "little"), digest_size=16).digest()


def _gather(nodes: Sequence[Reached]) -> State:
    """The states of ``nodes`` as one batch."""
    first = nodes[0].batch
    if all(node.batch is first for node in nodes):
        return first.rows([node.row for node in nodes])
    return State({name: np.stack([node.batch.arrays[name][node.row] for node in nodes]) for name in first.arrays})
