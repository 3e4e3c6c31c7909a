"""Layers that read whole sequences in both directions, in numpy: ``ostinato.nn.recurrent.Encoder`` without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ostinato.config import ModelConfig
from ostinato.engine.stack import Layer, find_norm, make_layer, normalise, project
from ostinato.types import Floats, Ids

ROWS = 1024
"""Steps times rows whose gates are held at once."""

_SIDES = ("left_to_right", "right_to_left")


class Encoder:
    """Layers that read in both directions, each both directions of the one below."""

    def __init__(self, model: ModelConfig, tensors: Mapping[str, Floats], prefix: str = "encoder.") -> None:
        """``tensors`` are a bundle's; this encoder's begin with ``prefix``."""
        self._residual = model.residual
        depths = range(len(model.hidden))
        self._layers = [
            tuple(make_layer(model, tensors, f"{prefix}layers.{k}.{side}.") for side in _SIDES) for k in depths
        ]
        self._norms = [find_norm(model, tensors, f"{prefix}norms.{k}") for k in depths]

    def read(self, x: Floats, lengths: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """Read ``x (T, B, I)``; give the last layer's outputs ``(T, B, 2H)``, and the last ``h`` of both its directions
        ``(B, 2H)``, before any normalisation. Beyond a row's length outputs mean nothing.

        Memory is that of the outputs of two layers, ``8 * T * B * (2H + 2H')`` bytes at most, H and H' their widths:
        the right end has to be read before anything is known of the left.
        """
        last = x[0]
        for (ahead, back), norm in zip(self._layers, self._norms, strict=True):
            there = _read(ahead, x)
            here = reverse(_read(back, reverse(x, lengths)), lengths)
            last = np.concatenate([there[lengths - 1, np.arange(x.shape[1])], here[0]], axis=-1)
            y = np.concatenate([there, here], axis=-1)
            if self._residual and y.shape == x.shape:
                y = y + x
            x = normalise(y, norm)
        return x, last


Numbers = TypeVar("Numbers", Floats, Ids)


def reverse(x: Numbers, lengths: NDArray[np.integer]) -> Numbers:
    """``x (T, B, ...)`` with the first ``lengths[b]`` elements of each row b in reverse order, the rest in place.

    A row that is read so from the left is read from its own last element; what comes after is never looked back at.
    """
    t = np.arange(len(x))[:, None]
    return x[np.where(t < lengths, lengths - 1 - t, t), np.arange(x.shape[1])]


def _read(layer: Layer, x: Floats) -> Floats:
    """Outputs ``(T, B, H)`` of a layer that reads ``x (T, B, I)`` from a state of zeros, some steps at a time."""
    T, B, _ = x.shape
    outputs = np.empty((T, B, layer.hidden), np.float32)
    state = tuple(np.zeros((B, layer.hidden), np.float32) for _ in layer.cell.parts)
    steps = max(1, ROWS // B)
    for t in range(0, T, steps):
        outputs[t : t + steps], state = layer.run(project(x[t : t + steps], layer.weights), state)
    return outputs
