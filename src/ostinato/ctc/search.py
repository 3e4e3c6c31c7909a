"""Prefix beam search over the output of a recogniser, whole or in chunks, with language models and hot words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ostinato.config import check_range
from ostinato.ctc import reference
from ostinato.ctc.fusion import Context, Fusion, check_kind
from ostinato.ctc.hypothesis import Hypothesis, hypothesis
from ostinato.ctc.labels import Labels, LogProbs, log_probs
from ostinato.ctc.reference import Ints
from ostinato.errors import ConfigError
from ostinato.kernels import native

WIDEST = 1 << 14


class Beam(Protocol):
    """``reference.PrefixBeam``, or the core's."""

    def advance(self, frames: LogProbs) -> None:
        """Go over ``frames (T, V)``."""
        ...

    def came(self) -> tuple[Ints, Ints]:
        """Where the prefixes come from."""
        ...

    def fuse(self, places: Sequence[int], extras: LogProbs, gains: LogProbs) -> None:
        """What language models add."""
        ...

    def totals(self) -> LogProbs:
        """How probable the prefixes are."""
        ...

    def read(self, place: int) -> list[tuple[int, int, int]]:
        """The labels of one, and their frames."""
        ...


class Stream:
    """A search that gets its frames in chunks of any size; what it finds does not depend on where they were cut.

    Memory is that of the beam and of the labels found so far.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        width: int = 100,
        fusions: Sequence[Fusion] = (),
        cutoff: float = np.inf,
        margin: float = np.inf,
    ) -> None:
        """``width`` prefixes are kept after each frame. Both other limits make a search faster, and are off:

        labels less probable than a frame's best by more than ``cutoff`` nats are not tried in it, and prefixes whose
        score is worse than the best one's by more than ``margin`` are dropped. Raises ConfigError when one of them is
        out of range.
        """
        if not isinstance(fusions, Sequence):
            raise ConfigError(f"fusions is of type {type(fusions).__name__}; expected a list of them")
        for fusion in fusions:
            check_kind("a fusion", fusion, "follow", "a LabelModel, a WordModel, HotWords or one with their methods")
        check_range("width", width, 1, WIDEST)
        check_range("cutoff", cutoff, 0.0, np.inf)
        check_range("margin", margin, 0.0, np.inf)
        self.labels, self.fusions, self._cutoff = labels, tuple(fusions), cutoff
        beam = native.PrefixBeam if native.available() else reference.PrefixBeam
        self._beam: Beam = beam(len(labels.names), labels.blank, width, margin)
        # Of each prefix of the beam, of each fusion.
        self._contexts: list[list[Context]] = []
        if self.fusions:
            self._contexts = [[fusion.start() for fusion in self.fusions]]
            self._fuse([0])

    def push(self, frames: Any) -> None:
        """Go over ``frames (T, V)``: log-probabilities, or scores before the softmax.

        Raises ConfigError as ``log_probs`` does; then nothing has changed.
        """
        scores = log_probs(frames, self.labels)
        if self._cutoff < np.inf:
            scores[scores < scores.max(axis=1, keepdims=True, initial=-np.inf) - self._cutoff] = -np.inf
        if not self.fusions:
            self._beam.advance(scores)
            return
        for t in range(len(scores)):
            self._beam.advance(scores[t : t + 1])
            self._follow()

    def _follow(self) -> None:
        """Ask the fusions what they make of the prefixes that are new in the beam."""
        origins, added = (each.tolist() for each in self._beam.came())
        before = self._contexts
        self._contexts = [before[origin] for origin in origins]
        new = [place for place, label in enumerate(added) if label >= 0]
        if new:
            labels = [added[place] for place in new]
            found = [
                fusion.follow([self._contexts[place][n] for place in new], labels)
                for n, fusion in enumerate(self.fusions)
            ]
            for place, contexts in zip(new, zip(*found, strict=True), strict=True):
                self._contexts[place] = list(contexts)
            self._fuse(new)

    def _fuse(self, places: list[int]) -> None:
        extras = [sum(each.extra for each in self._contexts[place]) for place in places]
        gains = np.array([[each.gains for each in self._contexts[place]] for place in places]).sum(axis=1)
        if not ((np.array(extras) < np.inf).all() and (gains < np.inf).all()):
            raise ConfigError("a fusion added NaN or infinity to a score; expected numbers, or -inf")
        self._beam.fuse(places, np.array(extras, np.float64), gains)

    def hypotheses(self, n_best: int = 1, *, ended: bool = False) -> list[Hypothesis]:
        """The best texts so far, at most ``n_best``, the best first; the search can go on after it.

        With ``ended`` nothing more is said: language models count the last word and the end of the sentence. Of label
        sequences with one text only the best is given.
        """
        check_range("n_best", n_best, 1, WIDEST)
        acoustics = self._beam.totals().tolist()
        contexts = self._contexts or [[] for _ in acoustics]
        if ended and self.fusions:
            columns = [fusion.finish([each[n] for each in self._contexts]) for n, fusion in enumerate(self.fusions)]
            contexts = [list(each) for each in zip(*columns, strict=True)]
        extras = [sum(each.extra for each in of) for of in contexts]
        scores = [acoustic + extra for acoustic, extra in zip(acoustics, extras, strict=True)]
        best: dict[str, Hypothesis] = {}
        for k in sorted(range(len(scores)), key=lambda k: -scores[k]):
            language = sum(each.language for each in contexts[k])
            spans = self._beam.read(k)
            one = hypothesis(self.labels, spans, acoustic=acoustics[k], extra=extras[k], language=language)
            best.setdefault(one.text, one)
            if len(best) == n_best:
                break
        return list(best.values())


def decode(
    frames: Any,
    labels: Labels,
    *,
    width: int = 100,
    n_best: int = 1,
    fusions: Sequence[Fusion] = (),
    cutoff: float = np.inf,
    margin: float = np.inf,
) -> list[Hypothesis]:
    """The best texts of ``frames (T, V)``, at most ``n_best``, the best first: ``Stream`` on all of them at once."""
    stream = Stream(labels, width=width, fusions=fusions, cutoff=cutoff, margin=margin)
    stream.push(frames)
    return stream.hypotheses(n_best, ended=True)
