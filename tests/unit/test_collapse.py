"""The likeliest path, collapsed: as the definition says, and the same however it is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ostinato.ctc import Labels, greedy
from ostinato.decode.collapse import GreedyPath


def found(logits: np.ndarray, blank: int, cuts: list[int]) -> tuple[list[tuple[int, int]], float, int]:
    path, spelled = GreedyPath(blank), []
    for piece in np.split(logits, cuts):
        spelled += path.push(piece.astype(np.float32))
    return [(each.id, each.step) for each in spelled], path.logprob, path.steps


@pytest.mark.parametrize("blank", [0, 2])
def test_repeats_are_one_and_blanks_are_left_out(blank: int) -> None:
    rng = np.random.default_rng(blank)
    for _ in range(40):
        logits = rng.normal(0, 2, (int(rng.integers(1, 12)), 3))
        best, expected, step = logits.argmax(1).tolist(), [], 0
        for label, run in itertools.groupby(best):
            if label != blank:
                expected.append((label, step))
            step += len(list(run))
        total = float((logits.max(1) - np.log(np.exp(logits).sum(1))).sum())
        for cuts in ([], [1], list(range(len(logits)))):
            spelled, logprob, steps = found(logits, blank, cuts)
            assert spelled == expected
            assert logprob == pytest.approx(total, abs=1e-4)
            assert steps == len(logits)


def test_the_same_character_twice_needs_a_blank_between() -> None:
    def said(labels: list[int]) -> list[tuple[int, int]]:
        return found(np.eye(3)[labels] * 9, 2, [])[0]

    assert said([0, 0, 0]) == [(0, 0)]
    assert said([0, 2, 0]) == [(0, 0), (0, 2)]
    assert said([2, 2]) == []
    assert found(np.zeros((0, 3)), 2, [])[0] == []


def test_it_is_what_the_decoders_of_whole_outputs_find() -> None:
    logits = np.random.default_rng(3).normal(0, 2, (30, 4))
    spelled, logprob, _ = found(logits, 3, [11])
    whole = greedy(logits, Labels(("a", " ", "b", "?"), 3))
    assert [("a b"[id_], step) for id_, step in spelled] == [(span.text, span.start) for span in whole.labels]
    assert logprob == pytest.approx(whole.acoustic, abs=1e-4)
