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


@dataclass(frozen=True)
class Candidates:
    """The hypotheses of one utterance, in numbers."""

    features: NDArray[np.float64]
    """``(M, K)``: the scores of each."""
    errors: NDArray[np.int64]
    """``(M,)``: its word errors."""

    def best(self, weights: Weights) -> int:
        """The hypothesis of the highest weighted score; of equals the first."""
        return int((self.features @ weights).argmax())


def count_errors(lists: Sequence[Candidates], weights: Weights) -> int:
    """Word errors of the best hypotheses."""
    return sum(int(one.errors[one.best(weights)]) for one in lists)


def tune(lists: Sequence[Candidates], *, starts: int = STARTS, seed: int = 0) -> Weights:
    """The weights ``(K,)`` of fewest errors that the search finds, the largest of size 1 in units of each score's spread.

    From ``starts`` places it goes along one direction after another, every score's own and some drawn, each time to
    the exact minimum on that line. The count of errors is constant in pieces: of equally good ones the widest is taken,
    and of equally good starts the mean, which is what holds on other lists. Raises ConfigError when there is nothing to
    choose between.
    """
    chosen = [one for one in lists if len(one.errors) > 1]
    if not chosen:
        raise ConfigError("no list has two hypotheses or more; there is nothing to tune weights on")
    spread = _spread(chosen)
    scaled = [Candidates(one.features / spread, one.errors) for one in chosen]
    rng = np.random.default_rng(seed)
    K = len(spread)
    found: list[tuple[int, Weights]] = []
    for begin in [np.ones(K), *rng.normal(size=(starts - 1, K))]:
        found.append(_descend(scaled, begin / np.abs(begin).max(), rng))
    fewest = min(errors for errors, _ in found)
    best = [weights for errors, weights in found if errors == fewest]
    middle = np.mean([weights / np.linalg.norm(weights) for weights in best], axis=0)
    chosen_weights = middle if count_errors(scaled, middle) <= fewest else best[0]
    return np.asarray(chosen_weights / np.abs(chosen_weights).max() / spread)


def _spread(lists: Sequence[Candidates]) -> Weights:
    """How far each score spreads within a list; 1 where it never differs."""
    variance = np.mean([one.features.var(axis=0) for one in lists], axis=0)
    return np.where(variance > 0, np.sqrt(variance), 1.0)


def _descend(lists: Sequence[Candidates], weights: Weights, rng: np.random.Generator) -> tuple[int, Weights]:
    """Line after line until none is better."""
    errors = count_errors(lists, weights)
    for _ in range(ROUNDS):
        before = errors
        for direction in [*np.eye(len(weights)), *rng.normal(size=(len(weights), len(weights)))]:
            step, there = line_search(lists, weights, direction)
            moved = weights + step * direction
            if there < errors and np.abs(moved).max() > 0:
                errors, weights = there, moved / np.abs(moved).max()
        if errors == before:
            break
    return errors, weights


def line_search(lists: Sequence[Candidates], weights: Weights, direction: Weights) -> tuple[float, int]:
    """Where on ``weights + step * direction`` the fewest errors are made, exactly, and how many: the middle of the widest
    stretch; of one without an end a place beyond its beginning.
    """
    places: list[NDArray[np.float64]] = []
    changes: list[NDArray[np.int64]] = []
    total = 0
    for one in lists:
        order, starts = envelope(one.features @ weights, one.features @ direction)
        errors = one.errors[order]
        total += int(errors[0])
        places.append(starts[1:])
        changes.append(np.diff(errors))
    ends = np.concatenate(places)
    sort = np.argsort(ends, kind="stable")
    ends = ends[sort]
    counts = total + np.concatenate([[0], np.cumsum(np.concatenate(changes)[sort])])
    if not len(ends):
        return 0.0, total
    left = np.concatenate([[ends[0] - 2.0], ends])
    right = np.concatenate([ends, [ends[-1] + 2.0]])
    wide = right > left  # hypotheses of several lists may change places at once
    fewest = int(counts[wide].min())
    widest = int(np.argmax(np.where(wide & (counts == fewest), right - left, -1.0)))
    return float((left[widest] + right[widest]) / 2), fewest


def envelope(heights: NDArray[np.float64], slopes: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of the lines ``height + slope * t`` is the highest, from left to right, and from which ``t`` on.

    The first begins at minus infinity. Of equal lines the first given counts.
    """
    order = np.lexsort((np.arange(len(slopes)), -heights, slopes))
    lines: list[int] = []
    starts: list[float] = []
    for n in order.tolist():
        if lines and slopes[n] == slopes[lines[-1]]:
            continue  # the same slope and no higher
        start = -np.inf
        while lines:
            last = lines[-1]
            start = float((heights[last] - heights[n]) / (slopes[n] - slopes[last]))
            if start > starts[-1]:
                break
            lines.pop()
            starts.pop()
            start = -np.inf
        lines.append(n)
        starts.append(start)
    return np.array(lines, np.int64), np.array(starts, np.float64)


def folds(count: int, parts: int, *, seed: int = 0) -> list[NDArray[np.int64]]:
    """``count`` utterances in ``parts`` of about equal size, drawn by the seed. Raises ConfigError on too few."""
    if not 2 <= parts <= count:
        raise ConfigError(f"folds is {parts}; expected 2 to the number of lists with a reference, {count}")
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(part) for part in np.array_split(order, parts)]
