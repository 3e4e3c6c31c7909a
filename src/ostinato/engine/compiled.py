"""The engine on the native core: one call for many tokens, prepacked weights. Without a core numpy does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ostinato.config import ModelConfig
from ostinato.engine.engine import Engine
from ostinato.engine.stack import check_ids
from ostinato.errors import ConfigError
from ostinato.kernels import native
from ostinato.quantise import dequantise, quantise, row_scales
from ostinato.types import Floats, Ids, Sampling, State, Written


class CompiledEngine(Engine):
    """``Engine`` in the core, with ``write`` (``ostinato.types.WritingModel``)."""

    _int8 = False

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per stream, ``ids (B,)``; give the scores ``(B, V)`` of the next and the new state."""
        check_ids(ids, self.vocab_size)
        rows = self._rows_for(state, len(ids))
        logits = self._native.read(np.ascontiguousarray(ids, np.int64), rows, native.threads())
        assert logits is not None
        return logits, self._state(rows)

    def write(self, state: State, uniforms: NDArray[np.float64], how: Sampling, banned: Sequence[int] = ()) -> Written:
        """Go on from ``state`` for as many tokens as ``uniforms (steps, B)``, in [0, 1), has rows."""
        made = self._native.write(self._rows(state), uniforms, how, native.threads(), banned)
        return Written(made.ids, made.logprobs, lambda step: self._state(made.states[step]))

    @cached_property
    def _native(self) -> native.NativeEngine:
        """Made at the first step: reading and scoring a text need no packed weights."""
        model = self.model
        layers = [native.LayerWeights(dict(layer.weights), layer.norm) for layer in self._stack.layers]
        return native.NativeEngine(
            model.cell, model.activation, layers, self._tensors["embedding.weight"], self._output.weight,
            self._output.bias, keep=model.zoneout, residual=model.residual, skip_output=model.skip_output,
            int8=self._int8, threads=native.threads(),
        )  # fmt: skip

    @cached_property
    def _ends(self) -> list[int]:
        """Where each part of a state ends in a row of the core, but the last."""
        return list(np.cumsum([self.state_widths[name] for name in self._names])[:-1])

    def _rows(self, state: State) -> Floats:
        self._check_state(state)
        return np.concatenate([state.arrays[name] for name in self._names], axis=1)

    def _rows_for(self, state: State, batch: int) -> Floats:
        rows = self._rows(state)
        if len(rows) != batch:
            raise ConfigError(f"the state is of {len(rows)} streams; expected one for each of the {batch} ids")
        return rows

    def _state(self, rows: Floats) -> State:
        return State(dict(zip(self._names, np.split(rows, self._ends, axis=1), strict=True)))


class EightBitEngine(CompiledEngine):
    """``CompiledEngine`` with products in eight bits.

    It reads token by token as it writes, in the same arithmetic, so that what a text costs when it is scored is what
    writing it says. Its tensors should be those of a folder in eight bits: others are rounded in the core.
    """

    _int8 = True

    def start(self, batch: int = 1) -> State:
        """The state at the beginning of a text, for ``batch`` streams: it has read the boundary token."""
        rows = np.zeros((batch, sum(self.state_widths.values())), np.float32)
        self._native.read(np.full(batch, self._boundary_id, np.int64), rows, native.threads(), scores=False)
        return self._state(rows)

    def logits(self, state: State) -> Floats:
        """Scores ``(B, V)`` of the next token, before the softmax; up to rounding those that ``step`` gave."""
        readout = state.arrays["readout"]
        scales = row_scales(readout)
        return self._output(dequantise(quantise(readout, scales), scales))

    def run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read ``ids (T, B)``; give the scores ``(T, B, V)`` of the token after each and the last state."""
        logits = np.empty((*ids.shape, self.vocab_size), np.float32)
        return logits, self._read(ids, state, logits)

    def read(self, ids: Ids, state: State) -> State:
        """The state after ``ids (T, B)``: ``run`` without the scores, for a long prompt."""
        return self._read(ids, state, None)

    def _read(self, ids: Ids, state: State, logits: Floats | None) -> State:
        check_ids(ids, self.vocab_size)
        rows = self._rows_for(state, ids.shape[1])
        for t, step in enumerate(np.ascontiguousarray(ids, np.int64)):
            scores = self._native.read(step, rows, native.threads(), scores=logits is not None)
            if logits is not None:
                logits[t] = scores
        return self._state(rows)


def make_engine(model: ModelConfig, tensors: Mapping[str, Floats], boundary_id: int, *, int8: bool = False) -> Engine:
    """The fastest engine there is for a model that reads forward; arguments and errors as ``Engine``.

    With ``int8`` the core's products are in eight bits; without a core that changes nothing.
    """
    if not native.available():
        return Engine(model, tensors, boundary_id)
    return (EightBitEngine if int8 else CompiledEngine)(model, tensors, boundary_id)
