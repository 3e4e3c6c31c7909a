"""Dropout by the core: see ``ost_dropout`` in native/include/ostinato/core.h."""

from __future__ import annotations

import ctypes

from ostinato.errors import NativeError
from ostinato.kernels.native.library import Array, address, check, core

_MOST = 1 << 32


class _Dropping(ctypes.Structure):
    _fields_ = [
        ("n", ctypes.c_int64),
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("p", ctypes.c_double),
        ("seed", ctypes.c_uint64),
    ]


def drop(x: Array, out: Array, p: float, seed: int, threads: int) -> Array:
    """``out = x / (1 - p)``, or 0 with probability ``p``, by a mask that the ``seed`` decides; ``out`` may be ``x``.

    Raises NativeError on a wrong array, a ``p`` that is not from 0 to below 1, and a seed that is not of 64 bits.
    """
    if not 0.0 <= p < 1.0 or not 0 <= seed < 1 << 64 or x.size > _MOST:
        raise NativeError(
            f"p is {p}, the seed {seed}, the size {x.size}; expected 0 to below 1, 64 bits, up to {_MOST}"
        )
    dropping = _Dropping(x.size, address("x", x, x.shape), address("out", out, x.shape), p, seed)
    check(core().ost_dropout(ctypes.byref(dropping), max(1, threads)))
    return out
