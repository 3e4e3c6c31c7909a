"""The likeliest path, collapsed: as the definition says, and the same however it is cut."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from ostinato.ctc import GreedyPath, Labels, greedy
from ostinato.ctc.labels import log_probs

Found = tuple[list[tuple[int, int, int]], float, int]


def found(logits: np.ndarray, blank: int, cuts: list[int], kind: Any = GreedyPath) -> Found:
    """Each label with its first frame and that after its last; nats; frames."""
    path, spelled = kind(blank), []
    for piece in np.split(log_probs(logits, Labels("abcd"[: logits.shape[1]], blank)), cuts):
        spelled += path.push(piece)
    ends = [*(each.ended for each in spelled[1:]), path.ended]
    spans = [(each.column, each.start, end) for each, end in zip(spelled, ends, strict=False)]
    return spans, path.logprob, path.frames


def hold_paths(blank: int, kind: Any = GreedyPath) -> None:
    """Repeats are one and blanks are left out."""
    rng = np.random.default_rng(blank)
    for _ in range(40):
        logits = rng.normal(0, 2, (int(rng.integers(1, 12)), 3))
        best, expected, step = logits.argmax(1).tolist(), [], 0
        for label, run in itertools.groupby(best):
            length = len(list(run))
            if label != blank:
                expected.append((label, step, step + length))
            step += length
        total = float((logits.max(1) - np.log(np.exp(logits).sum(1))).sum())
        for cuts in ([], [1], list(range(len(logits)))):
            spelled, logprob, steps = found(logits, blank, cuts, kind)
            assert spelled == expected
            assert logprob == pytest.approx(total, abs=1e-4)
            assert steps == len(logits)


@pytest.mark.parametrize("blank", [0, 2])
def test_repeats_are_one_and_blanks_are_left_out(blank: int) -> None:
    hold_paths(blank)


def test_the_same_character_twice_needs_a_blank_between() -> None:
    def said(labels: list[int]) -> list[tuple[int, int, int]]:
        return found(np.eye(3)[labels] * 9, 2, [])[0]

    assert said([0, 0, 0]) == [(0, 0, 3)]
    assert said([0, 2, 0]) == [(0, 0, 1), (0, 2, 3)]
    assert said([2, 2]) == []
    assert found(np.zeros((0, 3)), 2, []) == ([], 0.0, 0)


def test_a_whole_output_has_the_same_spans() -> None:
    logits = np.random.default_rng(3).normal(0, 2, (30, 4))
    spelled, logprob, _ = found(logits, 3, [11])
    whole = greedy(logits, Labels(("a", " ", "b", "?"), 3))
    assert spelled == [("a b".index(span.text), span.start, span.end) for span in whole.labels]
    assert logprob == pytest.approx(whole.acoustic)
