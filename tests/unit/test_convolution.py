"""Convolution in numpy against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.engine.convolution import convolve

CASES = [
    # B, Y, X, C, M, K, L, stride, padding
    (1, 1, 1, 1, 1, 1, 1, 1, 0),
    (2, 7, 5, 3, 4, 3, 3, 1, 1),
    (3, 9, 8, 2, 5, 3, 3, 2, 1),
    (2, 5, 11, 3, 2, 2, 3, 1, 0),
    (2, 11, 6, 1, 3, 5, 3, 3, 2),
    (1, 4, 4, 5, 7, 4, 4, 2, 0),
    (2, 3, 3, 2, 3, 3, 3, 2, 2),
]


def check(case: tuple[int, ...]) -> None:
    """The tolerance is float32 rounding of sums of up to 45 products of normal numbers."""
    B, Y, X, C, M, K, L, stride, padding = case
    rng = np.random.default_rng(1)
    x, weight, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((B, Y, X, C), (M, C, K, L), (M,)))
    got = convolve(x, weight, bias, stride=stride, padding=padding)
    inputs = [torch.from_numpy(array) for array in (x.transpose(0, 3, 1, 2).copy(), weight, bias)]
    expected = torch.nn.functional.conv2d(*inputs, stride=stride, padding=padding).permute(0, 2, 3, 1)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_as_torch(case: tuple[int, ...]) -> None:
    check(case)


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        convolve(np.zeros((1, 2, 2, 1), np.float32), np.zeros((1, 1, 3, 3), np.float32), np.zeros(1, np.float32))
