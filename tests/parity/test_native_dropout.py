"""Dropout by the core: its masks are as good as random ones, and the same for value and gradient.

Statistics are held to five standard deviations: each fails by chance once in 1.7 million.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ostinato.errors import NativeError
from ostinato.kernels import native
from ostinato.kernels.autograd import drop

pytestmark = pytest.mark.skipif(not native.available(), reason="no native core")
N = 1 << 20
SEEDS = (0, 1, 2, 1 << 32, (1 << 32) + 1, 0x9E3779B97F4A7C15, (1 << 64) - 1)


def mask(seed: int, p: float = 0.5, size: int = N, threads: int = 1) -> np.ndarray:
    """1 where an element stays, 0 where it is dropped."""
    y = np.full(size, np.nan, np.float32)
    native.drop(np.ones_like(y), y, p, seed, threads)
    assert set(np.unique(y)) <= {np.float32(0), np.float32(1 / (1 - p))}
    return (y != 0).astype(np.float64)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """In standard deviations of what independent ones have."""
    return float(np.corrcoef(a, b)[0, 1] * math.sqrt(len(a)))


def check_shares() -> None:
    for p in (0.02, 0.3, 0.5, 0.95):
        for seed in SEEDS:
            kept = mask(seed, p)
            assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / N)


def check_neighbours() -> None:
    """At every distance that a layer may be wide, and at each place of a row."""
    for seed in SEEDS[:4]:
        kept = mask(seed)
        for lag in (1, 2, 3, 7, 8, 16, 31, 64, 128, 448, 512, 1000, 4096, 16 * 1024, 65_536):
            assert abs(correlation(kept[:-lag], kept[lag:])) < 5
        for width in (32, 448, 1024):
            columns = kept[: N // width * width].reshape(-1, width).mean(axis=0)
            assert np.abs(columns - 0.5).max() < 5.5 * math.sqrt(0.25 / (N // width))


def check_seeds() -> None:
    """Of different seeds, near ones and those whose counters overlap."""
    masks = [mask(seed) for seed in SEEDS]
    for i, first in enumerate(masks):
        for second in masks[:i]:
            assert abs(correlation(first, second)) < 5
    for shift in (1, 2):  # the counter of the next seed is this one's, a place on
        assert abs(correlation(masks[0][shift:], masks[shift][:-shift])) < 5
    pairs = np.stack([mask(seed, size=64) for seed in range(4096)])
    together = pairs.T @ pairs / 4096 - 0.25 * (1 + np.eye(64))
    assert np.abs(together).max() < 0.06


def check_runs() -> None:
    """Lengths of runs of what stays: a half are 1 long, a quarter 2, ..."""
    kept = mask(3)
    edges = np.flatnonzero(np.diff(kept, prepend=0, append=0))
    lengths = edges[1::2] - edges[::2]
    counts = np.bincount(np.minimum(lengths, 12), minlength=13)[1:]
    expected = len(lengths) * np.array([*(0.5**k for k in range(1, 12)), 0.5**11])
    assert ((counts - expected) ** 2 / expected).sum() < 42.0  # chi-square, 11 degrees: one in 60,000


def check_agreement() -> None:
    """Every instruction set and number of threads, and in place."""
    before, found = native.instruction_set(), []
    try:
        for isa in native.instruction_sets():
            native.use_instruction_set(isa)
            found += [mask(77, 0.3, 100_003, threads) for threads in (1, 2, 3)]
    finally:
        native.use_instruction_set(before)
    assert all(np.array_equal(found[0], other) for other in found)
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    y = native.drop(x, np.empty_like(x), 0.3, 5, 1)
    np.testing.assert_allclose(y, x / np.float32(0.7) * (y != 0), rtol=1e-6)
    np.testing.assert_array_equal(native.drop(x, x, 0.3, 5, 1), y)


@pytest.mark.parametrize("check", [check_shares, check_neighbours, check_seeds, check_runs, check_agreement])
def test_masks(check):
    check()


def test_the_gradient_is_dropped_as_the_value_was():
    x = torch.randn(7, 5, 33).requires_grad_()
    y = drop(x, 0.4)
    weights = torch.randn_like(y)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    kept = (y != 0).float() / 0.6
    torch.testing.assert_close(y, x * kept)
    torch.testing.assert_close(gradient, weights * kept)
    assert 0 < (kept == 0).float().mean() < 1


def test_torchs_generator_decides_and_moves_on():
    x = torch.ones(40, 50)
    torch.manual_seed(3)
    first, second = drop(x, 0.5), drop(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(drop(x, 0.5), first)
    assert not torch.equal(first, second)
    torch.testing.assert_close(drop(x.t(), 0.0), x.t())


@pytest.mark.parametrize(("p", "seed"), [(1.0, 0), (-0.1, 0), (math.nan, 0), (0.5, -1), (0.5, 1 << 64)])
def test_what_is_out_of_range_is_refused(p, seed):
    x = np.ones(3, np.float32)
    with pytest.raises(NativeError, match="expected 0 to below 1"):
        native.drop(x, x, p, seed, 1)
    with pytest.raises(NativeError, match="out is float64"):
        native.drop(x, np.ones(3), 0.5, 0, 1)
