from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.data.lanes import Lanes, Place, held_out_windows
from ostinato.errors import TextError

sizes = st.integers(1, 9)


def epoch(lanes: Lanes, number: int) -> list[np.ndarray]:
    """The windows of one epoch, by going on from its first."""
    windows, place = [], Place(number, 0)
    while place.epoch == number:
        windows.append(lanes.window(place))
        place = lanes.after(place)
    assert place == Place(number + 1, 0)
    return windows


@settings(max_examples=150, deadline=None)
@given(B=sizes, T=sizes, length=st.integers(2, 40), rest=st.integers(0, 8), ahead=st.integers(0, 5), seed=sizes)
def test_an_epoch_predicts_every_token_once_but_for_the_remainder(
    B: int, T: int, length: int, rest: int, ahead: int, seed: int
) -> None:
    N = B * length + rest % B
    lanes = Lanes(np.arange(N, dtype=np.uint16), B, T, ahead, seed)
    windows = epoch(lanes, 3)
    predicted = np.concatenate([window[1 : len(window) - ahead].ravel() for window in windows])
    assert len(predicted) == B * length
    assert len(np.unique(predicted)) == len(predicted)
    assert all(1 <= len(window) - 1 - ahead <= T for window in windows)
    assert sum(len(window) - 1 - ahead < T for window in windows) <= 1


@settings(max_examples=100, deadline=None)
@given(B=sizes, T=sizes, length=st.integers(2, 40), ahead=st.integers(0, 5))
def test_lanes_read_on_where_they_stopped(B: int, T: int, length: int, ahead: int) -> None:
    N = B * length
    windows = epoch(Lanes(np.arange(N), B, T, ahead), 0)
    for window in windows:  # contiguous within a window, on the circle
        np.testing.assert_array_equal(np.diff(window, axis=0) % N, np.ones((len(window) - 1, B)))
    for window, following in pairwise(windows):
        # The state has read all inputs; the next input is the last target.
        np.testing.assert_array_equal(window[len(window) - 1 - ahead], following[0])


def test_epochs_are_cut_elsewhere_and_the_same_seed_cuts_alike() -> None:
    ids = np.arange(1000)
    firsts = [Lanes(ids, 4, 8, seed=seed).window(Place(number, 0))[0, 0] for seed in (0, 1) for number in range(4)]
    assert len(set(firsts)) == 8
    again = [Lanes(ids, 4, 8, seed=seed).window(Place(number, 0))[0, 0] for seed in (0, 1) for number in range(4)]
    assert firsts == again


def test_a_window_is_fresh_memory_of_whole_numbers() -> None:
    ids = np.arange(50, dtype=np.uint8)
    ids.setflags(write=False)
    window = Lanes(ids, 2, 4).window(Place())
    assert window.dtype == np.int64
    window += 1  # what is done to a batch must not reach the text
    assert ids[0] == 0


@pytest.mark.parametrize(("tokens", "batch"), [(0, 1), (1, 1), (3, 2), (15, 8)])
def test_a_text_shorter_than_one_batch_is_refused(tokens: int, batch: int) -> None:
    with pytest.raises(TextError, match=f"has {tokens} tokens.*at least {2 * batch}.*smaller --batch"):
        Lanes(np.zeros(tokens, np.uint8), batch, 4)


def test_two_tokens_a_lane_are_enough() -> None:
    assert Lanes(np.arange(16), 8, 64).window(Place()).shape == (3, 8)


BOUNDARY = 10_000


def scored(N: int, B: int, T: int, warm_up: int, ahead: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """How often each token was scored, and for each window what its lanes read."""
    times = np.zeros(N, int)
    windows = []
    for window, counts in held_out_windows(np.arange(N), BOUNDARY, B, T, warm_up, ahead):
        assert window.shape == (len(counts) + 1 + ahead, counts.shape[1])
        targets = window[1 : len(counts) + 1][counts]
        assert (targets < BOUNDARY).all()
        np.add.at(times, targets, 1)
        windows.append(window)
    return times, windows


@settings(max_examples=300, deadline=None)
@given(
    N=st.integers(1, 200),
    B=st.integers(1, 12),
    T=st.integers(1, 20),
    warm_up=st.integers(0, 12),
    ahead=st.integers(0, 6),
)
def test_held_out_tokens_are_scored_once_each_in_context(N: int, B: int, T: int, warm_up: int, ahead: int) -> None:
    times, windows = scored(N, B, T, warm_up, ahead)
    np.testing.assert_array_equal(times, 1)
    for window in windows:  # after a token comes the next one, and outside of the text the boundary
        before, after = window[:-1], window[1:]
        inside = (before < BOUNDARY) & (after < BOUNDARY)
        assert (after[inside] == before[inside] + 1).all()
        assert (before[(after < BOUNDARY) & ~inside] == BOUNDARY).all()
        assert (after[(before < BOUNDARY) & ~inside] == BOUNDARY).all()
    for window, following in pairwise(windows):
        np.testing.assert_array_equal(window[len(window) - 1 - ahead], following[0])


@settings(max_examples=100, deadline=None)
@given(N=st.integers(60, 300), B=st.integers(2, 8), T=st.integers(1, 20), warm_up=st.integers(1, 6))
def test_a_lane_is_warmed_up_before_its_first_scored_token(N: int, B: int, T: int, warm_up: int) -> None:
    read = np.zeros(B, int)
    for window, counts in held_out_windows(np.arange(N), BOUNDARY, B, T, warm_up, 0):
        for lane in range(counts.shape[1]):
            if counts[:, lane].any() and read[lane] >= 0:
                first = int(counts[:, lane].argmax())
                context = read[lane] + first + 1
                assert context >= min(warm_up, window[first + 1, lane]) + 1
                read[lane] = -1
            elif read[lane] >= 0:
                read[lane] += len(counts)


def test_a_short_text_is_one_lane_that_begins_after_a_line_end() -> None:
    windows = list(held_out_windows(np.arange(5), BOUNDARY, 32, 128, 256, 2))
    assert len(windows) == 1
    window, counts = windows[0]
    np.testing.assert_array_equal(window[:, 0], [BOUNDARY, 0, 1, 2, 3, 4, BOUNDARY, BOUNDARY])
    assert counts.all()
