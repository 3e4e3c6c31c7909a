"""Layers that read whole sequences in both directions, in numpy: ``ostinato.nn.recurrent.Encoder`` without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.config import ModelConfig
from ostinato.engine.stack import Layer, normalise, project, read_layer
from ostinato.types import Floats

Lengths = NDArray[np.integer[Any]]


class Encoder:
    """Each layer reads the outputs of both directions of the one below."""

    def __init__(self, model: ModelConfig, tensors: Mapping[str, Floats], prefix: str = "encoder.") -> None:
        """``tensors`` are a bundle's; those of the encoder begin with ``prefix``."""
        self._residual = model.residual
        self._layers: list[tuple[Layer, Layer]] = []
        self._norms: list[tuple[Floats, Floats] | None] = []
        for k in range(len(model.hidden)):
            ahead, back = (
                read_layer(model, tensors, f"{prefix}layers.{k}.{side}.") for side in ("left_to_right", "right_to_left")
            )
            norm = f"{prefix}norms.{k}."
            self._layers.append((ahead, back))
            self._norms.append((tensors[norm + "weight"], tensors[norm + "bias"]) if model.layer_norm else None)

    def read(self, x: Floats, lengths: Lengths) -> tuple[Floats, Floats]:
        """Outputs ``(T, B, 2H)`` of ``x (T, B, I)``, 0 past a row's length, and the last ``h`` of both directions
        of the last layer ``(B, 2H)``, before any normalisation."""
        there = (np.arange(len(x))[:, None] < lengths)[:, :, None]
        last = np.zeros((x.shape[1], 0), np.float32)
        for (ahead, back), norm in zip(self._layers, self._norms, strict=True):
            forward = _run(ahead, x)
            backward = reverse(_run(back, reverse(x, lengths)), lengths)
            y = np.concatenate([forward, backward], axis=-1)
            last = np.concatenate([forward[lengths - 1, np.arange(x.shape[1])], backward[0]], axis=-1)
            if self._residual and y.shape == x.shape:
                y = y + x
            x = np.where(there, y if norm is None else normalise(y, norm), np.float32(0))
        return x, last


def _run(layer: Layer, x: Floats) -> Floats:
    """Outputs ``(T, B, H)`` from zeros. Past a row's length they mean nothing: nothing that counts comes after them."""
    zero = tuple(np.zeros((x.shape[1], layer.hidden), np.float32) for _ in layer.cell.parts)
    return layer.run(project(x, layer.weights), zero)[0]


def reverse(x: Floats, lengths: Lengths) -> Floats:
    """``x (T, B, ...)`` with the first ``lengths[b]`` elements of each row b in reverse order, the rest in place."""
    t = np.arange(len(x))[:, None]
    source = np.where(t < lengths, lengths - 1 - t, t)
    reversed_: Floats = x[source, np.arange(x.shape[1])]
    return reversed_
