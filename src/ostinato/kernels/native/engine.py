"""A trained model in the core, which reads and writes: see ``ost_engine`` in native/include/ostinato/core.h."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import NativeError
from ostinato.kernels.native.library import Array, address, check, core
from ostinato.kernels.native.sequences import cell_number
from ostinato.kernels.reference import find, weight_shapes
from ostinato.types import Sampling

_POINTER = ctypes.c_void_p
_WEIGHTS = ("weight_ih", "bias", "weight_hh", "bias_hn", "weight_ci", "weight_cf", "weight_co")


class _ModelLayer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "I", "H")),
        *((name, _POINTER) for name in (*_WEIGHTS, "norm_weight", "norm_bias")),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("V", "E", "R", "layers")),
        ("layer", ctypes.POINTER(_ModelLayer)),
        *((name, _POINTER) for name in ("embedding", "output_weight", "output_bias")),
        ("keep", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("residual", "skip_output", "int8")),
    ]


class _Reading(ctypes.Structure):
    _fields_ = [("B", ctypes.c_int32), *((name, _POINTER) for name in ("ids", "states", "logits"))]


class _Writing(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("B", "steps")),
        *((name, _POINTER) for name in ("states", "uniforms")),
        *((name, ctypes.c_double) for name in ("temperature", "top_p", "min_p")),
        *((name, ctypes.c_int32) for name in ("top_k", "banned")),
        *((name, _POINTER) for name in ("bans", "ids", "logprobs", "history")),
    ]


@dataclass(frozen=True)
class LayerWeights:
    """One layer of a model: the weights of ``reference.weight_shapes``, and of the norm of its output, if any."""

    weights: dict[str, Array]
    norm: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Written:
    """What streams wrote: ``ids`` and ``logprobs (steps, B)``, and the state after each token ``(steps, B, S)``."""

    ids: NDArray[np.int64]
    logprobs: Array
    states: Array


class NativeEngine:
    """Packed weights, and what runs on them. A stream's state is a row of ``state_width`` floats: S."""

    def __init__(
        self,
        cell: str,
        activation: str,
        layers: Sequence[LayerWeights],
        embedding: Array,
        output_weight: Array,
        output_bias: Array,
        *,
        keep: float = 0.0,
        residual: bool = False,
        skip_output: bool = False,
        int8: bool = False,
        threads: int = 1,
    ) -> None:
        """Raises NativeError on a wrong array and MemoryError when the packed weights do not fit."""
        self.vocab, embed = embedding.shape
        widths = [layer.weights["weight_hh"].shape[1] for layer in layers]
        readout = sum(widths) if skip_output else widths[-1]
        inputs = [embed, *widths[:-1]]
        packed = [_layer(cell, activation, *each) for each in zip(layers, inputs, widths, strict=True)]
        model = _Model(
            self.vocab, embed, readout, len(layers), (_ModelLayer * len(layers))(*packed),
            address("embedding", embedding, (self.vocab, embed)),
            address("output_weight", output_weight, (self.vocab, readout)),
            address("output_bias", output_bias, (self.vocab,)),
            keep, residual, skip_output, int8,
        )  # fmt: skip
        self._kept = (layers, embedding, output_weight, output_bias)  # the core goes on reading some of them
        self._engine = core().ost_engine_new(ctypes.byref(model), max(1, threads))
        if not self._engine:
            raise MemoryError("no memory for the packed weights")
        weakref.finalize(self, core().ost_engine_free, self._engine)
        self.state_width = int(core().ost_engine_state_width(self._engine))
        self.nbytes = int(core().ost_engine_bytes(self._engine))

    def read(self, ids: NDArray[np.int64], states: Array, threads: int, *, scores: bool = True) -> Array | None:
        """Each stream reads a token of ``ids (B,)``: ``states (B, S)`` change in place; the new scores ``(B, V)``."""
        B = self._batch(states)
        self._check_ids(ids, B)
        logits = np.empty((B, self.vocab), np.float32) if scores else None
        reading = _Reading(B, ids.ctypes.data, states.ctypes.data, None if logits is None else logits.ctypes.data)
        check(core().ost_engine_read(self._engine, ctypes.byref(reading), max(1, threads)))
        return logits

    def write(
        self,
        states: Array,
        uniforms: NDArray[np.float64],
        how: Sampling,
        threads: int,
        banned: Sequence[int] = (),
    ) -> Written:
        """Each stream writes as many tokens as ``uniforms (steps, B)``, in [0, 1), has rows; never a ``banned`` one.

        ``states`` change in place.
        """
        B = self._batch(states)
        steps = len(uniforms)
        if uniforms.dtype != np.float64 or uniforms.shape != (steps, B) or not uniforms.flags.c_contiguous:
            raise NativeError(f"uniforms is {uniforms.dtype} {uniforms.shape}; expected float64 (steps, {B})")
        bans = np.unique(np.asarray(banned, np.int32))
        if len(bans) and (bans[0] < 0 or bans[-1] >= self.vocab or len(bans) == self.vocab):
            raise NativeError(f"banned are {len(bans)} tokens from {bans[0]} to {bans[-1]} of {self.vocab}")
        written = Written(
            np.empty((steps, B), np.int64),
            np.empty((steps, B), np.float32),
            np.empty((steps, B, self.state_width), np.float32),
        )
        writing = _Writing(
            B, steps, states.ctypes.data, uniforms.ctypes.data, how.temperature, how.top_p, how.min_p, how.top_k or 0,
            len(bans), bans.ctypes.data, written.ids.ctypes.data, written.logprobs.ctypes.data,
            written.states.ctypes.data,
        )  # fmt: skip
        check(core().ost_engine_write(self._engine, ctypes.byref(writing), max(1, threads)))
        return written

    def _batch(self, states: Array) -> int:
        address("states", states, (len(states), self.state_width))
        if len(states) == 0 or not states.flags.writeable:
            raise NativeError("states has no rows, or cannot be written")
        return len(states)

    def _check_ids(self, ids: NDArray[np.int64], B: int) -> None:
        if ids.dtype != np.int64 or ids.shape != (B,) or not ids.flags.c_contiguous:
            raise NativeError(f"ids is {ids.dtype} {ids.shape}; expected int64 ({B},)")
        if ids.min() < 0 or ids.max() >= self.vocab:
            raise NativeError(f"ids from {ids.min()} to {ids.max()}; expected 0 to {self.vocab - 1}")


def _layer(cell: str, activation: str, layer: LayerWeights, inputs: int, width: int) -> _ModelLayer:
    find(cell, activation)
    arrays: dict[str, Any] = {
        name: address(name, layer.weights[name], shape) for name, shape in weight_shapes(cell, inputs, width).items()
    }
    if layer.norm is not None:
        arrays |= {
            name: address(name, array, (width,))
            for name, array in zip(("norm_weight", "norm_bias"), layer.norm, strict=True)
        }
    return _ModelLayer(cell_number(cell, activation), inputs, width, **arrays)
