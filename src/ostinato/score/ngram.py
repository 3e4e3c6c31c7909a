"""The two baselines that a trained model is held against: a unigram, and an interpolated n-gram of the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError
from ostinato.types import Ids

Nats = NDArray[np.float64]


@dataclass(frozen=True)
class UnigramModel:
    """Token frequencies with one added to every count (Laplace)."""

    surprisal: Nats
    """``-log p`` of every token, ``(V,)``."""

    @staticmethod
    def fit(ids: Ids, vocab: int) -> UnigramModel:
        """Count ``ids (T,)`` of a vocabulary of ``vocab`` tokens."""
        counts = np.bincount(ids, minlength=vocab) + 1.0
        return UnigramModel(np.log(counts.sum()) - np.log(counts))

    def token_nats(self, ids: Ids) -> Nats:
        """``-log p`` of each of ``ids (T,)``."""
        return self.surprisal[ids]

    def nats(self, ids: Ids) -> float:
        """Their sum."""
        return float(self.token_nats(ids).sum())


@dataclass(frozen=True)
class _Level:
    """The grams of one length.

    A gram's code is its place in ``keys``; its key is ``(code of the gram without its last token) * V + last token``.
    """

    keys: Ids
    """Sorted, ``(M,)``."""
    discounted: Nats
    """Counts less the discount, ``(M,)``."""
    totals: Nats
    """Sum of the counts after each context, by the context's code."""
    backoff: Nats
    """The share of each context that was discounted and belongs to the shorter one."""

    def find(self, contexts: Ids, ids: Ids, vocab: int) -> Ids:
        """The codes of the grams ``(context, token)``; -1 where there is none."""
        wanted = contexts * vocab + ids
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((contexts >= 0) & (self.keys[places] == wanted), places, -1)

    def refine(self, contexts: Ids, grams: Ids, shorter: Nats) -> Nats:
        """The probabilities, from those given the shorter context."""
        mass = np.where(contexts >= 0, self.totals[contexts], 0.0)
        seen = mass > 0
        top = np.where(grams >= 0, self.discounted[grams], 0.0)
        longer = top / np.where(seen, mass, 1.0) + self.backoff[contexts] * shorter
        return np.where(seen, longer, shorter)


@dataclass(frozen=True)
class NgramModel:
    """Interpolated modified Kneser-Ney (Chen and Goodman 1999), down to the uniform distribution."""

    vocab: int
    levels: tuple[_Level, ...]
    """Of unigrams, bigrams, ..."""

    @staticmethod
    def fit(ids: Ids, order: int, vocab: int, boundary: int = -1) -> NgramModel:
        """Count the grams of up to ``order`` tokens in ``ids (T,)``.

        With ``boundary``, a token before and after each sentence, no gram goes over the end of a sentence, and grams
        that begin one keep their counts, for nothing stands before them (Heafield et al. 2013); -1 is none. Raises
        ConfigError when there are no grams of ``order`` tokens.
        """
        if not 1 <= order <= len(ids):
            raise ConfigError(f"order is {order}; expected 1 to the number of tokens, {len(ids)}")
        keys, codes, counts = [np.arange(vocab)], ids, [np.bincount(ids, minlength=vocab)]
        begins = np.zeros(vocab, bool)  # grams of two and more tokens that begin a sentence
        for k in range(1, order):
            # codes[i] is the gram of k tokens that ends at token i + k - 1, -1 where it goes over the end of a sentence
            within = codes[:-1] >= 0
            if k > 1:
                within &= ids[k - 1 : -1] != boundary
            windows = np.flatnonzero(within)
            if len(windows) == 0:
                raise ConfigError(f"order is {order}; expected 1 to {k}: no sentence is longer, its ends counted")
            grams = codes[windows] * vocab + ids[windows + k]
            unique, first, code, count = np.unique(grams, return_index=True, return_inverse=True, return_counts=True)
            # A shorter gram counts once for every different token before it.
            before = np.bincount(codes[windows[first] + 1], minlength=len(keys[-1]))
            counts[-1] = np.where(begins, counts[-1], before)
            begins = begins[unique // vocab] if k > 1 else unique // vocab == boundary
            keys.append(unique)
            counts.append(count)
            codes = np.full(len(codes) - 1, -1)
            codes[windows] = code
        contexts = [np.zeros(vocab, np.int64), *(key // vocab for key in keys[1:])]
        sizes = [1, *(len(key) for key in keys[:-1])]
        return NgramModel(vocab, tuple(map(_level, keys, counts, contexts, sizes)))

    def token_nats(self, ids: Ids) -> Nats:
        """``-log p`` of each of ``ids (T,)``, given up to ``order - 1`` before it."""
        p: Nats = np.full(len(ids), 1 / self.vocab)
        contexts = np.zeros(len(ids), np.int64)
        for level in self.levels:
            grams = level.find(contexts, ids, self.vocab)
            p = level.refine(contexts, grams, p)
            contexts = np.concatenate([[-1], grams[:-1]])
        return np.negative(np.log(p))

    def nats(self, ids: Ids) -> float:
        """Their sum."""
        return float(self.token_nats(ids).sum())


def _level(keys: Ids, counts: Ids, contexts: Ids, context_count: int) -> _Level:
    discounts: Nats = _discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=context_count).astype(np.float64)
    taken = np.bincount(contexts, weights=discounts, minlength=context_count).astype(np.float64)
    return _Level(keys, counts.astype(np.float64) - discounts, totals, taken / np.maximum(totals, 1))


def _discounts(counts: Ids) -> Nats:
    """What is taken from counts of 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (np.bincount(np.minimum(counts, 5), minlength=6)[1:5]).tolist()
    if not all((n1, n2, n3)):
        return np.array([0.0, 0.5, 0.75, 0.75])  # too few grams to estimate from: absolute discounting
    y = n1 / (n1 + 2 * n2)
    estimates: Sequence[float] = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array(np.clip(estimates, [0.0, 0.1, 0.1, 0.1], [0.0, 0.9, 1.9, 2.9]))
