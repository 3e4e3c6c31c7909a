"""Paths of a lattice: the best one, the n best, how probable each arc is, and what may be cut.

One loop over the arcs in topological order finds the best (or the sum) of all paths to every node, one against it of
all paths from every node: ``O(A)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import numpy as np

from ostinato.errors import ConfigError
from ostinato.lattice.lattice import Lattice, Scores


@dataclass(frozen=True)
class Path:
    """One way through a lattice."""

    arcs: tuple[int, ...]
    score: float
    """The sum of their totals."""
    words: tuple[str, ...]
    """Without the silent ones."""


@dataclass(frozen=True)
class _Link:
    """An arc, and the way to its start."""

    arc: int
    before: _Link | None


def best_to_end(lattice: Lattice) -> Scores:
    """The score of the best path from every node to the last, ``(N,)``."""
    best = [-math.inf] * (lattice.nodes - 1) + [0.0]
    columns = (lattice.starts.tolist(), lattice.ends.tolist(), lattice.totals.tolist())
    for start, end, total in zip(*map(reversed, columns), strict=True):
        score = total + best[end]
        if score > best[start]:
            best[start] = score
    return np.array(best)


def best_from_start(lattice: Lattice) -> Scores:
    """The score of the best path from the first node to every node, ``(N,)``."""
    return _forward(lattice)[0]


def best_path(lattice: Lattice) -> Path:
    """The path with the highest score; of equals, that of the earlier arcs."""
    _, arrivals = _forward(lattice)
    arcs, node = [], lattice.nodes - 1
    while node:
        arcs.append(arrivals[node])
        node = int(lattice.starts[arcs[-1]])
    return _path(lattice, arcs[::-1])


def _forward(lattice: Lattice) -> tuple[Scores, list[int]]:
    """The best score at every node and the arc by which it arrives."""
    best = [0.0] + [-math.inf] * (lattice.nodes - 1)
    arrivals = [-1] * lattice.nodes
    columns = (lattice.starts.tolist(), lattice.ends.tolist(), lattice.totals.tolist())
    for arc, (start, end, total) in enumerate(zip(*columns, strict=True)):
        score = best[start] + total
        if score > best[end]:
            best[end] = score
            arrivals[end] = arc
    return np.array(best), arrivals


def _path(lattice: Lattice, arcs: list[int]) -> Path:
    return Path(tuple(arcs), float(lattice.totals[arcs].sum()) if arcs else 0.0, lattice.text(arcs))


def posteriors(lattice: Lattice, scale: float | None = None) -> Scores:
    """How probable it is that the right path goes by each arc, ``(A,)``; those of all arcs at one time sum to 1.

    A path's probability is ``exp(scale * total)``, normalised. A total counts language model scores ``lm scale`` times,
    which makes it far too sure of itself; so ``scale`` is 1 over that (``Lattice.unit``) unless it is given.
    """
    scale = 1.0 / lattice.unit if scale is None else scale
    if not (scale > 0 and math.isfinite(scale)):
        raise ConfigError(f"the scale of posteriors is {scale}; expected a number above 0")
    starts, ends, totals = lattice.starts.tolist(), lattice.ends.tolist(), (scale * lattice.totals).tolist()
    before = [0.0] + [-math.inf] * (lattice.nodes - 1)
    after = [-math.inf] * (lattice.nodes - 1) + [0.0]
    for start, end, total in zip(starts, ends, totals, strict=True):
        before[end] = _log_add(before[end], before[start] + total)
    for start, end, total in zip(reversed(starts), reversed(ends), reversed(totals), strict=True):
        after[start] = _log_add(after[start], after[end] + total)
    through = np.array(before)[lattice.starts] + totals + np.array(after)[lattice.ends]
    found: Scores = np.exp(np.minimum(through - after[0], 0.0))
    return found


def _log_add(a: float, b: float) -> float:
    """``log(exp(a) + exp(b))``."""
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log1p(math.exp(low - high)) if low > -math.inf else high


def prune(lattice: Lattice, *, beam: float = math.inf, posterior: float = 0.0, scale: float | None = None) -> Lattice:
    """Only the arcs on a path at most ``beam`` worse than the best, with a posterior of at least ``posterior``.

    ``beam`` is in nats of the language model (``Lattice.unit``), ``scale`` that of ``posteriors``. The best path is
    always kept. Raises ConfigError on a beam below 0 and a posterior that is no probability.
    """
    if not beam >= 0 or not 0 <= posterior <= 1:
        raise ConfigError(f"beam is {beam}, posterior {posterior}; expected 0 or more, and 0 to 1")
    before, after = best_from_start(lattice), best_to_end(lattice)
    kept = before[lattice.starts] + lattice.totals + after[lattice.ends] >= after[0] - beam * lattice.unit
    if posterior:
        kept &= posteriors(lattice, scale) >= posterior
    kept[list(best_path(lattice).arcs)] = True
    return lattice.subset(kept)


def n_best(lattice: Lattice, n: int, *, distinct: bool = True) -> list[Path]:
    """The ``n`` best paths, the best first; fewer where there are no more. Exact.

    ``distinct``: no two of them have the same words, silent ones left out; of several such paths it is the best.
    Raises ConfigError on ``n`` below 1.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; expected 1 or more")
    return _distinct(lattice, n) if distinct else _all_paths(lattice, n)


def _all_paths(lattice: Lattice, n: int) -> list[Path]:
    """A*: the best path to the end is known for every node, so only what is part of a result is ever opened."""
    after = best_to_end(lattice).tolist()
    ends, totals, firsts = lattice.ends.tolist(), lattice.totals.tolist(), lattice.firsts.tolist()
    ticks = count()  # of equal scores, the first found
    heap: list[tuple[float, int, int, float, _Link | None]] = [(-after[0], next(ticks), 0, 0.0, None)]
    found: list[Path] = []
    while heap and len(found) < n:
        _, _, node, score, link = heappop(heap)
        if node == lattice.nodes - 1:
            found.append(_path(lattice, _arcs(link)))
            continue
        for arc in range(firsts[node], firsts[node + 1]):
            longer = score + totals[arc]
            heappush(heap, (-(longer + after[ends[arc]]), next(ticks), ends[arc], longer, _Link(arc, link)))
    return found


_Front = dict[int, tuple[float, _Link | None]]
"""The nodes that some words lead to, with the best way to each."""


def _distinct(lattice: Lattice, n: int) -> list[Path]:
    """A* over strings of words. One is a front: all nodes it leads to; its best completion is known exactly.

    That determinises the lattice as far as it is looked at (Mohri and Riley 2002, An efficient algorithm for the
    n-best-strings problem): paths that differ in times alone are never listed.
    """
    after = best_to_end(lattice).tolist()
    last = lattice.nodes - 1
    ticks = count()
    front = _through_silence(lattice, {0: (0.0, None)})
    heap: list[tuple[float, int, _Front | None, _Link | None]] = [(-after[0], next(ticks), front, None)]
    found: list[Path] = []
    while heap and len(found) < n:
        _, _, opened, link = heappop(heap)
        if opened is None:
            found.append(_path(lattice, _arcs(link)))
            continue
        if last in opened:
            score, link = opened[last]
            heappush(heap, (-score, next(ticks), None, link))
        for front in _next_words(lattice, opened).values():
            front = _through_silence(lattice, front)
            best = max(score + after[node] for node, (score, _) in front.items())
            heappush(heap, (-best, next(ticks), front, None))
    return found


def _next_words(lattice: Lattice, front: _Front) -> dict[str, _Front]:
    """Where each word leads to from a front."""
    reached: dict[str, _Front] = {}
    for node, (score, link) in front.items():
        for arc in range(*lattice.firsts[node : node + 2].tolist()):
            if lattice.spoken[arc]:
                _reach(reached.setdefault(lattice.words[arc], {}), lattice, arc, score, link)
    return reached


def _through_silence(lattice: Lattice, front: _Front) -> _Front:
    """The front with what its nodes lead to without a word."""
    waiting = sorted(front)
    while waiting:
        node = heappop(waiting)
        score, link = front[node]
        for arc in range(*lattice.firsts[node : node + 2].tolist()):
            if not lattice.spoken[arc]:
                end = int(lattice.ends[arc])
                if end not in front:
                    heappush(waiting, end)
                _reach(front, lattice, arc, score, link)
    return front


def _reach(front: _Front, lattice: Lattice, arc: int, score: float, link: _Link | None) -> None:
    score += float(lattice.totals[arc])
    end = int(lattice.ends[arc])
    if end not in front or score > front[end][0]:
        front[end] = score, _Link(arc, link)


def _arcs(link: _Link | None) -> list[int]:
    arcs = []
    while link is not None:
        arcs.append(link.arc)
        link = link.before
    return arcs[::-1]
