"""The words of a language as a trie, held as a sorted list: what stands below a prefix stands side by side in it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ostinato.errors import ConfigError
from ostinato.score.arpa import BEGIN, END, LN10, UNKNOWN, ArpaModel

REMEMBERED = 1 << 16
"""Prefixes whose place in the list is kept at hand."""
LAST = chr(0x10FFFF)
LEAST_SPELLED = 0.01
"""Of the words of a lexicon: with fewer it is of another language, or in capitals."""
NO_WORDS = (UNKNOWN, BEGIN, END)


class Below(NamedTuple):
    """What a lexicon has at and below a prefix."""

    best: float | None
    """Log-probability of the likeliest word that begins so; None where there is none."""
    own: float | None
    """That of the prefix as a word; None where it is not one."""


class Lexicon:
    """Words and their log-probabilities without context."""

    def __init__(self, logprobs: Mapping[str, float]) -> None:
        """Natural logarithms. Raises ConfigError without any word, on a blank in one, and on what is no logarithm."""
        if not logprobs:
            raise ConfigError("there is no word; expected a mapping of words to log-probabilities")
        for word, logprob in logprobs.items():
            if not word or word.split() != [word]:
                raise ConfigError(f"{word!r} is not a word; expected one without blanks")
            if not -math.inf < logprob <= 0.0:
                raise ConfigError(f"the log-probability of {word!r} is {logprob}; expected a finite one, at most 0")
        self._words = sorted(logprobs)
        self._logprobs = np.array([logprobs[word] for word in self._words])
        self.least = float(self._logprobs.min())
        """The log-probability of the rarest word."""
        self.below = lru_cache(REMEMBERED)(self._below)

    @staticmethod
    def count(words: Iterable[str]) -> Lexicon:
        """The lexicon of a text, given as its words: logarithms of their shares. Raises ConfigError without any."""
        counts = Counter(words)
        total = sum(counts.values())
        return Lexicon({word: math.log(count / total) for word, count in counts.items()})

    @staticmethod
    def unigrams(model: ArpaModel) -> Lexicon:
        """The words of an n-gram model and its log-probabilities of them. Raises ConfigError on another model."""
        if not isinstance(model, ArpaModel):
            raise ConfigError(
                f"the model is of type {type(model).__name__}; expected an n-gram model, as read_arpa gives it"
            )
        logprobs = (LN10 * model.levels[0].logprob.astype(np.float64)).tolist()
        return Lexicon(
            {
                word: min(logprob, 0.0)
                for word, logprob in zip(model.words, logprobs, strict=True)
                if word not in NO_WORDS
            }
        )

    def __len__(self) -> int:
        return len(self._words)

    def check_letters(self, letters: AbstractSet[str]) -> None:
        """Raises ConfigError when hardly any word can be spelled with ``letters``: the words are in other ones."""
        odd = [word for word in self._words if not letters >= {*word}]
        if len(self) - len(odd) < LEAST_SPELLED * len(self):
            letter = next(letter for letter in odd[0] if letter not in letters)
            raise ConfigError(
                f"the labels can spell {len(self) - len(odd):,} of the {len(self):,} words of the lexicon; {odd[0]!r}, "
                f"for one, has {letter!r}, which no label has: write the words as the labels do"
            )

    def _below(self, prefix: str) -> Below:
        """What begins with ``prefix``."""
        first = bisect_left(self._words, prefix)
        last = bisect_left(self._words, prefix + LAST, first)
        if first == last:
            return Below(None, None)
        own = float(self._logprobs[first]) if self._words[first] == prefix else None
        return Below(float(self._logprobs[first:last].max()), own)
