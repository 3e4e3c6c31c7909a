"""Prefix beam search in the core: see ``ost_ctc`` in native/include/ostinato/core.h."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import NativeError
from ostinato.kernels.native.library import check, core

_POINTER = ctypes.c_void_p
_MOST = (1 << 31) - 1


class _Options(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("V", "blank", "width")),
        ("margin", ctypes.c_double),
    ]


class PrefixBeam:
    """``ostinato.ctc.reference.PrefixBeam``, fast."""

    def __init__(self, V: int, blank: int, width: int, margin: float) -> None:
        """Raises NativeError when a number is out of range, and MemoryError."""
        if not (2 <= V <= _MOST and 0 <= blank < V and 1 <= width <= _MOST // 2 and margin >= 0.0):
            raise NativeError(f"V is {V}, blank {blank}, width {width}, margin {margin}; expected 2, 0, 1, 0 or more")
        self.V = V
        self._beam = core().ost_ctc_new(ctypes.byref(_Options(V, blank, width, margin)))
        if not self._beam:
            raise MemoryError("no memory for a beam")
        weakref.finalize(self, core().ost_ctc_free, self._beam)

    def advance(self, frames: NDArray[np.float64]) -> None:
        """Go over ``frames (T, V)``, log-probabilities. Raises NativeError on another array or on NaN."""
        if frames.dtype != np.float64 or frames.ndim != 2 or frames.shape[1] != self.V or not frames.flags.c_contiguous:
            raise NativeError(f"frames is {frames.dtype} {frames.shape}; expected float64 (T, {self.V}) without gaps")
        if not (frames.max(axis=1, initial=-np.inf) < np.inf).all():
            raise NativeError("frames holds NaN or infinity; expected log-probabilities")
        check(core().ost_ctc_advance(self._beam, len(frames), frames.ctypes.data))

    def came(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Of each prefix ``(K,)``: the place, a frame ago, of the one it comes from, and the label it added or -1."""
        size, _ = self._size()
        origins, labels = np.empty(size, np.int32), np.empty(size, np.int32)
        core().ost_ctc_came(self._beam, origins.ctypes.data, labels.ctypes.data)
        return origins, labels

    def fuse(self, places: Sequence[int], extras: NDArray[np.float64], gains: NDArray[np.float64]) -> None:
        """Of the prefixes at ``places``: what language models add to the score, ``(N,)``, and for each label that may
        follow how much more, as far as is known before, ``(N, V)``. Raises NativeError on other arrays."""
        N, (size, _) = len(places), self._size()
        at = np.asarray(places, np.int32)
        if N and (at.min() < 0 or at.max() >= size):
            raise NativeError(f"places from {at.min()} to {at.max()}; expected 0 to {size - 1}")
        for name, array, shape in (("extras", extras, (N,)), ("gains", gains, (N, self.V))):
            if array.dtype != np.float64 or array.shape != shape or not array.flags.c_contiguous:
                raise NativeError(f"{name} is {array.dtype} {array.shape}; expected float64 {shape} without gaps")
            if not (array < np.inf).all():
                raise NativeError(f"{name} holds NaN or infinity; expected what is added to log-probabilities")
        check(core().ost_ctc_fuse(self._beam, N, at.ctypes.data, extras.ctypes.data, gains.ctypes.data))

    def totals(self) -> NDArray[np.float64]:
        """Of each prefix ``(K,)``: nats of all its alignments."""
        logprobs = np.empty(self._size()[0])
        core().ost_ctc_totals(self._beam, logprobs.ctypes.data)
        return logprobs

    def read(self, place: int) -> list[tuple[int, int, int]]:
        """The labels of the prefix there, each with its first frame and that after its last. Raises NativeError."""
        size, longest = self._size()
        if not 0 <= place < size:
            raise NativeError(f"place is {place}; expected 0 to {size - 1}")
        labels, (starts, ends) = np.empty(longest, np.int32), np.empty((2, longest), np.int64)
        arrays = labels, starts, ends
        length = core().ost_ctc_read(self._beam, place, *(array.ctypes.data for array in arrays))
        return list(zip(*(array[:length].tolist() for array in arrays), strict=True))

    def _size(self) -> tuple[int, int]:
        longest = ctypes.c_int64()
        return int(core().ost_ctc_size(self._beam, ctypes.byref(longest))), longest.value
