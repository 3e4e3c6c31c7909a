"""What joins the search from outside: language models and hot words (shallow fusion, Hannun et al. 2014).

A fusion adds to the score of a prefix a number that depends on the prefix alone, never on how the search came to it.
So a search that drops nothing ranks by ``log p(labels | frames) + extra(labels)`` exactly, and what is dropped is the
only difference that a beam makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.ctc.labels import LogProbs
from ostinato.errors import ConfigError
from ostinato.score.arpa import LN10, MISSING_UNKNOWN

LEAST = MISSING_UNKNOWN * LN10
"""Nats that stand for probability 0, as in ARPA files: a sum with it can still be compared."""


@dataclass(frozen=True)
class Context:
    """What a fusion knows of a prefix."""

    extra: float
    """What it adds to the score of the prefix, what it hopes of an unfinished word among it."""
    gains: LogProbs
    """``(V,)``: how much more it will add when a label follows, as far as it knows without asking its model."""
    language: float = 0.0
    """``log p`` under its model, without a weight."""
    state: Any = None
    """Its own."""


class Fusion(Protocol):
    """Adds to the scores of prefixes. It is asked once a frame, for all new prefixes of the beam together."""

    def start(self) -> Context:
        """Of the empty prefix."""
        ...

    def follow(self, contexts: Sequence[Context], labels: Sequence[int]) -> list[Context]:
        """Of prefixes, each with a label more."""
        ...

    def finish(self, contexts: Sequence[Context]) -> list[Context]:
        """Of prefixes at which the speaker has ended: an unfinished word is done, and so is the sentence."""
        ...


def check_kind(name: str, given: object, method: str, expected: str) -> None:
    """Raise ConfigError unless ``given`` has a method, so that what only looks right is refused where it is given."""
    if not callable(getattr(given, method, None)):
        raise ConfigError(f"{name} is of type {type(given).__name__}; expected {expected}")


def checked(logprobs: NDArray[np.floating[Any]]) -> LogProbs:
    """A model's log-probabilities, none less than LEAST. Raises ConfigError on NaN and on more than 0."""
    values = np.asarray(logprobs, np.float64)
    if not (values <= 1e-3).all():
        raise ConfigError("the language model gave NaN or a log-probability above 0; expected natural logarithms")
    return np.maximum(values, LEAST)
