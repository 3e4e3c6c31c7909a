"""What the columns of a recogniser's output mean, and its output, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError

LogProbs = NDArray[np.float64]

MOST_LABELS = 1 << 20


@dataclass(frozen=True)
class Labels:
    """The labels of a recogniser, one for each column of its output ``(T, V)``: characters, pieces of words, phonemes.

    Raises ConfigError when they cannot be told apart, or a blank between words stands anywhere but at the beginning
    of a label.
    """

    names: tuple[str, ...]
    """``(V,)``, from a list or a string of characters; the name of CTC's blank does not matter."""
    blank: int = 0
    """The column of CTC's blank, which is not the blank between words."""
    gap: str = " "
    """What stands for the blank between words in a name: ``" "``, ``"|"``; where words are in pieces, ``"▁"``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        V = len(self.names)
        if not 2 <= V <= MOST_LABELS or not all(isinstance(name, str) for name in self.names):
            raise ConfigError(f"there are {V} labels; expected 2 to {MOST_LABELS} strings, CTC's blank among them")
        if isinstance(self.blank, bool) or not isinstance(self.blank, int) or not 0 <= self.blank < V:
            raise ConfigError(f"blank is {self.blank!r}; expected a column, 0 to {V - 1}")
        if len(self.gap) != 1:
            raise ConfigError(f"gap is {self.gap!r}; expected the one character that stands for a blank between words")
        first: dict[str, int] = {}
        for column, text in enumerate(self.texts):
            if column == self.blank:
                continue
            if not text or " " in text[1:]:
                wrong = "is empty" if not text else f"is {self.names[column]!r}, with a blank inside"
                raise ConfigError(f"label {column} {wrong}; expected a text with a blank at its beginning or none")
            if text in first:
                raise ConfigError(f"labels {first[text]} and {column} are both {self.names[column]!r}")
            first[text] = column

    @property
    def texts(self) -> tuple[str, ...]:
        """What each label adds to the text, ``(V,)``; CTC's blank adds nothing."""
        written = [name.replace(self.gap, " ") for name in self.names]
        written[self.blank] = ""
        return tuple(written)


def log_probs(frames: Any, labels: Labels) -> LogProbs:
    """Log-probabilities ``(T, V)`` in float64 of ``frames (T, V)``: log-probabilities or scores before the softmax.

    Either way each row is normalised, which leaves log-probabilities as they are. Raises ConfigError on another shape,
    on NaN or infinity, on a row without any possible label, and on what seems to be probabilities.
    """
    try:
        array = np.asarray(frames)
        scores = np.array(array, np.float64, order="C") if array.dtype.kind in "fiu" else None
    except ValueError:
        scores = None
    V = len(labels.names)
    if scores is None or scores.ndim != 2 or scores.shape[1] != V:
        shape = "ragged or not of numbers" if scores is None else f"of shape {scores.shape}"
        raise ConfigError(f"the frames are {shape}; expected numbers (frames, {V}), a column for each label")
    wrong = np.isnan(scores).any(axis=1) | (scores.max(axis=1, initial=-np.inf) == np.inf)
    wrong |= scores.max(axis=1, initial=-np.inf) == -np.inf
    if wrong.any():
        raise ConfigError(
            f"frame {int(wrong.argmax())} holds NaN or infinity, or no possible label; expected log-probabilities"
        )
    if len(scores) and scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        raise ConfigError("the frames seem to be probabilities; expected their logarithms or scores before the softmax")
    scores -= scores.max(axis=1, keepdims=True, initial=-np.inf)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores
