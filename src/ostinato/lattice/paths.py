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
    with np.errstate(over="ignore"):
        scaled = scale * lattice.totals
        if not (scale > 0 and np.isfinite(np.abs(scaled).sum())):
            raise ConfigError(f"the scale of posteriors is {scale}; expected a number above 0 that no sum exceeds")
    starts, ends, totals = lattice.starts.tolist(), lattice.ends.tolist(), scaled.tolist()
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


def _losses(lattice: Lattice) -> Scores:
    """How much each arc loses against the best way from its start, ``(A,)``.

    A path is worse than the best one by the sum of its losses. On best ways they are 0 to the bit, so equal paths are
    not told apart by how their sums were rounded.
    """
    after = best_to_end(lattice)
    losses: Scores = after[lattice.starts] - (lattice.totals + after[lattice.ends])
    return losses


def _all_paths(lattice: Lattice, n: int) -> list[Path]:
    """A* over paths: what is lost so far is all that is lost on the way on that is best."""
    ends, losses, firsts = lattice.ends.tolist(), _losses(lattice).tolist(), lattice.firsts.tolist()
    ticks = count(step=-1)  # of equals the newest goes on: else all of them would go on side by side
    heap: list[tuple[float, int, int, _Link | None]] = [(0.0, next(ticks), 0, None)]
    found: list[Path] = []
    while heap and len(found) < n:
        lost, _, node, link = heappop(heap)
        if node == lattice.nodes - 1:
            found.append(_path(lattice, _arcs(link)))
            continue
        for arc in reversed(range(firsts[node], firsts[node + 1])):
            heappush(heap, (lost + losses[arc], next(ticks), ends[arc], _Link(arc, link)))
    return found


_Front = dict[int, tuple[float, _Link | None]]
"""The nodes that some words lead to: what is lost on the best way to each, and that way."""


def _distinct(lattice: Lattice, n: int) -> list[Path]:
    """A* over strings of words. One is a front: all nodes it leads to; its best completion is known exactly.

    That determinises the lattice as far as it is looked at (Mohri and Riley 2002, An efficient algorithm for the
    n-best-strings problem): paths that differ in times alone are never listed.
    """
    losses, last = _losses(lattice), lattice.nodes - 1
    ticks = count(step=-1)  # as in _all_paths
    front = _through_silence(lattice, losses, {0: (0.0, None)})
    heap: list[tuple[float, int, _Front | None, _Link | None]] = [(0.0, next(ticks), front, None)]
    found: list[Path] = []
    while heap and len(found) < n:
        _, _, opened, link = heappop(heap)
        if opened is None:
            found.append(_path(lattice, _arcs(link)))
            continue
        for front in reversed(_next_words(lattice, losses, opened).values()):
            front = _through_silence(lattice, losses, front)
            heappush(heap, (min(lost for lost, _ in front.values()), next(ticks), front, None))
        if last in opened:
            lost, link = opened[last]
            heappush(heap, (lost, next(ticks), None, link))
    return found


def _next_words(lattice: Lattice, losses: Scores, front: _Front) -> dict[str, _Front]:
    """Where each word leads to from a front."""
    reached: dict[str, _Front] = {}
    for node, (lost, link) in front.items():
        for arc in range(*lattice.firsts[node : node + 2].tolist()):
            if lattice.spoken[arc]:
                _reach(reached.setdefault(lattice.words[arc], {}), lattice, arc, lost + float(losses[arc]), link)
    return reached


def _through_silence(lattice: Lattice, losses: Scores, front: _Front) -> _Front:
    """The front with what its nodes lead to without a word."""
    waiting = sorted(front)
    while waiting:
        node = heappop(waiting)
        lost, link = front[node]
        for arc in range(*lattice.firsts[node : node + 2].tolist()):
            if not lattice.spoken[arc]:
                end = int(lattice.ends[arc])
                if end not in front:
                    heappush(waiting, end)
                _reach(front, lattice, arc, lost + float(losses[arc]), link)
    return front


def _reach(front: _Front, lattice: Lattice, arc: int, lost: float, link: _Link | None) -> None:
    end = int(lattice.ends[arc])
    if end not in front or lost < front[end][0]:
        front[end] = lost, _Link(arc, link)


def _arcs(link: _Link | None) -> list[int]:
    arcs = []
    while link is not None:
        arcs.append(link.arc)
        link = link.before
    return arcs[::-1]
