"""Convolution in numpy: every window as a row, then one product."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ostinato.engine.stack import linear
from ostinato.types import Floats


def convolve(x: Floats, weight: Floats, bias: Floats, *, stride: int = 1, padding: int = 0) -> Floats:
    """The cross-correlation that networks call convolution, as ``torch.nn.functional.conv2d`` with channels last.

    ``x (B, Y, X, C)``, ``weight (M, C, K, L)`` and ``bias (M,)`` give ``(B, Y', X', M)``, with
    ``Y' = (Y + 2 padding - K) // stride + 1`` and X' likewise; what lies outside of ``x`` is 0. Raises ValueError
    when a window is larger than what it moves over.
    """
    M, _, K, L = weight.shape
    edges = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    windows = sliding_window_view(np.pad(x, edges), (K, L), axis=(1, 2))[:, ::stride, ::stride]
    B, Y, X = windows.shape[:3]
    rows = np.ascontiguousarray(windows).reshape(B * Y * X, -1)
    return linear(rows, weight.reshape(M, -1), bias).reshape(B, Y, X, M)
