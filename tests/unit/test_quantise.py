"""Matrices in eight bits: closed forms, the error, and that rounding twice changes nothing."""

import numpy as np
import pytest

from ostinato.quantise import are_usable, dequantise, quantise, row_scales


def rounded(matrix):
    scales = row_scales(matrix)
    return quantise(matrix, scales), scales


def test_a_row_has_its_own_scale_and_is_rounded_to_even():
    whole, scales = rounded(np.array([[127, -3.5, 2.5, 0.4], [0.25, -0.5, 0, 0.001], [-127, 126.6, 1, 1]], np.float32))
    np.testing.assert_array_equal(scales, np.array([127, 0.5, 127], np.float32) / np.float32(127))
    assert whole.tolist() == [[127, -4, 2, 0], [64, -127, 0, 0], [-127, 127, 1, 1]]


def test_zeros_and_numbers_too_small_for_a_scale_are_zeros():
    whole, scales = rounded(np.array([[0, 0], [1e-44, -1e-44]], np.float32))
    assert scales.tolist() == [0, 0]
    assert whole.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e5, 1e37])
def test_rounded_twice_is_rounded_once(size):
    """The same whole numbers come back, so the core's rounding of what a folder held loses nothing."""
    rng = np.random.default_rng(0)
    matrix = (rng.normal(size=(4000, 37)) * size * rng.random((4000, 1))).astype(np.float32)
    whole, scales = rounded(matrix)
    assert np.abs(whole).max() == 127
    read = dequantise(whole, scales)
    assert (np.abs(read - matrix) <= 0.5001 * scales[:, None]).all()
    again, scales_again = rounded(read)
    np.testing.assert_array_equal(again, whole)
    np.testing.assert_allclose(scales_again, scales, rtol=2e-7)


@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf, 3e36])
def test_scales_that_are_of_no_use(bad):
    assert are_usable(np.array([0, 1, 2e36], np.float32))
    assert not are_usable(np.array([1, bad], np.float32))
