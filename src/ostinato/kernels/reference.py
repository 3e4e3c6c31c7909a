"""The definition of every cell, forward and backward, in numpy. Every faster version is held to this one.

Axes: ``T`` time, ``B`` batch, ``I`` input width, ``H`` hidden, ``G`` gates. A state is a tuple of ``(B, H)`` arrays:
``(h,)``, or ``(h, c)`` for the LSTM kinds. Weights are a mapping of the names and shapes that ``weight_shapes`` gives;
the gates lie in the order i, f, g, o or r, z, n. Everything is computed in the dtype of its inputs.

A cell is two functions. ``step`` gets the projected input ``a = W x + b`` ``(B, G*H)``, which it may overwrite, and
gives the new state and what its gradient needs; ``step_backward`` stands beside it, the same names with a ``d_``.
Zoneout and ragged lengths are not the cell's business: they decide, after the step, how much of the old state stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError

Array: TypeAlias = NDArray[np.floating[Any]]
Weights: TypeAlias = Mapping[str, Array]
State: TypeAlias = tuple[Array, ...]
Saved: TypeAlias = tuple[Array, ...]


# Activations. Each derivative is written in terms of the output, which is what a tape keeps.


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """The logistic function, for any float without overflow: ``(1 + tanh(x / 2)) / 2``."""
    out = np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    out += 1
    out *= 0.5
    return out


def d_sigmoid(y: Array) -> Array:
    """Derivative of the logistic function where its value is ``y``."""
    return y * (1 - y)


def d_tanh(y: Array) -> Array:
    """Derivative of tanh where its value is ``y``."""
    return 1 - y * y


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, d_tanh),
    "relu": (lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype)),
    "leaky_relu": (lambda x: np.maximum(x, 0.01 * x), lambda y: np.where(y > 0, y.dtype.type(1), y.dtype.type(0.01))),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda y: np.minimum(y, 0) + 1),
}


# rnn (Elman 1990): h_t = act(W x_t + U h_{t-1} + b)


def rnn_step(activation: str, a: Array, weights: Weights, state: State) -> tuple[State, Saved]:
    """One step of the simple cell."""
    (h,) = state
    a += h @ weights["weight_hh"].T
    h = ACTIVATIONS[activation][0](a)
    return (h,), (h,)


def rnn_step_backward(
    activation: str, d_state: State, saved: Saved, state: State, weights: Weights, d_weights: dict[str, Array]
) -> tuple[Array, State]:
    """Gradient of ``rnn_step``: of ``a`` and the state before; adds to ``d_weights``."""
    (d_h,), (h,), (h_before,) = d_state, saved, state
    d_a = d_h * ACTIVATIONS[activation][1](h)
    d_weights["weight_hh"] += d_a.T @ h_before
    return d_a, (d_a @ weights["weight_hh"],)


# gru (Cho et al. 2014): the reset gate acts before the recurrent product


def gru_step(a: Array, weights: Weights, state: State) -> tuple[State, Saved]:
    """One step: r, z = sigma(W x + U h + b); n = tanh(W_n x + U_n (r * h) + b_n); h_t = z * h + (1 - z) * n."""
    (h,) = state
    H = h.shape[1]
    U = weights["weight_hh"]
    a_rz, a_n = a[:, : 2 * H], a[:, 2 * H :]
    a_rz += h @ U[: 2 * H].T
    rz = sigmoid(a_rz, out=a_rz)
    r, z = rz[:, :H], rz[:, H:]
    a_n += (r * h) @ U[2 * H :].T
    n = np.tanh(a_n, out=a_n)
    return (n + z * (h - n),), (rz, n)


def gru_step_backward(
    d_state: State, saved: Saved, state: State, weights: Weights, d_weights: dict[str, Array]
) -> tuple[Array, State]:
    """Gradient of ``gru_step``."""
    (d_h,), (rz, n), (h,) = d_state, saved, state
    H = h.shape[1]
    U, d_U = weights["weight_hh"], d_weights["weight_hh"]
    r, z = rz[:, :H], rz[:, H:]
    d_an = d_h * (1 - z) * d_tanh(n)
    d_rh = d_an @ U[2 * H :]
    d_rz = np.concatenate([d_rh * h, d_h * (h - n)], axis=1) * d_sigmoid(rz)
    d_U[: 2 * H] += d_rz.T @ h
    d_U[2 * H :] += d_an.T @ (r * h)
    return np.concatenate([d_rz, d_an], axis=1), (d_h * z + d_rh * r + d_rz @ U[: 2 * H],)


# gru_reset_after (cuDNN, torch): the reset gate acts after the recurrent product; a different model


def gru_reset_after_step(a: Array, weights: Weights, state: State) -> tuple[State, Saved]:
    """One step: r, z as ``gru``; n = tanh(W_n x + b_n + r * (U_n h + b_hn)); h_t = z * h + (1 - z) * n."""
    (h,) = state
    H = h.shape[1]
    u = h @ weights["weight_hh"].T
    a_rz, a_n, u_n = a[:, : 2 * H], a[:, 2 * H :], u[:, 2 * H :]
    a_rz += u[:, : 2 * H]
    rz = sigmoid(a_rz, out=a_rz)
    r, z = rz[:, :H], rz[:, H:]
    u_n += weights["bias_hn"]
    a_n += r * u_n
    n = np.tanh(a_n, out=a_n)
    return (n + z * (h - n),), (rz, n, u_n)


def gru_reset_after_step_backward(
    d_state: State, saved: Saved, state: State, weights: Weights, d_weights: dict[str, Array]
) -> tuple[Array, State]:
    """Gradient of ``gru_reset_after_step``."""
    (d_h,), (rz, n, u_n), (h,) = d_state, saved, state
    H = h.shape[1]
    r, z = rz[:, :H], rz[:, H:]
    d_an = d_h * (1 - z) * d_tanh(n)
    d_rz = np.concatenate([d_an * u_n, d_h * (h - n)], axis=1) * d_sigmoid(rz)
    d_u = np.concatenate([d_rz, d_an * r], axis=1)
    d_weights["weight_hh"] += d_u.T @ h
    d_weights["bias_hn"] += d_u[:, 2 * H :].sum(axis=0)
    return np.concatenate([d_rz, d_an], axis=1), (d_h * z + d_u @ weights["weight_hh"],)


# lstm (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)


def lstm_step(a: Array, weights: Weights, state: State) -> tuple[State, Saved]:
    """One step: i, f, o = sigma(.); g = tanh(.); c_t = f * c + i * g; h_t = o * tanh(c_t)."""
    h, c = state
    H = h.shape[1]
    a += h @ weights["weight_hh"].T
    sigmoid(a[:, : 2 * H], out=a[:, : 2 * H])
    i, f = a[:, :H], a[:, H : 2 * H]
    g = np.tanh(a[:, 2 * H : 3 * H], out=a[:, 2 * H : 3 * H])
    o = sigmoid(a[:, 3 * H :], out=a[:, 3 * H :])
    c = f * c
    c += i * g
    tanh_c = np.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, tanh_c)


def lstm_step_backward(
    d_state: State, saved: Saved, state: State, weights: Weights, d_weights: dict[str, Array]
) -> tuple[Array, State]:
    """Gradient of ``lstm_step``."""
    (d_h, d_c), (i, f, g, o, tanh_c), (h, c_before) = d_state, saved, state
    d_c = d_c + d_h * o * d_tanh(tanh_c)
    d_i = d_c * g * d_sigmoid(i)
    d_f = d_c * c_before * d_sigmoid(f)
    d_g = d_c * i * d_tanh(g)
    d_o = d_h * tanh_c * d_sigmoid(o)
    d_a = np.concatenate([d_i, d_f, d_g, d_o], axis=1)
    d_weights["weight_hh"] += d_a.T @ h
    return d_a, (d_a @ weights["weight_hh"], d_c * f)


# peephole, peephole_diagonal (Gers and Schmidhuber 2000; Graves 2013): the gates also see the cell


def see(c: Array, V: Array) -> Array:
    """What a gate sees of the cell ``c (B, H)`` through a matrix ``V (H, H)`` or its diagonal ``V (H,)``."""
    return c * V if V.ndim == 1 else c @ V.T


def d_see(d: Array, c: Array, V: Array) -> tuple[Array, Array]:
    """Gradient of ``see``: of ``c`` and of ``V``."""
    return (d * V, (d * c).sum(axis=0)) if V.ndim == 1 else (d @ V, d.T @ c)


def peephole_step(a: Array, weights: Weights, state: State) -> tuple[State, Saved]:
    """One step: as ``lstm``, but i and f add V_i c and V_f c of the cell before, o adds V_o c_t of the cell after."""
    h, c = state
    H = h.shape[1]
    a += h @ weights["weight_hh"].T
    i, f, g, o = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
    i += see(c, weights["weight_ci"])
    f += see(c, weights["weight_cf"])
    sigmoid(a[:, : 2 * H], out=a[:, : 2 * H])
    np.tanh(g, out=g)
    c = f * c
    c += i * g
    o += see(c, weights["weight_co"])
    sigmoid(o, out=o)
    tanh_c = np.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, c, tanh_c)


def peephole_step_backward(
    d_state: State, saved: Saved, state: State, weights: Weights, d_weights: dict[str, Array]
) -> tuple[Array, State]:
    """Gradient of ``peephole_step``."""
    (d_h, d_c), (i, f, g, o, c, tanh_c), (h, c_before) = d_state, saved, state
    d_o = d_h * tanh_c * d_sigmoid(o)
    d_c_o, d_Vo = d_see(d_o, c, weights["weight_co"])
    d_c = d_c + d_h * o * d_tanh(tanh_c) + d_c_o
    d_i = d_c * g * d_sigmoid(i)
    d_f = d_c * c_before * d_sigmoid(f)
    d_g = d_c * i * d_tanh(g)
    d_c_i, d_Vi = d_see(d_i, c_before, weights["weight_ci"])
    d_c_f, d_Vf = d_see(d_f, c_before, weights["weight_cf"])
    d_a = np.concatenate([d_i, d_f, d_g, d_o], axis=1)
    d_weights["weight_hh"] += d_a.T @ h
    for name, d_V in zip(("weight_ci", "weight_cf", "weight_co"), (d_Vi, d_Vf, d_Vo), strict=True):
        d_weights[name] += d_V
    return d_a, (d_a @ weights["weight_hh"], d_c * f + d_c_i + d_c_f)


# The table of cells


@dataclass(frozen=True)
class Cell:
    """What the sequence functions need to know of a cell."""

    gates: int
    """Rows of the weights per unit, ``G``."""
    parts: tuple[str, ...]
    """Names of the arrays in a state."""
    step: Callable[[Array, Weights, State], tuple[State, Saved]]
    step_backward: Callable[[State, Saved, State, Weights, dict[str, Array]], tuple[Array, State]]
    extra: tuple[str, ...] = ()
    """Weights besides ``weight_ih``, ``weight_hh`` and ``bias``."""
    extra_axes: int = 1
    """Of shape ``(H,)`` or ``(H, H)``."""


_PEEPHOLES = ("weight_ci", "weight_cf", "weight_co")
_CELLS = {
    "gru": Cell(3, ("h",), gru_step, gru_step_backward),
    "gru_reset_after": Cell(3, ("h",), gru_reset_after_step, gru_reset_after_step_backward, ("bias_hn",)),
    "lstm": Cell(4, ("h", "c"), lstm_step, lstm_step_backward),
    "peephole": Cell(4, ("h", "c"), peephole_step, peephole_step_backward, _PEEPHOLES, 2),
    "peephole_diagonal": Cell(4, ("h", "c"), peephole_step, peephole_step_backward, _PEEPHOLES),
}
_RNN = {name: Cell(1, ("h",), partial(rnn_step, name), partial(rnn_step_backward, name)) for name in ACTIVATIONS}


def find(cell: str, activation: str = "tanh") -> Cell:
    """The cell of that name. ``activation`` is for ``rnn`` alone. Raises ConfigError on an unknown name."""
    table, name = (_RNN, activation) if cell == "rnn" else (_CELLS, cell)
    if name not in table:
        raise ConfigError(f"no cell {cell!r} with activation {activation!r}; expected one of rnn, {', '.join(_CELLS)}")
    return table[name]


def state_parts(cell: str) -> tuple[str, ...]:
    """Names of the arrays in a state of ``cell``: ``("h",)`` or ``("h", "c")``."""
    return find(cell).parts


def weight_shapes(cell: str, inputs: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of one layer with input width ``inputs`` and ``hidden`` units."""
    kind = find(cell)
    rows = kind.gates * hidden
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden), "bias": (rows,)}
    return shapes | dict.fromkeys(kind.extra, (hidden,) * kind.extra_axes)


# Sequences


@dataclass(frozen=True)
class Tape:
    """What ``forward`` leaves for ``backward``."""

    kind: Cell
    x: Array
    """(T, B, I), zero past each row's end."""
    weights: Weights
    states: list[State]
    """The state before each step."""
    saved: list[Saved]
    keep: State | None
    """Per state part ``(T, B, H)``: how much of the state before stays."""
    live: Array | None
    """(T, B, 1): 1 up to each row's end, 0 past it."""


def project(x: Array, weights: Weights) -> Array:
    """The input's share of the gates, ``x W^T + b``: one product for all steps, ``(..., I) -> (..., G*H)``."""
    a: Array = x.reshape(-1, x.shape[-1]) @ weights["weight_ih"].T  # numpy makes a product a step of (T, B, I)
    a += weights["bias"]
    return a.reshape(*x.shape[:-1], len(weights["bias"]))


def blend(before: State, fresh: State, keep: State | None, t: int) -> State:
    """The state after step ``t``: ``keep * before + (1 - keep) * fresh`` in each part."""
    if keep is None:
        return fresh
    return tuple(k[t] * old + (1 - k[t]) * new for k, old, new in zip(keep, before, fresh, strict=True))


def spread(keep: State | None, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> State | None:
    """Each part of ``keep`` as ``(T, B, H)`` in ``dtype``."""
    if keep is None:
        return None
    return tuple(np.broadcast_to(np.asarray(k, dtype=dtype), shape) for k in keep)


def forward(
    cell: str,
    x: Array,
    weights: Weights,
    state: State,
    *,
    activation: str = "tanh",
    lengths: NDArray[np.integer[Any]] | None = None,
    keep: State | None = None,
) -> tuple[Array, State, Tape]:
    """Run a layer over ``x (T, B, I)`` from ``state``.

    ``lengths (B,)``: past its length a row's state stays as it is and its outputs are 0. ``keep``: zoneout (Krueger et
    al. 2017), one array per state part, broadcastable to ``(T, B, H)``: that share of the state before stays (a mask of
    0 and 1 in training, the probability itself at run time).

    Returns ``outputs (T, B, H)``, the final state, and the tape for ``backward``.
    """
    kind = find(cell, activation)
    T, B, _ = x.shape
    shape = (T, B, state[0].shape[1])
    keep, live = spread(keep, shape, x.dtype), None
    if lengths is not None:
        live = (np.arange(T)[:, None] < np.asarray(lengths)).astype(x.dtype)[:, :, None]
        x = np.where(live > 0, x, x.dtype.type(0))
        # A row past its end is a row that keeps everything.
        keep = tuple(np.where(live > 0, k, x.dtype.type(1)) for k in keep or (np.zeros(shape, x.dtype),) * len(state))
    a = project(x, weights)
    outputs = np.full(shape, np.nan, x.dtype)
    tape = Tape(kind, x, weights, [], [], keep, live)
    for t in range(T):
        fresh, saved = kind.step(a[t], weights, state)
        tape.states.append(state)
        tape.saved.append(saved)
        state = blend(state, fresh, keep, t)
        outputs[t] = state[0] if live is None else state[0] * live[t]
    return outputs, state, tape


def backward(tape: Tape, d_outputs: Array, d_final_state: State) -> tuple[Array, dict[str, Array], State]:
    """Gradients of ``forward`` with respect to ``x``, each weight, and the initial state."""
    x, weights, keep, live = tape.x, tape.weights, tape.keep, tape.live
    T, B, inputs = x.shape
    d_state = d_final_state
    d_weights = {name: np.zeros_like(weight) for name, weight in weights.items()}
    d_a = np.empty((T, B, len(weights["bias"])), x.dtype)
    for t in reversed(range(T)):
        d_output = d_outputs[t] if live is None else d_outputs[t] * live[t]
        d_state = (d_state[0] + d_output, *d_state[1:])
        d_fresh = d_state if keep is None else tuple((1 - k[t]) * d for k, d in zip(keep, d_state, strict=True))
        d_a[t], d_before = tape.kind.step_backward(d_fresh, tape.saved[t], tape.states[t], weights, d_weights)
        if keep is not None:
            d_before = tuple(d + k[t] * held for d, k, held in zip(d_before, keep, d_state, strict=True))
        d_state = d_before
    d_rows = d_a.reshape(T * B, -1)
    d_weights["weight_ih"] += d_rows.T @ x.reshape(T * B, inputs)
    d_weights["bias"] += d_rows.sum(axis=0)
    return d_a @ weights["weight_ih"], d_weights, d_state


def run(
    cell: str, x: Array, weights: Weights, state: State, *, activation: str = "tanh", keep: State | None = None
) -> tuple[Array, State]:
    """``forward`` without a tape: ``outputs (T, B, H)`` and the final state."""
    kind = find(cell, activation)
    T, B, _ = x.shape
    shape = (T, B, state[0].shape[1])
    keep = spread(keep, shape, x.dtype)
    a = project(x, weights)
    outputs = np.empty(shape, x.dtype)
    for t in range(T):
        state = blend(state, kind.step(a[t], weights, state)[0], keep, t)
        outputs[t] = state[0]
    return outputs, state


def step(cell: str, x: Array, weights: Weights, state: State, *, activation: str = "tanh") -> State:
    """The state after reading ``x (B, I)``: what a generator calls for every token."""
    return find(cell, activation).step(project(x, weights), weights, state)[0]
