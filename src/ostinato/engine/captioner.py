"""The captioner in numpy: an image becomes a state, from which its caption is written or scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures.captioner import PADDING, CaptionerConfig, weight_scale
from ostinato.engine.attention import Attention
from ostinato.engine.convolution import convolve
from ostinato.engine.engine import Output, check_boundary
from ostinato.engine.stack import Stack, check_ids, linear
from ostinato.errors import ConfigError
from ostinato.types import Floats, Ids, State

Images = NDArray[np.uint8]
"""``(B, D, D, 3)``: red, green, blue."""

WORK = 1 << 20
"""Floats that attention works on at once: steps times captions times regions times width."""


def planes(images: Images) -> Floats:
    """What the first convolution reads, ``(B, D, D, 3)``; see ``ostinato.models.captioner.planes``."""
    return np.float32(2.0) - images.astype(np.float32) / np.float32(127.5)


class CaptionEngine:
    """Runs a captioner. Implements ``ostinato.types.StepModel``; a state begins from an image.

    A state holds the image as well: ``memory (B, S, M)``, and with attention ``keys (B, S, H)``, what every step
    would compute of it again.
    """

    def __init__(self, model: CaptionerConfig, tensors: Mapping[str, Floats], boundary_id: int) -> None:
        """``tensors`` as in a bundle, float32. Raises BundleError when the boundary is not a token of the model."""
        check_boundary(model.decoder, boundary_id)
        self.model = model
        self._tensors, self._boundary_id = tensors, boundary_id
        self._stack = Stack(model.decoder, tensors, "decoder.")
        self._attention = Attention(model.attention, tensors)
        self._output = Output(tensors)
        self._names = self._stack.state_names()

    @property
    def vocab_size(self) -> int:
        """Number of tokens, V."""
        return self.model.decoder.vocab

    def see(self, images: Images) -> Floats:
        """The regions ``(B, S, M)`` of ``images (B, D, D, 3)``. Raises ValueError on another shape."""
        B, D = len(images), self.model.size
        if images.shape != (B, D, D, 3) or images.dtype != np.uint8:
            raise ValueError(f"images are {images.dtype} of shape {images.shape}; expected uint8 (B, {D}, {D}, 3)")
        x = planes(np.full_like(images[:1], 255) if self.model.blind else images)
        for k, stride in enumerate(self.model.strides):
            weight, bias = (self._tensors[f"encoder.layers.{k}.{name}"] for name in ("weight", "bias"))
            weight = weight * np.float32(weight_scale(x.shape[3]))
            x = np.maximum(convolve(x, weight, bias, stride=stride, padding=PADDING), np.float32(0.0))
            x = self._normalised(k, x)
        memory = x.reshape(len(x), self.model.regions, self.model.memory)
        return np.broadcast_to(memory, (B, *memory.shape[1:]))

    def _normalised(self, k: int, x: Floats) -> Floats:
        """The maps ``x (B, Y, X, M)`` of convolution k, those of an image together (Ba et al. 2016)."""
        centred = x - x.mean(axis=(1, 2, 3), keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=(1, 2, 3), keepdims=True) + np.float32(1e-5))
        gain, offset = (self._tensors[f"encoder.norms.{k}.{name}"] for name in ("weight", "bias"))
        return cast(Floats, centred / spread * gain + offset)

    def start(self, memory: Floats) -> State:
        """The state at the beginning of a caption of each image, ``memory (B, S, M)``: it has read the boundary."""
        B = len(memory)
        state = np.tanh(linear(memory.mean(axis=1), self._tensors["bridge.weight"], self._tensors["bridge.bias"]))
        widths = [part.shape[1] for part in self._stack.zero(1)]
        parts = np.split(state, np.cumsum(widths)[:-1], axis=1)
        arrays: dict[str, Floats] = dict(zip(self._names, map(np.ascontiguousarray, parts), strict=True))
        arrays["memory"] = memory
        if self.model.attention != "none":
            arrays["keys"] = self._attention.keys(memory)
        return self._read(np.full((1, B), self._boundary_id, np.int64), arrays)[1]

    def logits(self, state: State) -> Floats:
        """Scores ``(B, V)`` of the next token, before the softmax."""
        return self._output(state.arrays["readout"])

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per caption, ``ids (B,)``; give the scores ``(B, V)`` of the next and the new state."""
        readout, state = self._read(ids[None], dict(state.arrays))
        return self._output(readout[0]), state

    def run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read ``ids (T, B)``; give the scores ``(T, B, V)`` of the token after each and the last state."""
        if len(ids) == 0:
            return np.empty((0, ids.shape[1], self.vocab_size), np.float32), state
        readout, state = self._read(ids, dict(state.arrays))
        return self._output(readout), state

    def _read(self, ids: Ids, arrays: dict[str, Any]) -> tuple[Floats, State]:
        """The readouts ``(T, B, E)`` after each of ``ids (T, B)``, at least one step, and the last state."""
        check_ids(ids, self.vocab_size)
        B = len(arrays["memory"])
        if ids.shape[1] != B:
            raise ConfigError(f"the state is of {B} images; expected one for each of the {ids.shape[1]} ids")
        h, states = self._stack.run(ids, tuple(arrays[name] for name in self._names))
        readout = self._readout(h, arrays)
        kept: dict[str, Floats] = {name: arrays[name] for name in ("memory", "keys") if name in arrays}
        return readout, State({**kept, **dict(zip(self._names, states, strict=True)), "readout": readout[-1]})

    def _readout(self, h: Floats, arrays: Mapping[str, Floats]) -> Floats:
        """``tanh(W [h ; context] + b)``, ``(T, B, E)``, of ``h (T, B, H)``."""
        T, B, _ = h.shape
        joined = np.concatenate([h, self._context(h, arrays)], axis=-1).reshape(T * B, -1)
        readout = np.tanh(linear(joined, self._tensors["readout.weight"], self._tensors["readout.bias"]))
        return cast(Floats, readout.reshape(T, B, -1))

    def _context(self, h: Floats, arrays: Mapping[str, Floats]) -> Floats:
        """What each step takes of the image, ``(T, B, M)``."""
        T, B, _ = h.shape
        memory = arrays["memory"]
        if self.model.attention == "none":
            return np.broadcast_to(memory.mean(axis=1), (T, *memory.mean(axis=1).shape))
        context = np.empty((T, B, memory.shape[2]), np.float32)
        steps, there = max(1, WORK // arrays["keys"].size), np.ones(memory.shape[:2], np.float32)
        for t in range(0, T, steps):
            query = np.ascontiguousarray(h[t : t + steps].transpose(1, 0, 2))
            weights = self._attention.weights(query, arrays["keys"], there)
            context[t : t + steps] = (weights @ memory).transpose(1, 0, 2)
        return context
