"""Give a lattice the scores of another language model (after Liu et al. 2016, Two efficient lattice rescoring methods).

A node of the result is a node of the lattice together with a history. Nodes are expanded in levels: those as many
arcs from the start, at the most, as each other; so their hypotheses are all known, and the model reads many words at
once. What is read twice, the same word after the same history, is read once, however many times and nodes there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from ostinato.errors import ConfigError, LatticeError
from ostinato.lattice.lattice import LM, Lattice
from ostinato.lattice.merging import Merge, MergeEqual
from ostinato.lattice.paths import Path, best_path, best_to_end
from ostinato.score.scorer import Scorer

S = TypeVar("S")
BATCH = 256
"""Words that the model reads in one call: enough to be quick, and bounded memory for its output layer."""


@dataclass(frozen=True)
class Rescored:
    """What became of a lattice."""

    lattice: Lattice
    best: Path
    hypotheses: int
    """Histories that were expanded, over all nodes."""
    read: int
    """Words that the model read."""


@dataclass(frozen=True)
class _Arrival:
    """A way to a node: an arc of the lattice after a hypothesis at its start."""

    score: float
    state: int
    """The number of the model's state."""
    history: tuple[str, ...]
    source: int
    """The new node it comes from."""
    arc: int
    lm: float
    """What the model said of it."""


@dataclass(frozen=True)
class _Hypothesis:
    """A new node: the best of the arrivals that were merged."""

    node: int
    score: float
    state: int
    history: tuple[str, ...]


class _Reader(Generic[S]):
    """A model that reads nothing twice. States are numbered; equal ones have one number."""

    def __init__(self, scorer: Scorer[S], name: str) -> None:
        """``name`` of the utterance, for messages."""
        self._scorer, self._name = scorer, name
        first = scorer.begin()
        self.states: list[S] = [first]
        self._numbers: dict[S, int] = {first: 0}
        self._known: dict[tuple[int, str], tuple[float, int]] = {}
        self._ends: dict[int, float] = {}

    @property
    def read(self) -> int:
        """Words read so far."""
        return len(self._known)

    def extend(self, wanted: Sequence[tuple[int, str]]) -> list[tuple[float, int]]:
        """``log p`` of each word after a state, and the number of the state after it."""
        new = sorted(dict.fromkeys(pair for pair in wanted if pair not in self._known))  # equal states side by side
        for first in range(0, len(new), BATCH):
            pairs = new[first : first + BATCH]
            states = [self.states[number] for number, _ in pairs]
            try:
                logprobs, states = self._scorer.extend(states, [word for _, word in pairs])
            except ConfigError as error:  # of a word that the model cannot read
                raise LatticeError(f"{self._name}: {error}") from None
            for pair, logprob, state in zip(pairs, logprobs.tolist(), states, strict=True):
                self._known[pair] = self._checked(logprob, pair[1]), self._number(state)
        return [self._known[pair] for pair in wanted]

    def ends(self, wanted: Sequence[int]) -> list[float]:
        """``log p`` of the end of the sentence after each state."""
        new = sorted({number for number in wanted if number not in self._ends})
        for first in range(0, len(new), BATCH):
            numbers = new[first : first + BATCH]
            logprobs = self._scorer.end([self.states[number] for number in numbers]).tolist()
            self._ends.update((n, self._checked(p, "the end")) for n, p in zip(numbers, logprobs, strict=True))
        return [self._ends[number] for number in wanted]

    def _number(self, state: S) -> int:
        number = self._numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
        return number

    def _checked(self, logprob: float, of: str) -> float:
        if math.isnan(logprob) or logprob == math.inf:
            raise LatticeError(f"{self._name}: the model's log-probability of {of!r} is {logprob}; expected a number")
        return logprob


def rescore(
    lattice: Lattice,
    scorer: Scorer[Any],
    *,
    merge: Merge | None = None,
    beam: float = math.inf,
    limit: int | None = None,
    new: float = 1.0,
    old: float = 0.0,
    spell: Callable[[str], str] = str,
) -> Rescored:
    """The lattice with the language model score ``new * log p + old * what it had``; all other scores are kept.

    ``old`` 0 takes the old score out. The end of the sentence is scored on the arcs to the last node; silent words are
    not read. ``spell`` turns a word into what the model reads (``str.lower``). ``merge`` says which histories are
    merged, by default only equal ones. A hypothesis is dropped when its score, together with the best way to the end by
    the old scores, is more than ``beam`` below the best of those not finished, in nats of the language model
    (``Lattice.unit``); ``limit`` is the most histories that a node keeps. Without a beam and a limit, and with equal
    histories merged alone, the result is exact: every path has the score that it would have by itself; but a recurrent
    model then reads every history there is.

    Raises ConfigError on a setting out of range, LatticeError when the model holds every path impossible.
    """
    if not beam >= 0 or (limit is not None and limit < 1) or not (math.isfinite(new) and math.isfinite(old)):
        raise ConfigError(
            f"beam is {beam}, limit {limit}, weights {new} and {old}; expected 0 or more, 1 or more, and numbers"
        )
    words = [spell(word) for word in lattice.words]
    reader = _Reader(scorer, lattice.name)
    search = _Search(lattice, words, reader, merge or MergeEqual(), beam * lattice.unit, limit, new, old)
    for level in _levels(lattice):
        search.expand(level)
    result = search.result()
    return Rescored(result, best_path(result), search.made, reader.read)


def _levels(lattice: Lattice) -> Iterator[list[int]]:
    """The nodes by the number of arcs on the longest way from the start."""
    depth = [0] * lattice.nodes
    for start, end in zip(lattice.starts.tolist(), lattice.ends.tolist(), strict=True):
        depth[end] = max(depth[end], depth[start] + 1)
    levels: list[list[int]] = [[] for _ in range(depth[-1] + 1)]
    for node, level in enumerate(depth):
        levels[level].append(node)
    return iter(levels)


class _Search:
    """The arrivals at nodes that are not expanded yet, and the arcs of the new lattice so far."""

    def __init__(
        self,
        lattice: Lattice,
        words: Sequence[str],
        reader: _Reader[Any],
        merge: Merge,
        beam: float,
        limit: int | None,
        new: float,
        old: float,
    ) -> None:
        self.lattice, self.reader, self.merge, self.beam, self.limit = lattice, reader, merge, beam, limit
        self._words = words
        self.made = 0
        before = lattice.scores.get(LM, np.zeros(lattice.arcs))
        scale = lattice.scale(LM)
        self._new, self._old = new, old
        self._kept = (lattice.totals - scale * before + scale * old * before).tolist()  # all but the new score
        self._weight = scale * new
        self._after = best_to_end(lattice).tolist()
        self._firsts, self._ends = lattice.firsts.tolist(), lattice.ends.tolist()
        self._spoken = lattice.spoken.tolist()
        self._arrivals: dict[int, list[_Arrival]] = {0: [_Arrival(0.0, 0, (), -1, -1, 0.0)]}
        self._highest = {0: 0.0}
        """The best score among the arrivals at each of those nodes."""
        self._arcs: list[tuple[int, int, int, float]] = []
        """New start, new end, old arc, and what the model said."""
        self._nodes: list[int] = []
        """The old node of each new one."""

    def expand(self, level: Sequence[int]) -> None:
        """Merge and prune what has arrived at the nodes of a level, and follow the arcs that leave them."""
        # Estimates are of whole paths, so those that wait at nodes further on are compared, too. The best one of all is
        # never dropped: something always arrives at the end.
        best = max((score + self._after[node] for node, score in self._highest.items()), default=-math.inf)
        asked: list[tuple[_Hypothesis, int]] = []
        for node in level:
            self._highest.pop(node, None)
            near = [one for one in self._arrivals.pop(node, ()) if one.score + self._after[node] >= best - self.beam]
            for hypothesis in self._merge(node, sorted(near, key=lambda one: -one.score)):
                asked += [(hypothesis, arc) for arc in range(self._firsts[node], self._firsts[node + 1])]
        self._follow(asked)

    def _merge(self, node: int, arrivals: list[_Arrival]) -> list[_Hypothesis]:
        """New nodes of an old one, the best first, with the arcs that lead to them."""
        if node == self.lattice.nodes - 1:
            groups = [0] * len(arrivals)  # nothing is read after it
        else:
            states = [self.reader.states[one.state] for one in arrivals]
            groups = self.merge.groups(states, [one.history for one in arrivals])
        made: dict[int, _Hypothesis] = {}
        for one, leader in zip(arrivals, groups, strict=True):
            if leader not in made:
                if self.limit is not None and len(made) == self.limit:
                    continue
                made[leader] = _Hypothesis(len(self._nodes), one.score, one.state, one.history)
                self._nodes.append(node)
            if one.arc >= 0:
                self._arcs.append((one.source, made[leader].node, one.arc, one.lm))
        self.made += len(made)
        return list(made.values())

    def _follow(self, asked: Sequence[tuple[_Hypothesis, int]]) -> None:
        """Let the model read the words of arcs after hypotheses, and note where they arrive."""
        words = self._words
        known = iter(self.reader.extend([(one.state, words[arc]) for one, arc in asked if self._spoken[arc]]))
        steps = [next(known) if self._spoken[arc] else (0.0, one.state) for one, arc in asked]
        last = self.lattice.nodes - 1
        closing = iter(
            self.reader.ends(
                [state for (_, arc), (lm, state) in zip(asked, steps, strict=True)
                 if self._ends[arc] == last and lm > -math.inf]
            )
        )  # fmt: skip
        for (one, arc), (lm, state) in zip(asked, steps, strict=True):
            end = self._ends[arc]
            if lm > -math.inf and end == last:
                lm += next(closing)
            if lm == -math.inf:
                continue  # the model holds it impossible
            history = one.history
            if self._spoken[arc] and self.merge.words:
                history = (*history, words[arc])[-self.merge.words :]
            score = one.score + self._kept[arc] + self._weight * lm
            self._highest[end] = max(score, self._highest.get(end, -math.inf))
            self._arrivals.setdefault(end, []).append(_Arrival(score, state, history, one.node, arc, lm))

    def result(self) -> Lattice:
        """The new lattice. Raises LatticeError when no path reaches the last node."""
        lattice = self.lattice
        if not self._nodes or self._nodes[-1] != lattice.nodes - 1:
            raise LatticeError(f"{lattice.name}: the model holds every path impossible; a model with <unk> would not")
        if not lattice.arcs:
            return lattice
        starts, ends, old, lm = (np.array(column) for column in zip(*sorted(self._arcs), strict=True))
        leading = _leading(starts, ends, len(self._nodes))
        picked = np.flatnonzero(leading)
        used = np.unique(np.concatenate([[0], ends[picked]]))
        old = old[picked]
        before = lattice.scores.get(LM, np.zeros(lattice.arcs))[old]
        return replace(
            lattice,
            starts=np.searchsorted(used, starts[picked]),
            ends=np.searchsorted(used, ends[picked]),
            words=tuple(lattice.words[arc] for arc in old),
            scores={
                **{name: values[old] for name, values in lattice.scores.items()},
                LM: self._new * lm[picked] + self._old * before,
            },
            times=None if lattice.times is None else lattice.times[np.array(self._nodes)[used]],
            notes={name: tuple(values[arc] for arc in old) for name, values in lattice.notes.items()},
        )


def _leading(starts: np.ndarray[Any, Any], ends: np.ndarray[Any, Any], nodes: int) -> list[bool]:
    """Whether each arc leads to the last node; what the beam cut off does not."""
    leads = [False] * (nodes - 1) + [True]
    for start, end in zip(reversed(starts.tolist()), reversed(ends.tolist()), strict=True):
        leads[start] |= leads[end]
    return [leads[end] for end in ends.tolist()]
