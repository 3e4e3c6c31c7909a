from __future__ import annotations

import numpy as np
import pytest

from ostinato.data.lanes import Place
from ostinato.data.ragged import Buckets, Ragged
from ostinato.errors import TextError


@pytest.mark.parametrize(
    ("ids", "lines"),
    [
        ([1, 2, 0, 3, 0], [[1, 2], [3]]),
        ([1, 2, 0, 3], [[1, 2], [3]]),
        ([0, 0, 5, 0], [[], [], [5]]),
        ([], []),
    ],
)
def test_lines_are_what_lies_between_boundaries(ids, lines):
    ragged = Ragged.lines(np.array(ids, np.int64), 0)
    assert [list(ragged.ids[start:end]) for start, end in ragged.bounds] == lines
    assert list(ragged.lengths) == [len(line) for line in lines]


def test_sequences_are_padded_cut_and_taken():
    ragged = Ragged.of([np.array([4, 5, 6]), np.array([], np.int64), np.array([7])])
    padded, lengths = ragged.padded(fill=9)
    np.testing.assert_array_equal(padded, [[4, 9, 7], [5, 9, 9], [6, 9, 9]])
    np.testing.assert_array_equal(lengths, [3, 0, 1])
    padded, lengths = ragged.take(np.array([2, 0])).cut(2).padded()
    np.testing.assert_array_equal(padded, [[7, 4], [0, 5]])
    np.testing.assert_array_equal(lengths, [1, 2])


def epoch(buckets: Buckets, number: int) -> list[np.ndarray]:
    return [buckets.indices(Place(number, window)) for window in range(buckets.steps)]


def test_an_epoch_has_every_sequence_once_beside_others_of_its_length():
    lengths = np.random.default_rng(0).integers(1, 100, 1003)
    batches = epoch(Buckets(lengths, 10), 3)
    assert len(batches) == 101
    assert sorted(np.concatenate(batches)) == list(range(1003))
    assert sorted(map(len, batches)) == [3, *[10] * 100]
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 5  # of 99 between all
    for batch in batches:
        assert list(lengths[batch]) == sorted(lengths[batch], reverse=True)
    firsts = [int(lengths[batch].max()) for batch in batches]
    assert firsts not in (sorted(firsts), sorted(firsts, reverse=True))


def test_epochs_and_seeds_differ_and_a_place_is_enough_to_go_on():
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    buckets = Buckets(lengths, 8, seed=1)
    first, second = epoch(buckets, 0), epoch(buckets, 1)
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    other = epoch(Buckets(lengths, 8, seed=2), 0)
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    again = Buckets(lengths, 8, seed=1)
    np.testing.assert_array_equal(again.indices(Place(1, 5)), second[5])
    assert buckets.after(Place(0, 3)) == Place(0, 4)
    assert buckets.after(Place(0, buckets.steps - 1)) == Place(1, 0)


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(TextError, match="nothing to train on"):
        Buckets(np.zeros(0, np.int64), 4)
