"""The output layer's loss and the optimiser's step by the core: see native/include/ostinato/core.h."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import NativeError
from ostinato.kernels.native.library import Array, address, check, core

_POINTER = ctypes.c_void_p


class _Output(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("N", "V", "R")),
        *((name, _POINTER) for name in ("x", "weight", "bias", "targets", "nats")),
        ("scale", ctypes.c_float),
        *((name, _POINTER) for name in ("d_x", "d_weight", "d_bias")),
    ]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_int64),
        *((name, _POINTER) for name in ("weights", "gradient", "first", "second", "average")),
        ("decay", ctypes.c_float),
    ]


class _Update(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_int32),
        ("tensors", ctypes.POINTER(_Tensor)),
        ("step", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("rate", "beta1", "beta2", "epsilon", "clip", "clip_value", "keep")),
        ("norms", ctypes.c_double * 2),
    ]


@dataclass(frozen=True)
class OutputGradients:
    """Where the gradients of ``scale`` times the sum of nats go."""

    d_x: Array
    d_weight: Array
    d_bias: Array
    scale: float = 1.0


def cross_entropy(
    x: Array,
    weight: Array,
    bias: Array | None,
    targets: NDArray[np.int64],
    threads: int,
    gradients: OutputGradients | None = None,
) -> Array:
    """``-log p`` of each of ``targets (N,)`` under ``softmax(x W^T + b)``: ``x (N, R)``, ``weight (V, R)``.

    Raises NativeError on a wrong array.
    """
    (N, R), V = x.shape, len(weight)
    if targets.dtype != np.int64 or targets.shape != (N,) or not targets.flags.c_contiguous:
        raise NativeError(f"targets is {targets.dtype} {targets.shape}; expected int64 ({N},)")
    if N and (targets.min() < 0 or targets.max() >= V):
        raise NativeError(f"targets from {targets.min()} to {targets.max()}; expected 0 to {V - 1}")
    nats = np.empty(N, np.float32)
    if N == 0:
        return nats
    wanted = (None, None, None) if gradients is None else (gradients.d_x, gradients.d_weight, gradients.d_bias)
    shapes = (("d_x", (N, R)), ("d_weight", (V, R)), ("d_bias", (V,)))
    output = _Output(
        N, V, R, address("x", x, (N, R)), address("weight", weight, (V, R)), address("bias", bias, (V,)),
        targets.ctypes.data, nats.ctypes.data, 1.0 if gradients is None else gradients.scale,
        *(address(name, array, shape) for array, (name, shape) in zip(wanted, shapes, strict=True)),
    )  # fmt: skip
    check(core().ost_cross_entropy(ctypes.byref(output), max(1, threads)))
    return nats


@dataclass(frozen=True)
class Trained:
    """A tensor that is trained, with what AdamW remembers of it."""

    weights: Array
    gradient: Array
    first: Array
    second: Array
    average: Array | None
    decay: float


@dataclass(frozen=True)
class AdamW:
    """A step of Loshchilov and Hutter (2019), its gradients clipped first: see ``ost_update``."""

    step: int
    rate: float
    betas: tuple[float, float]
    epsilon: float
    clip: float
    clip_value: float
    keep: float
    """The share of the average of the weights that stays."""


def update(tensors: Sequence[Trained], how: AdamW, threads: int) -> tuple[float, float]:
    """Take the step; give the norm of all gradients before clipping and after. Nothing changes when it is not finite.

    Raises NativeError on a wrong array.
    """
    packed = (_Tensor * len(tensors))(*map(_packed, tensors))
    call = _Update(
        len(tensors), packed, how.step, how.rate, *how.betas, how.epsilon, how.clip, how.clip_value, how.keep
    )
    check(core().ost_step(ctypes.byref(call), max(1, threads)))
    return call.norms[0], call.norms[1]


def _packed(t: Trained) -> _Tensor:
    shape = t.weights.shape
    names = ("weights", "gradient", "first", "second", "average")
    return _Tensor(t.weights.size, *(address(name, getattr(t, name), shape) for name in names), t.decay)
