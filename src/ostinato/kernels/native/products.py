"""Matrix products by the core."""

from __future__ import annotations

import ctypes

import numpy as np

from ostinato.errors import NativeError
from ostinato.kernels.native.library import Array, address, check, core


class _Product(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("M", "N", "K")),
        ("a", ctypes.c_void_p),
        ("a_row", ctypes.c_int64),
        ("a_k", ctypes.c_int64),
        ("b", ctypes.c_void_p),
        ("b_k", ctypes.c_int64),
        ("b_column", ctypes.c_int64),
        ("c", ctypes.c_void_p),
        ("c_row", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        ("add", ctypes.c_int32),
    ]


def multiply(a: Array, b: Array, out: Array, threads: int, bias: Array | None = None, *, add: bool = False) -> Array:
    """``out = a b + bias``, or ``out += a b + bias`` with ``add``: ``a (M, K)``, ``b (K, N)``, ``out (M, N)``.

    ``a`` and ``b`` may be transposed views, ``out`` has rows without gaps. Raises NativeError on a wrong array.
    """
    M, K = a.shape
    N = b.shape[1]
    for name, array, shape in (("a", a, (M, K)), ("b", b, (K, N)), ("out", out, (M, N))):
        if array.dtype != np.float32 or array.shape != shape:
            raise NativeError(f"{name} is {array.dtype} {array.shape}; expected float32 {shape}")
    if min(M, N, K) < 1 or out.strides[1] != 4 or 4 not in b.strides or any(s % 4 for s in (*a.strides, *b.strides)):
        raise NativeError(f"the strides are {a.strides}, {b.strides}, {out.strides}; expected whole rows or columns")
    steps = [stride // 4 for stride in (*a.strides, *b.strides, out.strides[0])]
    product = _Product(
        M, N, K, a.ctypes.data, *steps[:2], b.ctypes.data, *steps[2:4], out.ctypes.data, steps[4],
        address("bias", bias, (N,)), add,
    )  # fmt: skip
    check(core().ost_multiply(ctypes.byref(product), max(1, threads)))
    return out
