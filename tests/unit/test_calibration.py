"""Temperature and calibration error on closed forms, and the counts of who is taken for whom."""

import math

import numpy as np
import pytest

from ostinato.score.calibration import (
    COOLEST,
    HOTTEST,
    best_temperature,
    calibration_error,
    nats,
    reliability,
    softmax,
    to_json,
)
from ostinato.score.confusion import accuracy, confusion, macro_f1


def two_labels(gap, right, wrong):
    """Scores that differ by ``gap`` for the first label, which is the true one ``right`` times of all."""
    logits = np.tile(np.float32([gap, 0.0]), (right + wrong, 1))
    return logits, np.array([0] * right + [1] * wrong)


@pytest.mark.parametrize(("gap", "right", "wrong"), [(3.0, 9, 1), (0.7, 9, 1), (4.0, 6, 4), (-2.0, 1, 3)])
def test_the_best_temperature_of_two_labels_is_known(gap, right, wrong):
    # sigmoid(gap / T) = share that is right
    expected = gap / math.log(right / wrong)
    logits, labels = two_labels(gap, right, wrong)
    found = best_temperature(logits, labels)
    assert found == pytest.approx(expected, rel=1e-5)
    assert nats(logits, labels, found) < min(nats(logits, labels, found * f) for f in (0.9, 1.1))
    assert nats(logits, labels, found) < nats(logits, labels)


def test_honest_scores_keep_a_temperature_of_one():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (60_000, 5))
    drawn = (softmax(logits).cumsum(axis=1) < rng.random((60_000, 1))).sum(axis=1)
    assert best_temperature(logits, drawn) == pytest.approx(1.0, abs=0.02)
    assert best_temperature(3 * logits, drawn) == pytest.approx(3.0, abs=0.06)
    assert calibration_error(reliability(softmax(logits), drawn)) < 0.01
    assert calibration_error(reliability(softmax(3 * logits), drawn)) > 0.1


def test_all_right_or_all_wrong_ends_at_the_bounds():
    assert best_temperature(*two_labels(2.0, 5, 0)) == pytest.approx(COOLEST)
    assert best_temperature(*two_labels(2.0, 0, 5)) == pytest.approx(HOTTEST)
    with pytest.raises(ValueError, match="no text"):
        best_temperature(np.zeros((0, 2)), np.zeros(0, int))


def test_softmax_and_nats_of_any_size():
    large = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(softmax(large), [[1, 0, 0], [1 / 3] * 3])
    assert nats(large, np.array([1, 2])) == pytest.approx((1e4 + math.log(3)) / 2)
    assert nats(large, np.array([1, 2]), temperature=2.0) == pytest.approx((5e3 + math.log(3)) / 2)


def test_calibration_error_of_two_bins():
    # four at 0.9, of which two are right, and one at 0.6 that is right: (4 * 0.4 + 1 * 0.4) / 5
    shares = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    bins = reliability(shares, np.array([0, 0, 1, 1, 1]), bins=10)
    assert calibration_error(bins) == pytest.approx(0.4)
    assert [(k, each.count) for k, each in enumerate(bins) if each.count] == [(5, 1), (8, 4)]
    assert to_json(bins)[1] == {"count": 4, "confidence": pytest.approx(0.9), "accuracy": 0.5}
    assert len(to_json(bins)) == 2


def test_a_bin_holds_its_upper_end():
    shares = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert [each.count for each in reliability(shares, np.array([0, 0]), bins=2)] == [1, 1]


def test_nothing_has_no_calibration_error():
    assert math.isnan(calibration_error(reliability(np.zeros((0, 2)), np.zeros(0, int))))


def test_confusion_accuracy_and_f1():
    true, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    counts = confusion(true, predicted, 4)
    assert counts.tolist() == [[1, 2, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert accuracy(counts) == pytest.approx(2 / 6)
    # F1: 2/(3+2), 2/(2+4), 0; the label that nobody has and nobody predicts does not count
    assert macro_f1(counts) == pytest.approx((2 / 5 + 2 / 6 + 0) / 3)
    assert math.isnan(accuracy(confusion(np.array([], int), np.array([], int), 2)))
    assert math.isnan(macro_f1(np.zeros((2, 2), np.int64)))
