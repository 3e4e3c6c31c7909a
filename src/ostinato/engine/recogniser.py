"""Runs a recogniser without torch: the spectrum of a sound in, scores of what is said in each step out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ostinato.architectures.recogniser import RecogniserConfig
from ostinato.data.spectra import LogMel
from ostinato.engine.encoder import Encoder
from ostinato.engine.engine import check_boundary
from ostinato.engine.stack import Layers, linear
from ostinato.errors import ConfigError
from ostinato.types import Floats, State

STEPS = 1024
"""Steps of a long sound that go through a stack at once."""


class RecogniserEngine:
    """Scores the steps of a sound; one that reads forward only does so while the sound still comes."""

    def __init__(self, model: RecogniserConfig, tensors: Mapping[str, Floats], blank: int) -> None:
        """``tensors`` as in a bundle, float32. Raises BundleError when the blank is not a token of the model."""
        check_boundary(model.layers, blank)
        self.model, self.blank = model, blank
        self.spectrum = LogMel(model.sample_rate, model.mels, model.stack)
        self._tensors = tensors
        self._encoder = Encoder(model.layers, tensors) if model.reader == "encoder" else None
        self._stack = Layers(model.layers, tensors, "stack.") if model.reader == "stack" else None

    def logits(self, steps: Floats) -> Floats:
        """Scores ``(T, V)``, before the softmax, of the ``steps (T, E)`` of a whole sound.

        Memory grows with its length: by the outputs of two layers where it is read in both directions, else by the
        scores alone.
        """
        if self._encoder is None:
            return self.read(steps, self.start())[0]
        if len(steps) == 0:
            return np.zeros((0, self.model.layers.vocab), np.float32)
        y, _ = self._encoder.read(self._standard(steps)[:, None], np.array([len(steps)]))
        return self._scores(y[:, 0])

    def start(self) -> State:
        """The state that has heard nothing. Raises ConfigError on a model that reads in both directions."""
        stack = self._forward()
        return State(dict(zip(stack.state_names(), stack.zero(1), strict=True)))

    def read(self, steps: Floats, state: State) -> tuple[Floats, State]:
        """Go on with ``steps (T, E)``: scores ``(T, V)`` and the new state."""
        stack = self._forward()
        parts = tuple(state.arrays[name] for name in stack.state_names())
        found = [np.zeros((0, self.model.layers.vocab), np.float32)]
        for t in range(0, len(steps), STEPS):
            y, parts = stack.read(self._standard(steps[t : t + STEPS])[:, None], parts)
            found.append(self._scores(y[:, 0]))
        return np.concatenate(found), State(dict(zip(stack.state_names(), parts, strict=True)))

    def _forward(self) -> Layers:
        if self._stack is None:
            raise ConfigError(
                "the model reads sounds in both directions, so it has to hear the end first; to stream, train one with "
                "--no-bidirectional"
            )
        return self._stack

    def _standard(self, steps: Floats) -> Floats:
        """Bands of mean 0 and variance 1."""
        frames = steps.reshape(len(steps), self.model.stack, self.model.mels)
        standard: Floats = ((frames - self._tensors["input.mean"]) * self._tensors["input.scale"]).astype(np.float32)
        return standard.reshape(len(steps), -1)

    def _scores(self, y: Floats) -> Floats:
        return linear(np.ascontiguousarray(y), self._tensors["output.weight"], self._tensors["output.bias"])
