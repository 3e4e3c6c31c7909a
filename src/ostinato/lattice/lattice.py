"""A lattice is a value: nodes in topological order, arcs with words and named scores.

Axes: ``A`` arcs, ``N`` nodes. All scores are natural logarithms, more is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import LatticeError

Nodes = NDArray[np.int64]
Scores = NDArray[np.float64]

ACOUSTIC, LM, PRONUNCIATION = "acoustic", "lm", "pronunciation"
"""The scores that files know."""
SILENT = frozenset({"", "<s>", "</s>", "!ENTER", "!EXIT", "!SENT_START", "!SENT_END"})
"""What a language model does not read; the empty word is epsilon (``!NULL``, ``<eps>``)."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """The hypotheses of one utterance. Every path from node 0 to node N - 1 is one; there is no other dead end.

    Raises LatticeError, when made, on arrays that do not fit each other, arcs that are not in topological order, nodes
    that are not on a path, and scores that are not finite.
    """

    name: str
    """Of the utterance."""
    starts: Nodes
    """The node that each arc leaves, ``(A,)``, ascending."""
    ends: Nodes
    """The node that it enters, ``(A,)``, each more than its start."""
    words: tuple[str, ...]
    """Of each arc; the empty word is epsilon."""
    scores: Mapping[str, Scores]
    """By name, ``(A,)`` each."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """What each score is multiplied by in a total; 1 where nothing is said."""
    penalty: float = 0.0
    """Added to a total for each word that is not silent."""
    times: Scores | None = None
    """Of the nodes in seconds, ``(N,)``, where they are known."""
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What else a file says of its arcs, kept to be written again; empty where it says nothing."""
    header: Mapping[str, str] = field(default_factory=dict)
    """What else a file says of the lattice."""
    silent: frozenset[str] = SILENT
    """Words that the language model does not read and that are not part of a hypothesis."""

    def __post_init__(self) -> None:
        for name in ("starts", "ends"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.int64))
        object.__setattr__(self, "scores", {name: _frozen(each, np.float64) for name, each in self.scores.items()})
        if self.times is not None:
            object.__setattr__(self, "times", _frozen(self.times, np.float64))
        self._check_sizes()
        self._check_graph()
        for name, values in self.scores.items():
            if not np.isfinite(values).all():
                arc = int(np.flatnonzero(~np.isfinite(values))[0])
                raise LatticeError(f"{self.name}: the {name} score of arc {arc} is {values[arc]}; expected a number")
        for name, value in {**self.scales, "word penalty": self.penalty}.items():
            if not np.isfinite(value):
                raise LatticeError(f"{self.name}: the scale of {name} is {value}; expected a number")
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(np.abs(self.totals).sum()):
                raise LatticeError(f"{self.name}: scores times their scales are too large to be added up")

    def _check_sizes(self) -> None:
        arcs: dict[str, Sized] = {
            "starts": self.starts,
            "ends": self.ends,
            "words": self.words,
            **self.scores,
            **self.notes,
        }
        sizes = {name: len(each) for name, each in arcs.items()}
        if len(set(sizes.values())) != 1:
            raise LatticeError(f"{self.name}: {sizes} entries; expected one of each for every arc")
        if self.times is not None and len(self.times) != self.nodes:
            raise LatticeError(f"{self.name}: {len(self.times):,} times for {self.nodes:,} nodes; expected as many")

    def _check_graph(self) -> None:
        if not len(self.starts):
            return
        if (self.starts >= self.ends).any() or (np.diff(self.starts) < 0).any() or self.starts[0] != 0:
            raise LatticeError(
                f"{self.name}: arcs are not in topological order; expected start < end, starts ascending"
            )
        left, entered = np.unique(self.starts), np.unique(self.ends)
        if len(left) != self.nodes - 1 or len(entered) != self.nodes - 1:
            raise LatticeError(
                f"{self.name}: some of {self.nodes:,} nodes are not on a path from the first to the last"
            )

    @property
    def nodes(self) -> int:
        """``N``."""
        return int(self.ends.max()) + 1 if len(self.ends) else 1

    @property
    def arcs(self) -> int:
        """``A``."""
        return len(self.starts)

    @cached_property
    def spoken(self) -> NDArray[np.bool_]:
        """Whether the word of each arc is not silent, ``(A,)``."""
        return np.array([word not in self.silent for word in self.words], np.bool_)

    @cached_property
    def totals(self) -> Scores:
        """The weighted sum of the scores of each arc and, where it has a word, the penalty: ``(A,)``."""
        total = self.penalty * self.spoken.astype(np.float64)
        for name, values in self.scores.items():
            total += self.scale(name) * values
        return total

    @cached_property
    def firsts(self) -> Nodes:
        """The arcs that leave node ``n`` are those from ``firsts[n]`` to before ``firsts[n + 1]``: ``(N + 1,)``."""
        return np.searchsorted(self.starts, np.arange(self.nodes + 1))

    def scale(self, name: str) -> float:
        """What a score is multiplied by."""
        return self.scales.get(name, 1.0)

    @property
    def unit(self) -> float:
        """How much a nat of the language model counts in a total, in which beams and posteriors are measured.

        So a beam means the same whether a recogniser's scale of 14 is on its language model or one of 1/14 on its
        acoustic scores. 1 where the language model does not count.
        """
        return self.scale(LM) if self.scale(LM) > 0 else 1.0

    def weighted(self, scales: Mapping[str, float], penalty: float | None = None) -> Lattice:
        """The same with other scales (those not named stay) and another word penalty (None: as it was)."""
        return replace(
            self, scales={**self.scales, **scales}, penalty=self.penalty if penalty is None else float(penalty)
        )

    def text(self, arcs: Iterable[int]) -> tuple[str, ...]:
        """The words of some arcs, without the silent ones."""
        return tuple(self.words[arc] for arc in arcs if self.words[arc] not in self.silent)

    def subset(self, kept: NDArray[np.bool_]) -> Lattice:
        """Only the arcs of ``kept (A,)`` that are still on a path from the first node to the last.

        Raises LatticeError when there is no such path.
        """
        picked = np.flatnonzero(kept & _on_a_path(self.starts.tolist(), self.ends.tolist(), kept.tolist(), self.nodes))
        if not len(picked) and self.arcs:
            raise LatticeError(f"{self.name}: no path from the first node to the last is left")
        used = np.unique(np.concatenate([[0, self.nodes - 1], self.starts[picked], self.ends[picked]]))
        return replace(
            self,
            starts=np.searchsorted(used, self.starts[picked]),
            ends=np.searchsorted(used, self.ends[picked]),
            words=tuple(self.words[arc] for arc in picked),
            scores={name: each[picked] for name, each in self.scores.items()},
            times=None if self.times is None else self.times[used],
            notes={name: tuple(each[arc] for arc in picked) for name, each in self.notes.items()},
        )


def _frozen(array: NDArray[np.generic], kind: type[np.generic]) -> NDArray[np.generic]:
    copy = np.array(array, dtype=kind, order="C")
    copy.setflags(write=False)
    return copy


def _on_a_path(starts: list[int], ends: list[int], kept: list[bool], nodes: int) -> NDArray[np.bool_]:
    """Of arcs in topological order, whether each can be reached from the first node and reaches the last."""
    reached, leads = [False] * nodes, [False] * nodes
    reached[0] = leads[-1] = True
    for start, end, keep in zip(starts, ends, kept, strict=True):
        reached[end] |= keep and reached[start]
    for start, end, keep in zip(reversed(starts), reversed(ends), reversed(kept), strict=True):
        leads[start] |= keep and leads[end]
    return np.array([reached[start] and leads[end] for start, end in zip(starts, ends, strict=True)], np.bool_)
