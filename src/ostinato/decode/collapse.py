"""From a score for every step to characters: the likeliest path of connectionist temporal classification, collapsed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ostinato.decode.sampling import log_softmax
from ostinato.types import Floats


@dataclass(frozen=True)
class Spelled:
    """A character, and the step in which it begins."""

    id: int
    step: int


class GreedyPath:
    """The likeliest label of each step, those in a row taken as one, blanks left out (Graves et al. 2006, "best path").

    It goes on from block to block: the same characters come out however the steps are cut.
    """

    def __init__(self, blank: int) -> None:
        self._blank, self._before = blank, blank
        self.steps = 0
        """That have been read."""
        self.logprob = 0.0
        """Of the path so far, in nats."""

    def push(self, logits: Floats) -> list[Spelled]:
        """Read ``logits (T, V)``, before the softmax; give the characters that begin in these steps."""
        labels = logits.argmax(axis=1)
        before = np.concatenate([[self._before], labels])[: len(labels)]
        fresh = (labels != before) & (labels != self._blank)
        found = [Spelled(int(labels[t]), self.steps + int(t)) for t in np.flatnonzero(fresh)]
        if len(labels):
            self._before = int(labels[-1])
            self.logprob += float(log_softmax(logits).max(axis=1).sum())
        self.steps += len(labels)
        return found
