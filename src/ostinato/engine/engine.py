"""The engine: a trained language model in numpy. Implements ``ostinato.types.RecurrentModel``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ostinato.config import ModelConfig
from ostinato.engine.stack import Stack, States, check_ids, linear
from ostinato.errors import BundleError, ConfigError
from ostinato.types import Floats, Ids, State

ROWS = 1024
"""Steps times streams that ``run`` takes at once: enough for one big product, little enough to stay in the cache."""


class Output:
    """The output layer: from a readout to the scores of the next token."""

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        self.weight = tensors.get("output.weight", tensors["embedding.weight"])
        self.bias = tensors["output.bias"]

    def __call__(self, readout: Floats, out: Floats | None = None) -> Floats:
        """Scores ``(..., V)`` of readouts ``(..., R)``, in memory of its own or in ``out``, which has no gaps."""
        logits = np.empty((*readout.shape[:-1], len(self.bias)), np.float32) if out is None else out
        linear(readout.reshape(-1, readout.shape[-1]), self.weight, self.bias, logits.reshape(-1, len(self.bias)))
        return logits


class Engine:
    """Runs a language model that reads from left to right. Its states are values; it keeps none itself."""

    def __init__(self, model: ModelConfig, tensors: Mapping[str, Floats], boundary_id: int) -> None:
        """``tensors`` as in a bundle, float32; ``boundary_id`` is the tokenizer's, which every text begins after.

        Raises ConfigError for a bidirectional model and BundleError when the boundary is not a token of the model.
        """
        if model.bidirectional:
            raise ConfigError("the model reads in both directions; expected one that reads forward (it can fill gaps)")
        check_boundary(model, boundary_id)
        self.model = model
        self._tensors = tensors
        self._boundary_id = boundary_id
        self._stack = Stack(model, tensors)
        self._output = Output(tensors)
        self._names = (*self._stack.state_names(), "readout")

    @property
    def vocab_size(self) -> int:
        """Number of tokens, V."""
        return self.model.vocab

    @cached_property
    def fingerprint(self) -> str:
        """A digest of configuration and weights: a state belongs to one model only."""
        digest = hashlib.blake2b(repr(self.model).encode(), digest_size=16)
        for name in sorted(self._tensors):
            digest.update(np.ascontiguousarray(self._tensors[name]).data)
        return digest.hexdigest()

    @property
    def state_widths(self) -> dict[str, int]:
        """The width of every array of a state, by name."""
        widths = (*(part.shape[1] for part in self._stack.zero(1)), self.model.readout)
        return dict(zip(self._names, widths, strict=True))

    def start(self, batch: int = 1) -> State:
        """The state at the beginning of a text, for ``batch`` streams: it has read the boundary token."""
        ids = np.full(batch, self._boundary_id, np.int64)
        return self._pack(*self._stack.step(ids, self._stack.zero(batch)))

    def logits(self, state: State) -> Floats:
        """Scores ``(B, V)`` of the next token, before the softmax."""
        return self._output(state.arrays["readout"])

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per stream, ``ids (B,)``; give the scores ``(B, V)`` of the next and the new state."""
        check_ids(ids, self.vocab_size)
        readout, states = self._stack.step(ids, self._unpack(state, len(ids)))
        return self._output(readout), self._pack(readout, states)

    def run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read ``ids (T, B)``; give the scores ``(T, B, V)`` of the token after each and the last state."""
        T, B = ids.shape
        check_ids(ids, self.vocab_size)
        states = self._unpack(state, B)
        if T == 0:
            return np.empty((0, B, self.vocab_size), np.float32), state
        logits = np.empty((T, B, self.vocab_size), np.float32)
        steps = max(1, ROWS // B)
        for t in range(0, T, steps):
            readout, states = self._stack.run(ids[t : t + steps], states)
            self._output(readout, logits[t : t + steps])
        return logits, self._pack(readout[-1], states)

    def read(self, ids: Ids, state: State) -> State:
        """The state after ``ids (T, B)``: ``run`` without the scores, for a long prompt."""
        T, B = ids.shape
        check_ids(ids, self.vocab_size)
        states = self._unpack(state, B)
        if T == 0:
            return state
        steps = max(1, ROWS // B)
        for t in range(0, T, steps):
            readout, states = self._stack.run(ids[t : t + steps], states)
        return self._pack(readout[-1], states)

    def _pack(self, readout: Floats, states: States) -> State:
        return State(dict(zip(self._names, (*states, readout), strict=True)))

    def _check_state(self, state: State) -> None:
        if state.arrays.keys() != set(self._names):
            raise ConfigError(f"the state holds {', '.join(state.arrays)}; expected {', '.join(self._names)}")

    def _unpack(self, state: State, batch: int) -> States:
        self._check_state(state)
        if state.batch != batch:
            raise ConfigError(f"the state is of {state.batch} streams; expected one for each of the {batch} ids")
        return tuple(state.arrays[name] for name in self._names[:-1])


def check_boundary(model: ModelConfig, boundary_id: int) -> None:
    """Raise BundleError unless the boundary is a token of the model."""
    if not 0 <= boundary_id < model.vocab:
        raise BundleError(
            f"the tokenizer's boundary token is {boundary_id}, the model has tokens 0 to {model.vocab - 1}; "
            "the tokenizer is not the one of this model"
        )
