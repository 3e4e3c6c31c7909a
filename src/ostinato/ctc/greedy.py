"""The likeliest label of each frame: no beam, no language model, next to no time (Graves et al. 2006, "best path")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ostinato.ctc.hypothesis import Hypothesis, hypothesis
from ostinato.ctc.labels import Labels, LogProbs, log_probs


@dataclass(frozen=True)
class Spelled:
    """A label that was found."""

    column: int
    start: int
    """The frame in which it begins."""
    ended: int
    """The frame after the last one of the label found before it."""


class GreedyPath:
    """The likeliest label of each frame, those in a row taken as one, then blanks left out.

    It goes on from chunk to chunk: the same labels come out however the frames are cut.
    """

    def __init__(self, blank: int) -> None:
        self._blank, self._label, self._ended = blank, blank, 0
        self.frames = 0
        """That have been read."""
        self.logprob = 0.0
        """Of the path so far, in nats."""

    @property
    def ended(self) -> int:
        """The frame after the last one in which a label was found."""
        return self._ended if self._label == self._blank else self.frames

    def push(self, scores: LogProbs) -> list[Spelled]:
        """Read ``scores (T, V)``, log-probabilities; give the labels that begin in these frames."""
        labels = scores.argmax(axis=1)
        before = np.concatenate([[self._label], labels])[: len(labels)]
        found = []
        for t in np.flatnonzero(labels != before).tolist():
            if before[t] != self._blank:
                self._ended = self.frames + t
            if labels[t] != self._blank:
                found.append(Spelled(int(labels[t]), self.frames + t, self._ended))
        self._label = int(labels[-1]) if len(labels) else self._label
        self.frames += len(labels)
        self.logprob += float(scores.max(axis=1, initial=-np.inf).sum())
        return found


def greedy(frames: Any, labels: Labels) -> Hypothesis:
    """The text of the likeliest alignment of ``frames (T, V)``.

    It need not be the likeliest text, which has many alignments: ``decode`` adds them up. Raises ConfigError as
    ``log_probs`` does.
    """
    path = GreedyPath(labels.blank)
    found = path.push(log_probs(frames, labels))
    ends = [*(each.ended for each in found[1:]), path.ended]
    spans = [(each.column, each.start, end) for each, end in zip(found, ends, strict=False)]
    return hypothesis(labels, spans, acoustic=path.logprob)
