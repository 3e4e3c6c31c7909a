"""A lattice while it is read: arcs in any order between nodes of any number, each with the line it stands on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, NoReturn

import numpy as np

from ostinato.errors import LatticeError
from ostinato.lattice.lattice import Lattice


@dataclass(frozen=True)
class Block:
    """The lines of one lattice in a file."""

    file: str
    name: str
    """Of the utterance; of the file, where that does not say."""
    lines: Sequence[tuple[int, str]]
    """Each with its number in the file, from 1."""

    def fail(self, line: int, problem: str) -> NoReturn:
        """Raise a LatticeError that says where."""
        raise LatticeError(f"{self.file}, line {line}: {problem}")

    def integer(self, line: int, text: str, what: str) -> int:
        """A number of a node or a label. Raises LatticeError when it is none."""
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            self.fail(line, f"{what} is {text!r}; expected a whole number")
        return int(text)

    def number(self, line: int, text: str, what: str) -> float:
        """A score, a time, a scale. Raises LatticeError on NaN, infinity and what is no number."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.fail(line, f"{what} is {text!r}; expected a finite number")
        return value


@dataclass(frozen=True)
class Arc:
    """One arc as a file has it."""

    line: int
    start: int
    end: int
    word: str
    scores: Mapping[str, float]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Final:
    """A state that a path may end in, and what that costs."""

    line: int
    node: int
    scores: Mapping[str, float]
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """Whether ending there changes nothing."""
        return not any(self.scores.values()) and not any(self.notes.values())


def with_one_end(block: Block, arcs: list[Arc], finals: Sequence[Final]) -> tuple[list[Arc], int]:
    """The same paths with one last node: epsilon arcs lead from several ends, or from one that costs, to a new one.

    Raises LatticeError when a state is final twice.
    """
    seen: set[int] = set()
    for final in finals:
        if final.node in seen:
            block.fail(final.line, f"state {final.node} is final a second time")
        seen.add(final.node)
    if len(finals) == 1 and finals[0].free and finals[0].node not in {arc.start for arc in arcs}:
        return arcs, finals[0].node
    last = 1 + max([*seen, *(arc.start for arc in arcs), *(arc.end for arc in arcs)])
    return [*arcs, *(Arc(final.line, final.node, last, "", final.scores, final.notes) for final in finals)], last


def build(
    block: Block, arcs: Sequence[Arc], first: int, last: int, times: Mapping[int, float] | None = None, **rest: Any
) -> Lattice:
    """The lattice of some arcs; ``rest`` are further fields of it.

    Raises LatticeError, with file and line, where arcs form a cycle, or a node cannot be reached from ``first`` or does
    not lead to ``last``.
    """
    order = _topological(block, arcs, first, last)
    place = {node: number for number, node in enumerate(order)}
    arcs = sorted(arcs, key=lambda arc: place[arc.start])
    scores = list(dict.fromkeys(name for arc in arcs for name in arc.scores))
    notes = list(dict.fromkeys(name for arc in arcs for name in arc.notes))
    return Lattice(
        name=block.name,
        starts=np.array([place[arc.start] for arc in arcs], np.int64),
        ends=np.array([place[arc.end] for arc in arcs], np.int64),
        words=tuple(arc.word for arc in arcs),
        scores={name: np.array([arc.scores.get(name, 0.0) for arc in arcs]) for name in scores},
        times=None if times is None else np.array([times[node] for node in order]),
        notes={name: tuple(arc.notes.get(name, "") for arc in arcs) for name in notes},
        **rest,
    )


def _topological(block: Block, arcs: Sequence[Arc], first: int, last: int) -> list[int]:
    """All nodes, each after those that lead to it; where either may come first, the smaller number does."""
    leaving, entering = defaultdict(list), defaultdict(list)
    for arc in arcs:
        leaving[arc.start].append(arc)
        entering[arc.end].append(arc)
    lines = {node: arc.line for arc in reversed(arcs) for node in (arc.start, arc.end)}
    for seen, problem in (
        (_closure(first, leaving, lambda arc: arc.end), f"cannot be reached from the start, node {first}"),
        (_closure(last, entering, lambda arc: arc.start), f"does not lead to the end, node {last}"),
    ):
        if lost := lines.keys() - seen:
            node = min(lost, key=lambda node: (lines[node], node))
            more = f" ({len(lost):,} such nodes)" if len(lost) > 1 else ""
            block.fail(lines[node], f"node {node} {problem}{more}; expected every node to be on a path")
    waiting = {node: len(entering[node]) for node in lines}
    ready = [node for node in lines if not waiting[node]] or ([] if lines else [first])
    heapify(ready)
    order: list[int] = []
    while ready:
        order.append(heappop(ready))
        for arc in leaving[order[-1]]:
            waiting[arc.end] -= 1
            if not waiting[arc.end]:
                heappush(ready, arc.end)
    if len(order) < len(lines):
        _fail_on_cycle(block, entering, lines.keys() - set(order))
    return order


def _closure(node: int, arcs: Mapping[int, Sequence[Arc]], far: Any) -> set[int]:
    seen, stack = {node}, [node]
    while stack:
        for arc in arcs.get(stack.pop(), ()):
            if far(arc) not in seen:
                seen.add(far(arc))
                stack.append(far(arc))
    return seen


def _fail_on_cycle(block: Block, entering: Mapping[int, Sequence[Arc]], stuck: set[int]) -> NoReturn:
    """Every stuck node has a stuck one before it: going back from any of them, one comes twice."""
    node, seen = min(stuck), set()
    while node not in seen:
        seen.add(node)
        arc = next(arc for arc in entering[node] if arc.start in stuck)
        node = arc.start
    block.fail(arc.line, f"the arc from node {arc.start} to {arc.end} is part of a cycle; expected a lattice without")
