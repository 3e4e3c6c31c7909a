"""What happens inside one layer while it reads a text: its gates, cell and output at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from ostinato.config import ModelConfig
from ostinato.engine.engine import check_boundary
from ostinato.engine.stack import Stack, check_ids
from ostinato.errors import ConfigError
from ostinato.kernels import reference
from ostinato.kernels.reference import Saved
from ostinato.types import Floats, Ids

Traced = dict[str, Floats]


def _lstm_gates(saved: Saved) -> Traced:
    return dict(zip("ifgo", cast(tuple[Floats, ...], saved[:4]), strict=True))


def _gru_gates(saved: Saved) -> Traced:
    r, z = np.split(saved[0], 2, axis=-1)
    return cast(Traced, {"r": r, "z": z, "n": saved[1]})


_GATES: Mapping[str, Callable[[Saved], Traced]] = {
    "rnn": lambda _: {},
    "gru": _gru_gates,
    "gru_reset_after": _gru_gates,
    "lstm": _lstm_gates,
    "peephole": _lstm_gates,
    "peephole_diagonal": _lstm_gates,
}


def trace(model: ModelConfig, tensors: Mapping[str, Floats], boundary_id: int, ids: Ids, layer: int) -> Traced:
    """The gates and the state of ``layer`` (the first is 0) after each of ``ids (T,)``, by name, each ``(T, H)``.

    ``i, f, g, o, c, h`` for the LSTM kinds, ``r, z, n, h`` for the GRUs, ``h`` for ``rnn``. The text begins after the
    boundary token, as everywhere. Of a bidirectional model it is the forward stack. Raises ConfigError when there is
    no such layer.
    """
    depth = len(model.hidden)
    if not 0 <= layer < depth:
        raise ConfigError(f"layer is {layer}; expected 0 to {depth - 1}, the model has {depth}")
    check_boundary(model, boundary_id)
    check_ids(ids, model.vocab)
    prefix = "forward_stack." if model.bidirectional else "stack."
    stack = Stack(model, tensors, prefix)
    x = _input(model, tensors, prefix, np.concatenate([[boundary_id], ids])[:, None], layer)
    here = stack.layers[layer]
    zero = tuple(np.zeros((1, here.hidden), np.float32) for _ in here.cell.parts)
    keep = tuple(np.full((1, 1, 1), model.zoneout, np.float32) for _ in zero) if model.zoneout else None
    _, last, tape = reference.forward(model.cell, x, here.weights, zero, activation=model.activation, keep=keep)
    steps = [
        _GATES[model.cell](saved) | dict(zip(here.cell.parts[::-1], cast(tuple[Floats, ...], state[::-1]), strict=True))
        for saved, state in zip(tape.saved, [*tape.states[1:], last], strict=True)
    ]
    return {name: np.concatenate([step[name] for step in steps[1:]]) for name in steps[0]}


def _input(model: ModelConfig, tensors: Mapping[str, Floats], prefix: str, ids: Ids, layer: int) -> Floats:
    """What ``layer`` reads ``(T, 1, I)``: the embedding, or the readout of the model that ends one layer below."""
    if layer == 0:
        return tensors["embedding.weight"][ids]
    below = replace(model, hidden=model.hidden[:layer], skip_output=False, tied=False)
    stack = Stack(below, tensors, prefix)
    return stack.run(ids, stack.zero(1))[0]
