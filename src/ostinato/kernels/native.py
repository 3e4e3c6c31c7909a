"""The C core by ctypes: numpy arrays in, numpy arrays filled. Its contract is native/include/ostinato/core.h.

Everything here checks what it passes on: the core itself checks nothing. ``available()`` says whether there is a core;
without one the rest of this module raises ``NativeError``, and the package goes on with numpy and torch.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError, NativeError
from ostinato.kernels.reference import ACTIVATIONS, find

Array: TypeAlias = NDArray[np.float32]

VERSION = 1
_ORDER = (*(f"rnn {name}" for name in ACTIVATIONS), "gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal")
_CELLS = {name: number for number, name in enumerate(_ORDER)}
_FUNCTIONS = {"exp": 0, "tanh": 1, "sigmoid": 2}
_ROWS = ctypes.c_void_p


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "T", "B", "H")),
        *((name, _ROWS) for name in ("weight_hh", "bias_hn", "weight_ci", "weight_cf", "weight_co")),
        *((name, _ROWS) for name in ("lengths", "keep_h", "keep_c", "gates", "h", "c", "extra")),
        *((name, _ROWS) for name in ("d_outputs", "d_h", "d_c", "d_gates", "d_extra")),
    ]


class _Product(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("M", "N", "K")),
        ("a", _ROWS),
        ("a_row", ctypes.c_int64),
        ("a_k", ctypes.c_int64),
        ("b", _ROWS),
        ("b_k", ctypes.c_int64),
        ("b_column", ctypes.c_int64),
        ("c", _ROWS),
        ("c_row", ctypes.c_int64),
        ("bias", _ROWS),
        ("add", ctypes.c_int32),
    ]


@lru_cache(maxsize=1)
def _load() -> ctypes.CDLL | None:
    """The library next to this file, or None: not built, or built from another version of its interface."""
    place = files("ostinato.kernels").joinpath("libostinato_core.so")
    try:
        library = ctypes.CDLL(str(place))
    except OSError:
        return None
    if library.ost_version() != VERSION:
        return None
    library.ost_isas.restype = library.ost_isa.restype = ctypes.c_char_p
    library.ost_use_isa.argtypes = [ctypes.c_char_p]
    library.ost_recurrent_forward.argtypes = [ctypes.POINTER(_Layer), ctypes.c_int32, ctypes.c_int32]
    library.ost_recurrent_backward.argtypes = [ctypes.POINTER(_Layer), ctypes.c_int32, ctypes.c_int32]
    library.ost_multiply.argtypes = [ctypes.POINTER(_Product), ctypes.c_int32]
    library.ost_apply.argtypes = [ctypes.c_int32, ctypes.c_int64, _ROWS, _ROWS]
    library.ost_apply.restype = None
    wanted = os.environ.get("OSTINATO_ISA")
    if wanted and library.ost_use_isa(wanted.encode()) != 0:
        known = library.ost_isas().decode().replace(" ", ", ")
        raise ConfigError(f"OSTINATO_ISA is {wanted!r}; this machine has {known}")
    return library


def available() -> bool:
    """Whether there is a core. Raises ConfigError when OSTINATO_ISA names an instruction set that is not there."""
    return _load() is not None


def _core() -> ctypes.CDLL:
    library = _load()
    if library is None:
        raise NativeError("the native core is not built; see `ostinato doctor`")
    return library


def instruction_sets() -> tuple[str, ...]:
    """Those of this build that this machine can run, the best last."""
    return tuple(_core().ost_isas().decode().split())


def instruction_set() -> str:
    """The one in use: the best, or the one that OSTINATO_ISA names."""
    return str(_core().ost_isa().decode())


def use_instruction_set(name: str) -> None:
    """Use this one from now on. Raises ConfigError when it is not one of ``instruction_sets``."""
    if _core().ost_use_isa(name.encode()) != 0:
        raise ConfigError(f"no instruction set {name!r} here; expected one of {', '.join(instruction_sets())}")


def _address(name: str, array: Array | None, shape: tuple[int, ...]) -> int | None:
    """Where ``array`` lies, if it is what the core takes: float32, this shape, no gaps. None stays None."""
    if array is None:
        return None
    if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
        gaps = "" if array.flags.c_contiguous else " with gaps"
        raise NativeError(f"{name} is {array.dtype} {array.shape}{gaps}; expected float32 {shape} without gaps")
    return array.ctypes.data


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
        arrays = {name: _address(name, getattr(self, name), shape) for name, shape in shapes.items()}
        name = f"rnn {self.activation}" if self.cell == "rnn" else self.cell
        return _Layer(_CELLS[name], T, B, H, lengths=self._lengths(T, B), **arrays)

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
    core = _core()
    packed = [layer.pack(_needed(layer.cell, layer.activation, backward=direction == "backward")) for layer in layers]
    call = getattr(core, f"ost_recurrent_{direction}")
    _check(call((_Layer * len(packed))(*packed), len(packed), max(1, threads)))


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
        _address("bias", bias, (N,)), add,
    )  # fmt: skip
    _check(_core().ost_multiply(ctypes.byref(product), max(1, threads)))
    return out


def _check(status: int) -> None:
    if status != 0:
        raise MemoryError("no memory for the native core to work in")


def apply(function: str, x: Array) -> Array:
    """``exp``, ``tanh`` or ``sigmoid`` of each element, as the kernels compute it."""
    x = np.ascontiguousarray(x, np.float32)
    y = np.empty_like(x)
    _core().ost_apply(_FUNCTIONS[function], x.size, x.ctypes.data, y.ctypes.data)
    return y
