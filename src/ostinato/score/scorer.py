"""What rescoring, lattices and CTC decoding ask of a language model: words, one after another, from a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

LogProbs = NDArray[np.float64]
S = TypeVar("S")


class Scorer(Protocol[S]):
    """A language model of words: state -> word -> state, for many states at once. All logarithms are natural.

    A state is an immutable, hashable value; equal states score alike whatever comes after them. So what is reached
    twice need be scored once.
    """

    def begin(self) -> S:
        """The state at the beginning of a sentence."""
        ...

    def extend(self, states: Sequence[S], words: Sequence[str]) -> tuple[LogProbs, list[S]]:
        """``log p(words[n] | states[n])``, ``(N,)``, and the states after those words.

        A word outside the vocabulary is scored as ``<unk>`` where the model has one.
        """
        ...

    def end(self, states: Sequence[S]) -> LogProbs:
        """``log p`` of the end of the sentence after each state, ``(N,)``."""
        ...

    def __contains__(self, word: str) -> bool:
        """Whether the vocabulary has the word; models of characters and pieces spell every word they can."""
        ...
