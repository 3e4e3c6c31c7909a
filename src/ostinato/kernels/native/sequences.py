"""Recurrent layers over sequences by the core: see ``ost_layer`` in native/include/ostinato/core.h."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
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


_WEIGHTS = ("weight_ih", "bias", "weight_hh", "bias_hn", "weight_ci", "weight_cf", "weight_co")
_IN_ORDER = (
    *_WEIGHTS, "lengths", "keep_h", "keep_c", "gates", "h", "c", "extra", "d_outputs", "d_h", "d_c", "d_x",
    *(f"d_{name}" for name in _WEIGHTS),
)  # fmt: skip


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "T", "B", "I", "H", "reversed")),
        ("x", ctypes.c_void_p),
        ("index", ctypes.c_void_p),
        ("rows", ctypes.c_int32),
        ("table", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in _IN_ORDER),
    ]


@dataclass(frozen=True)
class Layer:
    """One layer in one direction, as ``ost_layer`` in core.h: its arrays by the names they have there.

    What a cell or a call does not use is left out, or None.
    """

    cell: str
    activation: str
    arrays: Mapping[str, Array | None]
    lengths: NDArray[np.int32] | None = None
    index: NDArray[np.int32] | None = None
    reversed: bool = False

    def pack(self, needed: Sequence[str]) -> _Layer:
        """The structure. Raises NativeError on a shape, type or layout that is wrong, and when a needed one is None."""
        missing = [name for name in ("gates", *needed) if self.arrays.get(name) is None]
        if missing:
            raise NativeError(f"{self.cell} needs {', '.join(missing)}")
        T, B, I, H = self._sizes()  # noqa: E741
        shapes = self._shapes(T, B, I, H)
        unknown = self.arrays.keys() - shapes.keys()
        if unknown:
            raise NativeError(f"a layer has no {', '.join(sorted(unknown))}")
        arrays = {name: address(name, array, shapes[name]) for name, array in self.arrays.items()}
        sizes = (cell_number(self.cell, self.activation), T, B, I, H, self.reversed)
        index, rows = self._index(T, B)
        return _Layer(*sizes, lengths=self._lengths(T, B), index=index, rows=rows, **arrays)

    def _sizes(self) -> tuple[int, int, int, int]:
        """``T, B, I, H``."""
        x, gates = self.arrays.get("x"), self.arrays["gates"]
        assert gates is not None
        G = find(self.cell, self.activation).gates
        T, B, width = gates.shape
        H = width // G
        if T < 1 or B < 1 or H < 1 or width != G * H:
            raise NativeError(f"gates is {gates.shape}; expected (T, B, {G} H), none of them 0")
        if x is None:
            return T, B, 0, H
        if self.index is not None and (x.ndim != 2 or min(x.shape) < 1):
            raise NativeError(f"x is {x.shape}; expected (rows, I), for there is an index")
        if self.index is None and (x.ndim != 3 or x.shape[2] < 1):
            raise NativeError(f"x is {x.shape}; expected ({T}, {B}, I)")
        return T, B, x.shape[-1], H

    def _shapes(self, T: int, B: int, I: int, H: int) -> dict[str, tuple[int, ...]]:  # noqa: E741
        kind = find(self.cell, self.activation)
        width = kind.gates * H
        sequence, state, states, peephole = (T, B, H), (B, H), (T + 1, B, H), (H,) * kind.extra_axes
        rows = self._index(T, B)[1]
        inputs = (T, B, I) if self.index is None else (rows, I)
        weights: dict[str, tuple[int, ...]] = {
            "weight_ih": (width, I), "bias": (width,), "weight_hh": (width, H), "bias_hn": (H,),
            "weight_ci": peephole, "weight_cf": peephole, "weight_co": peephole,
        }  # fmt: skip
        return {
            **weights, **{f"d_{name}": shape for name, shape in weights.items()},
            "x": inputs, "d_x": inputs, "table": (rows, width), "gates": (T, B, width), "keep_h": sequence,
            "keep_c": sequence, "h": states, "c": states, "extra": sequence, "d_outputs": sequence, "d_h": state,
            "d_c": state,
        }  # fmt: skip

    def _index(self, T: int, B: int) -> tuple[int | None, int]:
        """Where it lies, and the number of rows that it may name."""
        x = self.arrays.get("x")
        if self.index is None or x is None:
            return None, 0
        good = self.index.dtype == np.int32 and self.index.shape == (T, B) and self.index.flags.c_contiguous
        if not good or self.index.min() < 0 or self.index.max() >= len(x):
            found = f"{self.index.dtype} {self.index.shape}, {self.index.min()} to {self.index.max()}"
            raise NativeError(f"index is {found}; expected int32 ({T}, {B}), 0 to {len(x) - 1}")
        return self.index.ctypes.data, len(x)

    def _lengths(self, T: int, B: int) -> int | None:
        if self.lengths is None:
            return None
        good = self.lengths.dtype == np.int32 and self.lengths.shape == (B,) and self.lengths.flags.c_contiguous
        if not good or self.lengths.min() < 1 or self.lengths.max() > T:
            raise NativeError(f"lengths is {self.lengths.dtype} {self.lengths.shape}; expected int32 ({B},), 1 to {T}")
        return self.lengths.ctypes.data


def has_extra(cell: str) -> bool:
    """Whether a layer of this cell keeps the array ``extra``."""
    return "gru" in cell or "peephole" in cell


def _needed(layer: Layer, *, backward: bool) -> list[str]:
    kind = find(layer.cell, layer.activation)
    weights = ["weight_hh", *kind.extra]
    names = [*weights, *kind.parts]
    names += ["extra"] * has_extra(layer.cell)
    inputs = ["x", "weight_ih", "bias", *(["table"] if layer.index is not None else [])]
    if backward:
        names += [*inputs, "d_outputs", *(f"d_{name}" for name in (*kind.parts, *inputs[1:3], *weights))]
    elif layer.arrays.get("x") is not None:
        names += inputs
    return names


def recurrent_forward(layers: Sequence[Layer], threads: int) -> None:
    """Run layers that do not depend on each other, all at once; see core.h. Raises NativeError on a wrong array."""
    _recurrent("forward", layers, threads)


def recurrent_backward(layers: Sequence[Layer], threads: int) -> None:
    """Their gradients; see core.h. Raises NativeError on a wrong array."""
    _recurrent("backward", layers, threads)


def _recurrent(direction: str, layers: Sequence[Layer], threads: int) -> None:
    packed = [layer.pack(_needed(layer, backward=direction == "backward")) for layer in layers]
    call = getattr(core(), f"ost_recurrent_{direction}")
    check(call((_Layer * len(packed))(*packed), len(packed), max(1, threads)))
