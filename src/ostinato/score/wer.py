"""Word error rate: alignments of words, sums, and how sure one can be of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Errors:
    """What turns a reference into a hypothesis. Errors of utterances add up."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0
    """Of the reference."""

    @property
    def total(self) -> int:
        """All three."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Word error rate; NaN without a reference word."""
        return self.total / self.words if self.words else float("nan")

    def __add__(self, other: Errors) -> Errors:
        return Errors(*(a + b for a, b in zip(_counts(self), _counts(other), strict=True)))

    @staticmethod
    def total_of(parts: Iterable[Errors]) -> Errors:
        """The sum."""
        return sum(parts, Errors())


def _counts(errors: Errors) -> tuple[int, int, int, int]:
    return errors.substitutions, errors.deletions, errors.insertions, errors.words


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """The fewest errors (Levenshtein); of equally few the ones with the most substitutions."""
    # (errors, insertions, deletions) of turning the reference so far into each beginning of the hypothesis
    row = [(n, n, 0) for n in range(len(hypothesis) + 1)]
    for word in reference:
        before, row = row, [(row[0][0] + 1, row[0][1], row[0][2] + 1)]
        for n, other in enumerate(hypothesis):
            errors, insertions, deletions = before[n]
            row.append(
                min(
                    (errors + (word != other), insertions, deletions),
                    (row[n][0] + 1, row[n][1] + 1, row[n][2]),
                    (before[n + 1][0] + 1, before[n + 1][1], before[n + 1][2] + 1),
                )
            )
    errors, insertions, deletions = row[-1]
    return Errors(errors - insertions - deletions, deletions, insertions, len(reference))


def confidence_interval(
    errors: Sequence[int], words: Sequence[int], *, seed: int = 0, draws: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Between which rates the word error rate lies, by the bootstrap over utterances (Bisani and Ney 2004).

    For the difference of two systems give the differences of their errors.
    """
    rng = np.random.default_rng(seed)
    pairs: NDArray[np.int64] = np.array([errors, words], np.int64)
    rates = np.empty(draws)
    for n in range(draws):
        total, count = pairs[:, rng.integers(0, len(words), len(words))].sum(axis=1)
        rates[n] = total / max(1, count)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
