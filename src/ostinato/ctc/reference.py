"""Prefix beam search, as it is defined; ``kernels/native/ctc.py`` has the fast version of the same name and methods.

A prefix is what the labels of the frames so far come to: repeats made one, then blanks left out. Many alignments come
to the same prefix. Of each prefix in the beam the search keeps the probability of all its alignments, apart by whether
they end in a blank (b) or in its last label (n), because only after a blank can that label come again (Graves 2012,
section 7.5; Hannun et al. 2014). For the next frame y, of the prefix l and each label v:

    b'(l)   = (b + n)(l) y_blank
    n'(l)   = n(l) y_last                       the same sound goes on
    n'(l v) = b(l) y_v  if v is the last of l,  else (b + n)(l) y_v
    n'(l) also takes what comes from the prefix one shorter, where that is in the beam

and keeps the best by ``log(b + n)`` plus what the fusion of language models adds to the prefix. Beside the sums it
keeps the likeliest single alignment, by the same steps with a maximum in place of each sum: when the labels were said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats64 = NDArray[np.float64]
Ints = NDArray[np.int32]
NEVER = -np.inf

Spans = tuple["Spans", int, int] | None
"""Frames of the labels of a prefix, the last one first: those before it, its own first, and that after its last."""


@dataclass
class _Prefix:
    """One prefix and its four logarithms: of all alignments, and of the likeliest one, by what they end in."""

    labels: tuple[int, ...] = ()
    blank: float = 0.0
    label: float = NEVER
    best_blank: float = 0.0
    best_label: float = NEVER
    spans_blank: Spans = None
    spans_label: Spans = None
    extra: float = 0.0
    gains: Floats64 | None = None

    @property
    def last(self) -> int:
        return self.labels[-1] if self.labels else -1

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.label))

    def best(self, again: int) -> tuple[float, Spans]:
        """The likeliest alignment that the label ``again`` can follow."""
        if again == self.last or self.best_blank >= self.best_label:
            return self.best_blank, self.spans_blank
        return self.best_label, self.spans_label


@dataclass
class PrefixBeam:
    """The beam after some frames; it starts with the empty prefix. Sizes and numbers were checked by the caller."""

    V: int
    blank: int
    width: int
    margin: float
    """Prefixes whose score is so far below the best are dropped; infinite for never."""
    frames: int = 0
    _beam: list[_Prefix] = field(default_factory=lambda: [_Prefix()])
    _origins: Ints = field(default_factory=lambda: np.zeros(1, np.int32))
    _labels: Ints = field(default_factory=lambda: np.full(1, -1, np.int32))

    def advance(self, frames: Floats64) -> None:
        """Go over ``frames (T, V)``, log-probabilities."""
        for y in frames:
            self._advance(y)
            self.frames += 1

    def _advance(self, y: Floats64) -> None:
        reach = self._reach(y)
        stays = [self._stay(prefix, y) for prefix in self._beam]
        places = {prefix.labels: k for k, prefix in enumerate(self._beam)}
        for prefix in stays:
            shorter = places.get(prefix.labels[:-1]) if prefix.labels else None
            if shorter is not None:
                self._merge(prefix, shorter, reach, y)
        fused = reach.copy()
        for k, prefix in enumerate(self._beam):
            fused[k] += prefix.extra if prefix.gains is None else prefix.extra + prefix.gains
        scores = np.concatenate([[prefix.total + prefix.extra for prefix in stays], fused.ravel()])
        order = np.argsort(-scores, kind="stable")[: self.width]
        kept = order[(scores[order] > NEVER) & (scores[order] >= scores[order[0]] - self.margin)]
        beam, origins, labels = [], [], []
        for candidate in kept.tolist():
            k, v = divmod(candidate - len(stays), self.V) if candidate >= len(stays) else (candidate, -1)
            beam.append(stays[k] if v < 0 else self._extend(self._beam[k], v, float(reach[k, v]), y))
            origins.append(k)
            labels.append(v)
        self._beam, self._origins, self._labels = beam, np.array(origins, np.int32), np.array(labels, np.int32)

    def _reach(self, y: Floats64) -> Floats64:
        """Of each prefix followed by each label ``(K, V)``: the probability that comes from the prefix."""
        reach = np.array([[prefix.total] for prefix in self._beam]) + y
        for k, prefix in enumerate(self._beam):
            if prefix.labels:
                reach[k, prefix.last] = prefix.blank + y[prefix.last]
        reach[:, self.blank] = NEVER
        return reach

    def _stay(self, prefix: _Prefix, y: Floats64) -> _Prefix:
        """The prefix after a frame that adds no label to it."""
        best, spans = prefix.best(-2)
        again = y[prefix.last] if prefix.labels else NEVER
        going_on = prefix.spans_label and (*prefix.spans_label[:2], self.frames + 1)
        return _Prefix(
            prefix.labels,
            prefix.total + y[self.blank],
            prefix.label + again,
            best + y[self.blank],
            prefix.best_label + again,
            spans,
            going_on,
            prefix.extra,
            prefix.gains,
        )

    def _merge(self, prefix: _Prefix, shorter: int, reach: Floats64, y: Floats64) -> None:
        """Add to a prefix of the beam what comes from the one that is a label shorter."""
        prefix.label = float(np.logaddexp(prefix.label, reach[shorter, prefix.last]))
        reach[shorter, prefix.last] = NEVER
        best, spans = self._beam[shorter].best(prefix.last)
        if best + y[prefix.last] > prefix.best_label:
            prefix.best_label = best + y[prefix.last]
            prefix.spans_label = (spans, self.frames, self.frames + 1)

    def _extend(self, prefix: _Prefix, v: int, logprob: float, y: Floats64) -> _Prefix:
        """A new prefix. What it adds to the score is not known until it is fused."""
        best, spans = prefix.best(v)
        return _Prefix(
            (*prefix.labels, v),
            NEVER,
            logprob,
            NEVER,
            best + y[v],
            None,
            (spans, self.frames, self.frames + 1),
            prefix.extra + (0.0 if prefix.gains is None else float(prefix.gains[v])),
        )

    def came(self) -> tuple[Ints, Ints]:
        """Of each prefix ``(K,)``: the place, a frame ago, of the one it comes from, and the label it added or -1."""
        return self._origins, self._labels

    def fuse(self, places: Sequence[int], extras: Floats64, gains: Floats64) -> None:
        """Of the prefixes at ``places``: what language models add to the score, ``(N,)``, and for each label that may
        follow how much more, as far as is known before, ``(N, V)``."""
        for n, place in enumerate(places):
            self._beam[place].extra, self._beam[place].gains = float(extras[n]), gains[n]

    def totals(self) -> Floats64:
        """Of each prefix ``(K,)``: nats of all its alignments."""
        return np.array([prefix.total for prefix in self._beam])

    def read(self, place: int) -> list[tuple[int, int, int]]:
        """The labels of the prefix at ``place``, each with its first frame and that after its last."""
        prefix = self._beam[place]
        spans = prefix.best(-2)[1]
        found = []
        for label in reversed(prefix.labels):
            assert spans is not None
            before, start, end = spans
            found.append((label, start, end))
            spans = before
        return found[::-1]
