"""The composer in numpy: steps of music are scored or drawn, one after the other, from a state of constant size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures.composer import KEYS, ComposerConfig
from ostinato.data.rolls import SILENT, Roll, melody_of
from ostinato.engine.stack import Layers, linear
from ostinato.errors import ConfigError
from ostinato.types import Floats, Ids, State

STEPS = 256
"""Of a piece that are scored at once."""


class ComposerEngine:
    """Runs a composer. A state holds what the layers remember and ``keys (B, K)``, the last step, not yet read.

    That step is read together with the melody of the next, where the model is given one.
    """

    def __init__(self, model: ComposerConfig, tensors: Mapping[str, Floats]) -> None:
        """``tensors`` as in a bundle, float32."""
        self.model, self._tensors = model, tensors
        self._stack = Layers(model.layers, tensors, "stack.")
        self._ahead = Layers(model.layers, tensors, "melody_stack.") if model.melody == "whole" else None
        self._names = self._stack.state_names()

    def start(self, batch: int = 1) -> State:
        """The state before a piece, for ``batch`` pieces: nothing has sounded."""
        zeros = dict(zip(self._names, self._stack.zero(batch), strict=True))
        return State({**zeros, "keys": np.zeros((batch, KEYS), np.float32)})

    def hear(self, roll: Roll, state: State) -> State:
        """The state after steps ``(T, B, K)`` of pieces that go on from ``state``."""
        if len(roll) == 0:
            return state
        return self._read(roll, state, self._given(roll))[1]

    def nats(self, roll: Roll, state: State) -> tuple[NDArray[np.float64], State]:
        """``-log p`` of each step ``(T, B)`` of ``roll (T, B, K)``, and the state after.

        Of all keys, or of those below the melody where the model is given one, which is taken from the roll. A melody
        that is given as a whole ends with it.
        """
        T, B, _ = roll.shape
        melody, each = self._given(roll), np.zeros((T, B))
        ahead = None if melody is None else self.look_ahead(melody)
        for t in range(0, T, STEPS):
            part = slice(t, t + STEPS)
            h, after = self._read(roll[part], state, None if melody is None else melody[part])
            readout = h if ahead is None else np.concatenate([h, ahead[part]], axis=-1)
            each[part] = self._scored(readout.reshape(-1, readout.shape[-1]), roll[part].reshape(-1, KEYS)).reshape(
                -1, B
            )
            state = after
        return each, state

    def compose(
        self,
        uniforms: NDArray[np.float64],
        state: State,
        temperature: float = 1.0,
        melody: Ids | None = None,
    ) -> tuple[Roll, State]:
        """Draw steps ``(T, B, K)`` with ``uniforms (T, B, K)`` in [0, 1), and give the state after.

        ``melody (T, B)`` holds the highest key of each step, SILENT where nothing sounds, for a model that is given one
        (ConfigError unless it is there then, and only then). At ``temperature`` 0 a key sounds when that is likelier.
        """
        if (melody is None) != (self.model.melody == "none"):
            wanted = "no melody" if melody is not None else "a melody"
            raise ConfigError(f"the model was trained with melody {self.model.melody}: it takes {wanted}")
        T, B, _ = uniforms.shape
        _check_batch(state, B)
        roll = np.zeros((T, B, KEYS), bool)
        ahead = None if melody is None else self.look_ahead(melody)
        for t in range(T):
            given = None if melody is None else melody[t : t + 1]
            h, states = self._advance(state, given)
            readout = h if ahead is None else np.concatenate([h, ahead[t]], axis=-1)
            roll[t] = self.draw(readout, uniforms[t], temperature, None if melody is None else melody[t])
            state = State({**states, "keys": roll[t].astype(np.float32)})
        return roll, state

    def look_ahead(self, melody: Ids) -> Floats:
        """What the layers that read the melody ``(T, B)`` from its end say of each step, ``(T, B, R)``; nothing, 0
        wide, where the model has none."""
        if self._ahead is None or melody.size == 0:
            return np.zeros((*melody.shape, 0 if self._ahead is None else self.model.layers.readout), np.float32)
        x = self._embedded(melody[::-1])
        outputs, _ = self._ahead.read(x, self._ahead.zero(melody.shape[1]))
        return outputs[::-1]

    # Reading

    def _given(self, roll: Roll) -> Ids | None:
        return None if self.model.melody == "none" else melody_of(roll)

    def _embedded(self, melody: Ids) -> Floats:
        rows = self._tensors["melody_embedding.weight"][np.maximum(melody, 0)]
        return np.where((melody == SILENT)[..., None], np.float32(0.0), rows)

    def _advance(self, state: State, melody: Ids | None) -> tuple[Floats, dict[str, Floats]]:
        """Read the last step of ``state``: the output ``(B, R)``, and what the layers remember."""
        h, parts = self._through(state.arrays["keys"][None], state, melody)
        return h[0], parts

    def _read(self, roll: Roll, state: State, melody: Ids | None) -> tuple[Floats, State]:
        """The outputs of the layers before each step of ``roll (T, B, K)``, at least one, and the state after."""
        _check_batch(state, roll.shape[1])
        before = np.concatenate([state.arrays["keys"][None], roll[:-1].astype(np.float32)])
        h, parts = self._through(before, state, melody)
        return h, State({**parts, "keys": roll[-1].astype(np.float32)})

    def _through(self, keys: Floats, state: State, melody: Ids | None) -> tuple[Floats, dict[str, Floats]]:
        """``keys (T, B, K)`` through the layers, from ``state``."""
        x = keys @ self._tensors["embedding.weight"]
        if melody is not None:
            x = x + self._embedded(melody)
        h, states = self._stack.read(x, tuple(state.arrays[name] for name in self._names))
        return h, dict(zip(self._names, states, strict=True))

    # The output

    def draw(self, readout: Floats, uniforms: NDArray[np.float64], temperature: float, melody: Ids | None) -> Roll:
        """The keys ``(B, K)`` of a step from readouts ``(B, R)``: from the highest down, below the melody ``(B,)``.

        A key is decided by its own number of ``uniforms (B, K)``, when all keys above it are known.
        """
        B = len(readout)
        sounding, open_below, rows = np.zeros((B, KEYS), bool), np.full(B, KEYS), np.arange(B)
        if melody is not None:
            sounding[rows[melody >= 0], melody[melody >= 0]] = True
            open_below = np.maximum(melody, 0)  # below silence nothing sounds
        base = linear(readout, self._tensors["output.weight"], self._tensors["output.bias"])
        if self.model.output == "bernoulli":
            free = np.arange(KEYS) < open_below[:, None]
            return sounding | (free & _sounds(base, uniforms, temperature))
        above = self._tensors["chain.above"]
        a = linear(readout, self._tensors["chain.weight"], self._tensors["chain.bias"]) + sounding @ above
        while open_below.any():
            logits = base + np.tanh(a) @ self._tensors["chain.output"].T
            free = np.arange(KEYS) < open_below[:, None]
            following = melody_of(free & _sounds(logits, uniforms, temperature))
            found = following != SILENT
            sounding[rows[found], following[found]] = True
            a[found] += above[following[found]]
            open_below = np.maximum(following, 0)
        return sounding

    def _scored(self, readout: Floats, keys: Roll) -> NDArray[np.float64]:
        """``-log p`` of the ``keys (N, K)`` of steps with ``readout (N, R)``, of those below the melody if given."""
        logits = linear(readout, self._tensors["output.weight"], self._tensors["output.bias"])
        passed = keys[:, ::-1].cumsum(axis=1)[:, ::-1] - keys  # keys above each that sound
        if self.model.output == "chain":
            logits = logits + self._chained(readout, keys, passed)
        nats = np.logaddexp(0.0, np.where(keys, -logits, logits).astype(np.float64))
        if self.model.melody != "none":
            nats = nats * (passed > 0)
        summed: NDArray[np.float64] = nats.sum(axis=1)
        return summed

    def _chained(self, readout: Floats, keys: Roll, passed: NDArray[np.integer]) -> Floats:
        """What the chain adds, ``(N, K)``; see ``ostinato.nn.chain``."""
        found = np.zeros(keys.shape, np.float32)
        a = linear(readout, self._tensors["chain.weight"], self._tensors["chain.bias"])
        for count in range(int(passed.max(initial=0)) + 1):
            scores = np.tanh(a) @ self._tensors["chain.output"].T
            found = np.where(passed == count, scores, found)
            # The key that comes next from above, where there is one.
            following = keys & (passed == count)
            a = a + following.astype(np.float32) @ self._tensors["chain.above"]
        return found


def _check_batch(state: State, batch: int) -> None:
    if state.batch != batch:
        raise ConfigError(f"the state is of {state.batch} pieces; expected one for each of {batch}")


def _sounds(logits: NDArray[np.floating], uniforms: NDArray[np.float64], temperature: float) -> Roll:
    """Whether each key sounds, at a logit and a number in [0, 1)."""
    if temperature == 0.0:
        return logits > 0.0
    # u < 1 / (1 + exp(-x)), without an exponential that overflows
    with np.errstate(divide="ignore"):
        threshold = np.log(uniforms) - np.log1p(-uniforms)
    return threshold * temperature < logits
