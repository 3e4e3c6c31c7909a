"""Sentences under a scorer: many at once, what they begin with in common scored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ostinato.score.scorer import LogProbs, Scorer


def score_sentences(scorer: Scorer[Any], sentences: Sequence[Sequence[str]], *, end: bool = True) -> LogProbs:
    """``log p`` of each sentence, ``(N,)``, its end included unless ``end`` is False."""
    scores = [steps.sum() for steps in score_words(scorer, sentences, end=end)]
    return np.array(scores, np.float64)


def score_words(scorer: Scorer[Any], sentences: Sequence[Sequence[str]], *, end: bool = True) -> list[LogProbs]:
    """``log p`` of every word of each sentence and of its end, ``(T + 1,)`` a sentence; ``(T,)`` without the end.

    All sentences go word by word side by side, as the paths of one tree: each of its branches is scored once.
    """
    parts: list[list[float]] = [[] for _ in sentences]
    places: list[Any] = [scorer.begin() for _ in sentences]
    branch = [0] * len(sentences)  # equal for those that had the same words so far
    for depth in range(max(map(len, sentences), default=0)):
        live = [n for n, sentence in enumerate(sentences) if len(sentence) > depth]
        steps = {(branch[n], sentences[n][depth]): places[n] for n in live}
        logprobs, after = scorer.extend(list(steps.values()), [word for _, word in steps])
        found = dict(zip(steps, zip(range(len(steps)), logprobs.tolist(), after, strict=True), strict=True))
        for n in live:
            branch[n], logprob, places[n] = found[branch[n], sentences[n][depth]]
            parts[n].append(logprob)
    if end and sentences:
        for part, logprob in zip(parts, scorer.end(places).tolist(), strict=True):
            part.append(logprob)
    return [np.array(part, np.float64) for part in parts]
