"""Weights of a log-linear model that make the fewest word errors on n-best lists (Och 2003)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError

Weights = NDArray[np.float64]
STARTS = 20
"""Random directions and places that the search begins from."""
ROUNDS = 30
"""At most so many passes over the directions from each start."""
ROUNDING = 1e-9
"""Stretches of a line that are narrower are none."""


@dataclass(frozen=True)
class Candidates:
    """The hypotheses of one utterance, in numbers."""

    features: NDArray[np.float64]
    """``(M, K)``: the scores of each."""
    errors: NDArray[np.int64]
    """``(M,)``: its word errors."""


class Table:
    """Many lists in one array, so that a line is searched in all of them at once."""

    def __init__(self, lists: Sequence[Candidates]) -> None:
        most, K = max(len(one.errors) for one in lists), lists[0].features.shape[1]
        self.features = np.zeros((len(lists), most, K))
        self.errors = np.zeros((len(lists), most), np.int64)
        self.valid = np.zeros((len(lists), most), bool)
        for n, one in enumerate(lists):
            M = len(one.errors)
            self.features[n, :M], self.errors[n, :M], self.valid[n, :M] = one.features, one.errors, True
        self._each = np.arange(len(lists))

    def scores(self, weights: Weights) -> NDArray[np.float64]:
        """The weighted sums ``(L, M)``."""
        return np.where(self.valid, self.features @ weights, -np.inf)

    def count_errors(self, weights: Weights) -> int:
        """Word errors of the best hypotheses; of equals the first."""
        return int(self.errors[self._each, self.scores(weights).argmax(axis=1)].sum())

    def crossings(self, weights: Weights, direction: Weights) -> tuple[int, NDArray[np.float64], NDArray[np.int64]]:
        """The errors far to the left on ``weights + step * direction``, and the steps at which another hypothesis
        becomes the best one of its list, in order, with what that changes.

        Every hypothesis is a line over the step; from each list's highest one it goes to the one that crosses it first.
        """
        heights, slopes = self.scores(weights), self.scores(direction)
        lowest = np.where(self.valid, slopes, np.inf).min(axis=1, keepdims=True)
        current = np.where(slopes == lowest, heights, -np.inf).argmax(axis=1)
        total = int(self.errors[self._each, current].sum())
        places, changes, reached = [np.zeros(0)], [np.zeros(0, np.int64)], np.full(len(current), -np.inf)
        while True:
            height, slope = heights[self._each, current, None], slopes[self._each, current, None]
            steeper = slopes > slope
            steps = np.full(heights.shape, np.inf)
            np.divide(height - heights, slopes - slope, out=steps, where=steeper)
            first = steps.min(axis=1)
            live = np.flatnonzero(first < np.inf)
            if not len(live):
                break
            following = np.where(steps == first[:, None], slopes, -np.inf).argmax(axis=1)
            reached[live] = np.maximum(reached[live], first[live])  # rounding must not turn back
            places.append(reached[live])
            changes.append(self.errors[live, following[live]] - self.errors[live, current[live]])
            current[live] = following[live]
        ends = np.concatenate(places)
        order = np.argsort(ends, kind="stable")
        return total, ends[order], np.concatenate(changes)[order]


def tune(lists: Sequence[Candidates], *, starts: int = STARTS, seed: int = 0) -> Weights:
    """The weights ``(K,)`` of fewest errors that the search finds, the largest 1 in units of each score's spread within
    a list; 0 of scores that do not differ within any.

    From ``starts`` places it goes along one direction after another, every score's own and some drawn, each time to
    the exact minimum on that line. The count of errors is constant in pieces: of equally good ones the widest is taken,
    and of equally good starts the mean: what lies in the middle holds on other lists too. Raises ConfigError when there
    is nothing to choose between.
    """
    chosen = [one for one in lists if len(one.errors) > 1]
    if not chosen:
        raise ConfigError("no list has two hypotheses or more; there is nothing to tune weights on")
    # What is the same for all hypotheses of a list chooses none of them.
    differ = np.any([np.ptp(one.features, axis=0) > 0 for one in chosen], axis=0)
    weights = np.zeros(len(differ))
    if differ.any():
        weights[differ] = _tuned([Candidates(one.features[:, differ], one.errors) for one in chosen], starts, seed)
    return weights


def _tuned(lists: Sequence[Candidates], starts: int, seed: int) -> Weights:
    """The same where every score differs in some list."""
    spread = np.sqrt(np.mean([one.features.var(axis=0) for one in lists], axis=0))
    table = Table([Candidates(one.features / spread, one.errors) for one in lists])
    rng = np.random.default_rng(seed)
    K = len(spread)
    found: list[tuple[int, Weights]] = []
    for begin in [np.ones(K), *rng.normal(size=(starts - 1, K))]:
        found.append(_descend(table, begin / np.abs(begin).max(), rng))
    fewest = min(errors for errors, _ in found)
    best = [weights for errors, weights in found if errors == fewest]
    middle = np.mean([weights / np.linalg.norm(weights) for weights in best], axis=0)
    chosen_weights = middle if table.count_errors(middle) <= fewest else best[0]
    return np.asarray(chosen_weights / np.abs(chosen_weights).max() / spread)


def _descend(table: Table, weights: Weights, rng: np.random.Generator) -> tuple[int, Weights]:
    """Line after line until none is better."""
    errors = table.count_errors(weights)
    for _ in range(ROUNDS):
        before = errors
        for direction in [*np.eye(len(weights)), *rng.normal(size=(len(weights), len(weights)))]:
            step, there = line_search(table, weights, direction)
            moved = weights + step * direction
            if there < errors and np.abs(moved).max() > 0:
                errors, weights = there, moved / np.abs(moved).max()
        if errors == before:
            break
    return errors, weights


def line_search(table: Table, weights: Weights, direction: Weights) -> tuple[float, int]:
    """Where on ``weights + step * direction`` the fewest errors are made, exactly, and how many.

    The middle of the widest stretch; of one without an end a place beyond its beginning.
    """
    total, ends, changes = table.crossings(weights, direction)
    if not len(ends):
        return 0.0, total
    counts = total + np.concatenate([[0], np.cumsum(changes)])
    left = np.concatenate([[ends[0] - 2.0], ends])
    right = np.concatenate([ends, [ends[-1] + 2.0]])
    wide = right - left > ROUNDING * np.maximum(1.0, np.abs(left))  # several lists may change at once
    wide[[0, -1]] = True  # they have no end
    fewest = int(counts[wide].min())
    widest = int(np.argmax(np.where(wide & (counts == fewest), right - left, -1.0)))
    return float((left[widest] + right[widest]) / 2), fewest


def folds(count: int, parts: int, *, seed: int = 0) -> list[NDArray[np.int64]]:
    """``count`` utterances in ``parts`` of about equal size, drawn by the seed. Raises ConfigError on too few."""
    if not 2 <= parts <= count:
        raise ConfigError(f"folds is {parts}; expected 2 to the number of lists with a reference, {count}")
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(part) for part in np.array_split(order, parts)]
