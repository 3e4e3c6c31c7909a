"""Recurrent layers over sequences by the core: see ``ost_layer`` in native/include/ostinato/core.h."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import NativeError
from ostinato.kernels.native.library import Array, address, check, core
from ostinato.kernels.reference import ACTIVATIONS, find

_ORDER = (*(f"rnn {name}" for name in ACTIVATIONS), "gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal")
_NUMBERS = {name: number for number, name in enumerate(_ORDER)}


def cell_number(cell: str, activation: str) -> int:
    """``enum ost_cell``."""
    return _NUMBERS[f"rnn {activation}" if cell == "rnn" else cell]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "T", "B", "H")),
        *((name, ctypes.c_void_p) for name in ("weight_hh", "bias_hn", "weight_ci", "weight_cf", "weight_co")),
        *((name, ctypes.c_void_p) for name in ("lengths", "keep_h", "keep_c", "gates", "h", "c", "extra")),
        *((name, ctypes.c_void_p) for name in ("d_outputs", "d_h", "d_c", "d_gates", "d_extra")),
    ]


@dataclass(frozen=True)
class Layer:
    """One layer in one direction, as ``ost_layer`` in core.h; what a cell or a call does not use stays None."""

    cell: str
    weight_hh: Array
    gates: Array
    h: Array
    activation: str = "tanh"
    bias_hn: Array | None = None
    weight_ci: Array | None = None
    weight_cf: Array | None = None
    weight_co: Array | None = None
    lengths: NDArray[np.int32] | None = None
    keep_h: Array | None = None
    keep_c: Array | None = None
    c: Array | None = None
    extra: Array | None = None
    d_outputs: Array | None = None
    d_h: Array | None = None
    d_c: Array | None = None
    d_gates: Array | None = None
    d_extra: Array | None = None

    def pack(self, needed: Sequence[str]) -> _Layer:
        """The structure. Raises NativeError on a shape, type or layout that is wrong, and when a needed one is None."""
        kind = find(self.cell, self.activation)
        T, B, width = self.gates.shape
        H = width // kind.gates
        if T < 1 or B < 1 or H < 1 or width != kind.gates * H:
            raise NativeError(f"gates is {self.gates.shape}; expected (T, B, {kind.gates} H), none of them 0")
        peephole = (H,) * kind.extra_axes
        sequence, state = (T, B, H), (B, H)
        shapes: dict[str, tuple[int, ...]] = {
            "weight_hh": (width, H), "bias_hn": (H,), "weight_ci": peephole, "weight_cf": peephole,
            "weight_co": peephole, "keep_h": sequence, "keep_c": sequence, "gates": (T, B, width),
            "h": (T + 1, B, H), "c": (T + 1, B, H), "extra": sequence, "d_outputs": sequence, "d_h": state,
            "d_c": state, "d_gates": (T, B, width), "d_extra": sequence,
        }  # fmt: skip
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise NativeError(f"{self.cell} needs {', '.join(missing)}")
        arrays = {name: address(name, getattr(self, name), shape) for name, shape in shapes.items()}
        number = cell_number(self.cell, self.activation)
        return _Layer(number, T, B, H, lengths=self._lengths(T, B), **arrays)

    def _lengths(self, T: int, B: int) -> int | None:
        if self.lengths is None:
            return None
        good = self.lengths.dtype == np.int32 and self.lengths.shape == (B,) and self.lengths.flags.c_contiguous
        if not good or self.lengths.min() < 1 or self.lengths.max() > T:
            raise NativeError(f"lengths is {self.lengths.dtype} {self.lengths.shape}; expected int32 ({B},), 1 to {T}")
        return self.lengths.ctypes.data


def _needed(cell: str, activation: str, *, backward: bool) -> list[str]:
    kind = find(cell, activation)
    names = [*kind.extra, *kind.parts[1:]]
    names += ["extra"] * cell.startswith("gru")
    if backward:
        names += ["d_outputs", "d_gates", *(f"d_{part}" for part in kind.parts)]
        names += ["d_extra"] * (cell == "gru_reset_after")
    return names


def recurrent_forward(layers: Sequence[Layer], threads: int) -> None:
    """Run layers that do not depend on each other, all at once; see core.h. Raises NativeError on a wrong array."""
    _recurrent("forward", layers, threads)


def recurrent_backward(layers: Sequence[Layer], threads: int) -> None:
    """Their gradients; see core.h. Raises NativeError on a wrong array."""
    _recurrent("backward", layers, threads)


def _recurrent(direction: str, layers: Sequence[Layer], threads: int) -> None:
    packed = [layer.pack(_needed(layer.cell, layer.activation, backward=direction == "backward")) for layer in layers]
    call = getattr(core(), f"ost_recurrent_{direction}")
    check(call((_Layer * len(packed))(*packed), len(packed), max(1, threads)))
