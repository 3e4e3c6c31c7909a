"""Recurrent layers: one layer, a stack of them, and a bidirectional encoder.

A deep network computes, for layers ``k = 0, 1, ...`` and with ``x^0`` the embedded input::

    y = layer_k(x^k)                        (T, B, W_k)
    y = y + x^k                             if residual and the widths are equal
    y = layer_norm_k(y)                     if layer_norm
    x^{k+1} = dropout_hidden(y)             in training; what the next layer reads (and adds, if residual)

    readout = y of the last layer, or with skip_output [y of layer 0 ; y of layer 1 ; ...]

Dropout on the input and on the readout are the model's. The carried state of a layer is that of its cell: residual and
normalisation act on what a layer passes on, never on what it remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ostinato.config import ModelConfig, Regularisers
from ostinato.kernels.autograd import Input, dense, recurrent_together
from ostinato.kernels.reference import state_parts, weight_shapes
from ostinato.nn.dropout import dropout, weight_drop, zoneout
from ostinato.nn.init import initialise_recurrent

States = tuple[Tensor, ...]


class Recurrent(nn.Module):
    """One layer, one direction. Its parameters are those of ``kernels.reference.weight_shapes``, by name and order."""

    def __init__(self, width_in: int, hidden: int, config: ModelConfig, regularisers: Regularisers) -> None:
        super().__init__()
        self.width = hidden
        self.cell, self.activation = config.cell, config.activation
        self._zoneout, self._weight_drop = config.zoneout, regularisers.weight_drop
        for name, shape in weight_shapes(config.cell, width_in, hidden).items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        with torch.no_grad():
            initialise_recurrent(dict(self.named_parameters()), config.cell, config.activation)

    def state_names(self) -> tuple[str, ...]:
        """``h``, and ``c`` where the cell has one."""
        return state_parts(self.cell)

    def state_widths(self) -> tuple[int, ...]:
        """The width of each part of the state."""
        return tuple(self.width for _ in self.state_names())

    def forward(self, x: Input, state: States, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """Read ``x (T, B, I)`` from ``state``, parts ``(B, H)``; give outputs ``(T, B, H)`` and the last state.

        With ``lengths (B,)``, at least 1 each, a row's state stops at its own end; its outputs beyond that mean
        nothing.
        """
        return together([self], [x], [state], lengths, [False])[0]

    def dropped_weights(self) -> dict[str, Tensor]:
        """The weights in use, in training those that weight drop leaves."""
        weights: dict[str, Tensor] = dict(self.named_parameters())
        weights["weight_hh"] = weight_drop(weights["weight_hh"], self._weight_drop, training=self.training)
        return weights

    def zoneout_masks(self, x: Input) -> States | None:
        """For each part of the state ``(T, B, H)``, what stays of it; None without zoneout."""
        shape = (*x.shape[:2], self.width)
        masks = [
            zoneout(shape, self._zoneout, next(self.parameters()), training=self.training) for _ in self.state_names()
        ]
        return tuple(mask for mask in masks if mask is not None) or None


def together(
    layers: Sequence[Recurrent],
    inputs: Sequence[Input],
    states: Sequence[States],
    lengths: Tensor | None,
    reversed: Sequence[bool],
) -> list[tuple[Tensor, States]]:
    """Layers of one kind that do not depend on each other, all at once: arguments and results of their ``forward``.

    Those of ``reversed`` read each row from its own last element to its first.
    """
    each = [(x, layer.dropped_weights(), state) for layer, x, state in zip(layers, inputs, states, strict=True)]
    keeps = [layer.zoneout_masks(x) for layer, x in zip(layers, inputs, strict=True)]
    cell, activation = layers[0].cell, layers[0].activation
    return recurrent_together(cell, each, activation=activation, lengths=lengths, keeps=keeps, reversed=reversed)


class Bidirectional(nn.Module):
    """One layer in both directions over the whole sequence, outputs side by side (Schuster and Paliwal 1997)."""

    def __init__(self, width_in: int, hidden: int, config: ModelConfig, regularisers: Regularisers) -> None:
        super().__init__()
        self.width = 2 * hidden
        self.left_to_right = Recurrent(width_in, hidden, config, regularisers)
        self.right_to_left = Recurrent(width_in, hidden, config, regularisers)

    def state_names(self) -> tuple[str, ...]:
        """The names of the first direction's state, then of the second's."""
        sides = ("left_to_right", "right_to_left")
        return tuple(f"{side}.{name}" for side in sides for name in self.left_to_right.state_names())

    def state_widths(self) -> tuple[int, ...]:
        """The width of each part of the state."""
        return self.left_to_right.state_widths() + self.right_to_left.state_widths()

    def forward(self, x: Input, state: States, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """Read ``x (T, B, I)``; give outputs ``(T, B, 2H)`` and the states at the right and at the left end.

        The second direction reads each row from its own last element, ``lengths (B,)``, to its first.
        """
        half = len(state) // 2
        (ahead, right_end), (back, left_end) = together(
            [self.left_to_right, self.right_to_left], [x, x], [state[:half], state[half:]], lengths, [False, True]
        )
        return torch.cat([ahead, back], dim=-1), (*right_end, *left_end)


class _Deep(nn.Module):
    """Layers on top of each other, as the head of this module says."""

    def __init__(
        self, layers: Sequence[Recurrent | Bidirectional], config: ModelConfig, regularisers: Regularisers
    ) -> None:
        super().__init__()
        widths = [layer.width for layer in layers]
        self.last_width = widths[-1]
        self.readout_width = sum(widths) if config.skip_output else widths[-1]
        self.config, self.regularisers = config, regularisers
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-5) for width in widths if config.layer_norm)

    def state_names(self) -> tuple[str, ...]:
        """The name of each part of the state: ``layers.0.h``, ``layers.0.c``, ``layers.1.h``, ..."""
        return tuple(f"layers.{k}.{name}" for k, layer in enumerate(self._each()) for name in layer.state_names())

    def initial_state(self, batch: int) -> States:
        """Zeros, parts ``(B, H)`` in the order of ``state_names``."""
        like = next(self.parameters())
        return tuple(like.new_zeros(batch, width) for layer in self._each() for width in layer.state_widths())

    def forward(self, x: Input, state: States, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """Read ``x (T, B, E)`` from ``state``; give the readout ``(T, B, R)`` and the last state.

        With ``lengths (B,)`` a row's state stops at its own end; its readout beyond that means nothing.
        """
        reading = _Reading(self, x, state)
        for layer in self.layers:
            reading.take(*layer(*reading.next(), lengths))
        return reading.result()

    def _each(self) -> Sequence[Recurrent | Bidirectional]:
        return cast(Sequence[Recurrent | Bidirectional], self.layers)


class _Reading:
    """What the layers of a deep network have made so far of one input, and what the next one reads."""

    def __init__(self, deep: _Deep, x: Input, state: States) -> None:
        self._deep, self._x, self._state = deep, x, state
        self._outputs: list[Tensor] = []
        self._states: list[Tensor] = []

    def next(self) -> tuple[Input, States]:
        """Input and state of the next layer."""
        deep, k = self._deep, len(self._outputs)
        if k > 0:
            options = deep.regularisers
            self._x = dropout(self._outputs[-1], options.dropout_hidden, training=deep.training, locked=options.locked)
        parts = len(self._state) // len(deep.layers)
        return self._x, self._state[k * parts : (k + 1) * parts]

    def take(self, y: Tensor, last: States) -> None:
        """What the layer gave for what ``next`` said."""
        deep, k = self._deep, len(self._outputs)
        if deep.config.residual and y.shape == self._x.shape:
            y = y + dense(self._x)
        self._outputs.append(deep.norms[k](y) if len(deep.norms) else y)
        self._states.extend(last)

    def result(self) -> tuple[Tensor, States]:
        """Readout and last state."""
        outputs = self._outputs
        return torch.cat(outputs, dim=-1) if self._deep.config.skip_output else outputs[-1], tuple(self._states)


class Stack(_Deep):
    """Layers of ``config.hidden`` widths that read from left to right; ``width`` is the input's, or the embedding's."""

    def __init__(self, config: ModelConfig, regularisers: Regularisers, width: int | None = None) -> None:
        widths = (config.embed if width is None else width, *config.hidden)
        layers = [Recurrent(I, H, config, regularisers) for I, H in zip(widths, config.hidden, strict=False)]  # noqa: E741
        super().__init__(layers, config, regularisers)


class Encoder(_Deep):
    """The same, bidirectional layer by layer: layer k + 1 reads both directions of layer k, ``2 * hidden[k]`` wide.

    It sees the whole sequence at every position: for classifying and translating, never for predicting its own input.
    """

    def __init__(self, config: ModelConfig, regularisers: Regularisers) -> None:
        widths = (config.embed, *(2 * hidden for hidden in config.hidden))
        layers = [Bidirectional(I, H, config, regularisers) for I, H in zip(widths, config.hidden, strict=False)]  # noqa: E741
        super().__init__(layers, config, regularisers)


def read_together(
    stacks: Sequence[Stack],
    inputs: Sequence[Input],
    states: Sequence[States],
    lengths: Tensor | None = None,
    *,
    reversed: Sequence[bool],
) -> list[tuple[Tensor, States]]:
    """Stacks of one kind that do not depend on each other, a layer of each at once: results as of their ``forward``.

    Those of ``reversed`` read each row from its own last element to its first.
    """
    readings = [_Reading(stack, x, state) for stack, x, state in zip(stacks, inputs, states, strict=True)]
    for layers in zip(*(stack.layers for stack in stacks), strict=True):
        xs, before = zip(*(reading.next() for reading in readings), strict=True)
        results = together(cast(Sequence[Recurrent], layers), xs, before, lengths, reversed)
        for reading, result in zip(readings, results, strict=True):
            reading.take(*result)
    return [reading.result() for reading in readings]
