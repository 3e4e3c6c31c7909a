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
from ostinato.types import Floats, Ids, Sampling, State, Written


class CompiledEngine(Engine):
    """``Engine`` in the core, with ``write`` (``ostinato.types.WritingModel``)."""

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per stream, ``ids (B,)``; give the scores ``(B, V)`` of the next and the new state."""
        check_ids(ids, self.vocab_size)
        rows = self._rows(state)
        if len(rows) != len(ids):
            raise ConfigError(f"the state is of {len(rows)} streams; expected one for each of the {len(ids)} ids")
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
            threads=native.threads(),
        )  # fmt: skip

    @cached_property
    def _ends(self) -> list[int]:
        """Where each part of a state ends in a row of the core, but the last."""
        return list(np.cumsum([self.state_widths[name] for name in self._names])[:-1])

    def _rows(self, state: State) -> Floats:
        self._check_state(state)
        return np.concatenate([state.arrays[name] for name in self._names], axis=1)

    def _state(self, rows: Floats) -> State:
        return State(dict(zip(self._names, np.split(rows, self._ends, axis=1), strict=True)))


def make_engine(model: ModelConfig, tensors: Mapping[str, Floats], boundary_id: int) -> Engine:
    """The fastest engine there is for a model that reads forward; arguments and errors as ``Engine``."""
    return (CompiledEngine if native.available() else Engine)(model, tensors, boundary_id)
