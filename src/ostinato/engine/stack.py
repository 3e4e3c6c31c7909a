"""A stack of recurrent layers in numpy: the same composition as ``ostinato.nn.recurrent.Stack``, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.config import ModelConfig
from ostinato.kernels import native, reference
from ostinato.types import Floats, Ids

States = tuple[Floats, ...]
"""Parts ``(B, H)`` of a stack's state, in the order of ``Stack.state_names``."""

TABLE_BYTES = 16 << 20
"""The first layer's input product is looked up, not computed, when the table of all tokens is no larger than this."""


def linear(x: Floats, weight: Floats, bias: Floats, out: Floats | None = None) -> Floats:
    """``x W^T + b`` of ``x (N, K)``, ``weight (M, K)``, ``bias (M,)``: ``(N, M)``, in ``out`` where it is given."""
    out = np.empty((len(x), len(bias)), np.float32) if out is None else out
    if len(x) == 0:
        return out
    if native.available():
        return native.multiply(x, weight.T, out, native.threads(), bias)
    np.matmul(x, weight.T, out=out)
    out += bias
    return out


def project(x: Floats, weights: Mapping[str, Floats]) -> Floats:
    """The input's share of the gates: one product for all steps, ``(..., I) -> (..., G*H)``."""
    rows = linear(x.reshape(-1, x.shape[-1]), weights["weight_ih"], weights["bias"])
    return rows.reshape(*x.shape[:-1], rows.shape[1])


@dataclass(frozen=True)
class Layer:
    """One layer: its cell, weights, and the normalisation of its output."""

    name: str
    activation: str
    cell: reference.Cell
    weights: Mapping[str, Floats]
    norm: tuple[Floats, Floats] | None
    keep: float
    """The share of the state before that stays: the expectation of zoneout."""

    @property
    def hidden(self) -> int:
        """Width, H."""
        return int(self.weights["weight_hh"].shape[1])

    def step(self, a: Floats, state: States) -> States:
        """The state after a step, from the projected input ``a (B, G*H)``, which is overwritten."""
        fresh = self.cell.step(a, self.weights, state)[0]
        if self.keep:
            keep = np.float32(self.keep)
            fresh = tuple(keep * old + (1 - keep) * new for old, new in zip(state, fresh, strict=True))
        return cast(States, fresh)

    def run(self, a: Floats, state: States) -> tuple[Floats, States]:
        """Outputs ``(T, B, H)`` and the last state, from the projected inputs ``a (T, B, G*H)``, overwritten."""
        if native.available() and a.size:
            return self._run_compiled(a, state)
        T, B, _ = a.shape
        outputs = np.empty((T, B, self.hidden), np.float32)
        for t in range(T):
            state = self.step(a[t], state)
            outputs[t] = state[0]
        return outputs, state

    def _run_compiled(self, a: Floats, state: States) -> tuple[Floats, States]:
        T, B, _ = a.shape
        shape = (T, B, self.hidden)
        parts = {name: np.empty((T + 1, *shape[1:]), np.float32) for name in self.cell.parts}
        for part, before in zip(parts.values(), state, strict=True):
            part[0] = before
        arrays: dict[str, Any] = {name: w for name, w in self.weights.items() if name not in ("weight_ih", "bias")}
        if native.has_extra(self.name):
            arrays["extra"] = np.empty(shape, np.float32)
        if self.keep:
            arrays |= {f"keep_{name}": np.full(shape, self.keep, np.float32) for name in parts}
        layer = native.Layer(self.name, self.activation, {"gates": a, **parts, **arrays})
        native.recurrent_forward([layer], native.threads())
        return parts["h"][1:], tuple(part[-1] for part in parts.values())


Norm = tuple[Floats, Floats]
"""Weight and bias of a layer norm."""


def normalise(y: Floats, norm: Norm | None) -> Floats:
    """Layer norm (Ba et al. 2016) over the last axis; ``y`` itself where there is none."""
    if norm is None:
        return y
    centred = y - y.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return cast(Floats, centred / np.sqrt(variance + np.float32(1e-5)) * norm[0] + norm[1])


class Layers:
    """Layers of one direction on top of each other: from vectors to what the output layer reads."""

    def __init__(self, model: ModelConfig, tensors: Mapping[str, Floats], prefix: str) -> None:
        """``tensors`` are a bundle's; those of these layers begin with ``prefix``."""
        self._residual, self._skip_output = model.residual, model.skip_output
        self.layers = tuple(
            make_layer(model, tensors, f"{prefix}layers.{k}.", find_norm(model, tensors, f"{prefix}norms.{k}"))
            for k in range(len(model.hidden))
        )

    def state_names(self) -> tuple[str, ...]:
        """``layers.0.h``, ``layers.0.c``, ``layers.1.h``, ..."""
        return tuple(f"layers.{k}.{part}" for k, layer in enumerate(self.layers) for part in layer.cell.parts)

    def state_widths(self) -> tuple[int, ...]:
        """The width of each part of the state."""
        return tuple(layer.hidden for layer in self.layers for _ in layer.cell.parts)

    def zero(self, batch: int) -> States:
        """The state that has read nothing."""
        return tuple(np.zeros((batch, width), np.float32) for width in self.state_widths())

    def read(self, x: Floats, states: States) -> tuple[Floats, States]:
        """Read vectors ``x (T, B, I)``; give the readouts ``(T, B, R)`` and the last state."""
        return self._deep(project(x, self.layers[0].weights), lambda: x, states, run=True)

    def _deep(self, a: Floats, x: Callable[[], Floats], states: States, *, run: bool) -> tuple[Floats, States]:
        """From the input's share ``a`` of the first layer's gates; ``x`` gives the input itself."""
        outputs: list[Floats] = []
        last: list[Floats] = []
        for k, layer in enumerate(self.layers):
            before = states[len(last) : len(last) + len(layer.cell.parts)]
            a = a if k == 0 else project(outputs[-1], layer.weights)
            if run:
                y, state = layer.run(a, before)
            else:
                state = layer.step(a, before)
                y = state[0]
            last.extend(state)
            if self._residual:
                below = x() if k == 0 else outputs[-1]
                y = y + below if y.shape == below.shape else y
            outputs.append(normalise(y, layer.norm))
        return np.concatenate(outputs, axis=-1) if self._skip_output else outputs[-1], tuple(last)


class Stack(Layers):
    """Embedding and layers of one direction: from ids to what the output layer reads."""

    def __init__(self, model: ModelConfig, tensors: Mapping[str, Floats], prefix: str = "stack.") -> None:
        """As ``Layers``."""
        super().__init__(model, tensors, prefix)
        self._embedding = tensors["embedding.weight"]
        first = self.layers[0].weights
        self._table: Floats | None = None
        if 4 * model.vocab * len(first["bias"]) <= TABLE_BYTES:
            self._table = project(self._embedding, first)

    def step(self, ids: Ids, states: States) -> tuple[Floats, States]:
        """Read ``ids (B,)``; give the readout ``(B, R)`` and the new state."""
        return self._deep(self._project(ids), lambda: self._embedding[ids], states, run=False)

    def run(self, ids: Ids, states: States) -> tuple[Floats, States]:
        """Read ``ids (T, B)``; give the readouts ``(T, B, R)`` and the last state. Memory grows with T*B*G*H."""
        return self._deep(self._project(ids), lambda: self._embedding[ids], states, run=True)

    def _project(self, ids: Ids) -> Floats:
        """The input's share ``(..., G*H)`` of the first layer's gates, in memory of its own."""
        if self._table is not None:
            return self._table[ids]
        return project(self._embedding[ids], self.layers[0].weights)


def make_layer(model: ModelConfig, tensors: Mapping[str, Floats], start: str, norm: Norm | None = None) -> Layer:
    """The layer of ``model`` whose tensors, of a bundle, have names that begin with ``start``."""
    weights = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    cell = reference.find(model.cell, model.activation)
    return Layer(model.cell, model.activation, cell, weights, norm, model.zoneout)


def find_norm(model: ModelConfig, tensors: Mapping[str, Floats], name: str) -> Norm | None:
    """The normalisation ``name`` of a bundle; None where the model has none."""
    return (tensors[f"{name}.weight"], tensors[f"{name}.bias"]) if model.layer_norm else None


def check_ids(ids: NDArray[Any], vocab: int) -> None:
    """Raise IndexError unless every id is a token: a negative one would silently count from the end."""
    if ids.size and (ids.min() < 0 or ids.max() >= vocab):
        raise IndexError(f"ids from {ids.min()} to {ids.max()}; expected 0 to {vocab - 1}")
