"""Matrices in eight bits: a whole number from -127 to 127 for each weight, and a scale for each row."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from ostinato.types import Floats

Bytes = NDArray[np.int8]

LARGEST = 127
"""Of the whole numbers; -128 is left out, so that they are symmetric."""


def row_scales(matrix: Floats) -> Floats:
    """What one stands for in each row ``(R,)`` of a matrix ``(R, C)``: its largest number in size becomes LARGEST."""
    return cast(Floats, np.abs(matrix).max(axis=1) / np.float32(LARGEST))


def are_usable(scales: Floats) -> bool:
    """Whether scales are finite, not negative, and leave all that they stand for finite."""
    return bool(((scales >= 0) & (scales <= np.finfo(np.float32).max / (LARGEST + 1))).all())


def quantise(matrix: Floats, scales: Floats) -> Bytes:
    """A matrix ``(R, C)`` in whole numbers of its usable ``row_scales``.

    This is how ``pack_int8`` in native/src/kernels/int8.h does it, so that the core finds the same whole numbers again
    in what ``dequantise`` gives.
    """
    # A row of zeros has the scale 0, and so has one whose scale is too small for float32.
    whole = np.rint(matrix / np.where(scales > 0, scales, np.float32(1))[:, None])
    return whole.clip(-LARGEST, LARGEST).astype(np.int8)


def dequantise(whole: Bytes, scales: Floats) -> Floats:
    """The matrix ``(R, C)`` in float32 that whole numbers and the scales of their rows stand for."""
    return cast(Floats, whole * scales[:, None])
