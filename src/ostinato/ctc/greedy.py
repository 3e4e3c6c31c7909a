"""The likeliest label of each frame: no beam, no language model, next to no time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ostinato.ctc.hypothesis import Hypothesis, hypothesis
from ostinato.ctc.labels import Labels, log_probs


def greedy(frames: Any, labels: Labels) -> Hypothesis:
    """The text of the likeliest alignment of ``frames (T, V)``: repeats made one, then blanks left out.

    It need not be the likeliest text, which has many alignments: ``decode`` adds them up. Raises ConfigError as
    ``log_probs`` does.
    """
    scores = log_probs(frames, labels)
    best = scores.argmax(axis=1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    ends = np.append(starts[1:], len(best))
    runs = zip(best[starts].tolist(), starts.tolist(), ends.tolist(), strict=False)
    found = [(column, start, end) for column, start, end in runs if column != labels.blank]
    return hypothesis(labels, found, acoustic=float(scores.max(axis=1, initial=-np.inf).sum()))
