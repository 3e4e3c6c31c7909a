"""The kernels of ``triton_cells`` as the other loops: what a layer runs on a GPU, unless torch has a faster one."""

from __future__ import annotations

from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ostinato.kernels.autograd.loops import (
    Loop,
    Parts,
    Weights,
    d_gru_weights,
    d_peephole_weights,
    d_reset_after_weights,
    histories,
    rows,
)
from ostinato.kernels.autograd.products import outer

_PEEPHOLES = {"lstm": "none", "peephole_diagonal": "diagonal", "peephole": "full"}
_WIDEST = 64 * 64  # elements of a tile: a program keeps up to six of them in registers
_SMALLEST = (16, 16)
_DEPTHS = (64, 32, 16)  # how much of a product's inner axis is read at once
_AHEAD = 3  # how many of such parts are on their way in shared memory at once: Triton's own choice


def find(cell: str, activation: str, x: Tensor, width: int, *, rival: bool) -> Loop | None:
    """The recurrence over ``x (T, B, I)`` into ``width`` units; None where another way must do.

    Where torch has a layer of its own, a ``rival``, ours is for small ones: it takes two thirds of the time of cuDNN's
    LSTM at 64 rows of 512 units, and twice as much at 256 of 1,024 (benchmarks/gpu.py).
    """
    if not (x.is_cuda and x.dtype == torch.float32 and x.numel() > 0 and _triton_is_there()):
        return None
    tiles = _tiles(x.shape[1], width, x.device)
    return None if tiles is None or (rival and tiles != _SMALLEST) else loop(cell, activation)


def loop(cell: str, activation: str) -> Loop:
    """The recurrence of a cell."""
    if cell == "rnn":
        return Loop(partial(_rnn_forward, activation), partial(_rnn_backward, activation))
    if cell == "gru":
        return Loop(_gru_forward, _gru_backward)
    if cell == "gru_reset_after":
        return Loop(_gru_reset_after_forward, _gru_reset_after_backward)
    return Loop(partial(_lstm_forward, _PEEPHOLES[cell]), partial(_lstm_backward, _PEEPHOLES[cell]))


@cache
def _triton_is_there() -> bool:
    return find_spec("triton") is not None


@cache
def _tiles(B: int, H: int, device: torch.device) -> tuple[int, int] | None:
    """Rows and units of a program, so that all programs run at once, on a multiprocessor each, and read the least."""
    programs = torch.cuda.get_device_properties(device).multi_processor_count
    sizes = [16, 32, 64, 128]
    fitting = [
        (rows + 4 * units, rows, units)  # what an LSTM reads of states and weights, for each of the inner axis
        for rows in sizes
        for units in sizes
        if rows * units <= _WIDEST
        and -(-B // rows) * -(-H // units) <= programs
        and _depth(rows, units, device) is not None
    ]
    return min(fitting)[1:] if fitting else None


def _depth(rows: int, units: int, device: torch.device) -> int | None:
    """The largest for which the full peephole, two tiles of rows and six of weights, finds room."""
    room = torch.cuda.get_device_properties(device).shared_memory_per_block_optin  # type: ignore[attr-defined]
    return next((depth for depth in _DEPTHS if 4 * _AHEAD * depth * (2 * rows + 6 * units) <= room), None)


def _run(name: str, steps: int, B: int, H: int, *arguments: Tensor, keep: Parts | None, **constants: Any) -> None:
    """Launch a kernel of ``triton_cells``; ``arguments`` are its tensors, those of ``keep`` the last."""
    from ostinato.kernels.autograd import triton_cells

    like = arguments[0]
    tiles = _tiles(B, H, like.device)
    assert tiles is not None
    rows, units = tiles
    depth = _depth(rows, units, like.device)
    grid = -(-H // units), -(-B // rows)
    getattr(triton_cells, name)[grid](
        *arguments, torch.zeros(grid[1], dtype=torch.int32, device=like.device), steps, B, H,
        KEEP=keep is not None, ROWS=rows, UNITS=units, DEPTH=depth, PRECISION=_precision(), num_stages=_AHEAD,
        **constants, launch_cooperative_grid=True,
    )  # fmt: skip


def _precision() -> str:
    """As torch's own recurrent layers on a GPU; otherwise three products of tf32, which come to float32's."""
    precision: str = torch.backends.cudnn.rnn.fp32_precision  # type: ignore[attr-defined]
    return "tf32" if precision == "tf32" else "tf32x3"


def _kept(keep: Parts | None, like: Parts, step: int) -> Parts:
    """``keep`` from a step on, dense; in its absence something to point at."""
    return like if keep is None else tuple(k.contiguous()[step] for k in keep)


def _rnn_forward(activation: str, a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    (h,) = parts = histories(a, state)
    U = weights["weight_hh"].contiguous()
    arguments = (a, h, U, *_kept(keep, parts, 0))
    _run("rnn_forward", len(a), *state[0].shape, *arguments, keep=keep, ACTIVATION=activation)
    return parts, (a,)


def _rnn_backward(
    activation: str,
    d_outputs: Tensor,
    d_state: Parts,
    parts: Parts,
    saved: Parts,
    weights: Weights,
    keep: Parts | None,
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    (a,), (d_h,) = saved, _own(d_state)
    d_a = torch.empty_like(a)
    U = weights["weight_hh"].contiguous()
    arguments = (a[-1], d_a[-1], d_outputs.contiguous()[-1], d_h, U, *_kept(keep, parts, -1))
    _run("rnn_backward", len(a), *d_h.shape, *arguments, keep=keep, ACTIVATION=activation)
    return d_a, (d_h,), {"weight_hh": outer(rows(d_a), rows(parts[0][:-1]))}


def _gru_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    (h,) = parts = histories(a, state)
    reset = torch.empty_like(h[1:])
    U = weights["weight_hh"].contiguous()
    _run("gru_forward", len(a), *state[0].shape, a, h, reset, U, *_kept(keep, parts, 0), keep=keep)
    return parts, (a, reset)


def _gru_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    (a, reset), (h,), (d_h,) = saved, parts, _own(d_state)
    d_a = torch.empty_like(a)
    U = weights["weight_hh"].contiguous()
    arguments = (a[-1], h[-2], d_a[-1], d_outputs.contiguous()[-1], d_h, U, *_kept(keep, parts, -1))
    _run("gru_backward", len(a), *d_h.shape, *arguments, keep=keep)
    return d_a, (d_h,), d_gru_weights(d_a, parts, reset)


def _gru_reset_after_forward(a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    (h,) = parts = histories(a, state)
    u = torch.empty_like(h[1:])
    U, b_hn = (weights[name].contiguous() for name in ("weight_hh", "bias_hn"))
    arguments = (a, h, u, U, b_hn, *_kept(keep, parts, 0))
    _run("gru_reset_after_forward", len(a), *state[0].shape, *arguments, keep=keep)
    return parts, (a, u)


def _gru_reset_after_backward(
    d_outputs: Tensor, d_state: Parts, parts: Parts, saved: Parts, weights: Weights, keep: Parts | None
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    (a, u), (h,), (d_h,) = saved, parts, _own(d_state)
    d_a, d_u = torch.empty_like(a), torch.empty_like(a)
    U = weights["weight_hh"].contiguous()
    given = (a[-1], h[-2], u[-1], d_a[-1], d_u[-1], d_outputs.contiguous()[-1], d_h, U)
    _run("gru_reset_after_backward", len(a), *d_h.shape, *given, *_kept(keep, parts, -1), keep=keep)
    return d_a, (d_h,), d_reset_after_weights(d_u, parts)


def _lstm_forward(peepholes: str, a: Tensor, weights: Weights, state: Parts, keep: Parts | None) -> tuple[Parts, Parts]:
    parts = histories(a, state)
    fresh = torch.empty_like(parts[1][1:])
    arguments = (a, *parts, fresh, *_matrices(weights), *_kept(keep, parts, 0))
    _run("lstm_forward", len(a), *state[0].shape, *arguments, keep=keep, PEEPHOLES=peepholes)
    return parts, (a, fresh)


def _lstm_backward(
    peepholes: str,
    d_outputs: Tensor,
    d_state: Parts,
    parts: Parts,
    saved: Parts,
    weights: Weights,
    keep: Parts | None,
) -> tuple[Tensor, Parts, dict[str, Tensor]]:
    (a, fresh), (h, c), (d_h, d_c) = saved, parts, _own(d_state)
    d_a = torch.empty_like(a)
    given = (a[-1], c[-2], fresh[-1], d_a[-1], d_outputs.contiguous()[-1], d_h, d_c)
    arguments = (*given, *_matrices(weights), *_kept(keep, parts, -1))
    _run("lstm_backward", len(a), *d_h.shape, *arguments, keep=keep, PEEPHOLES=peepholes)
    if peepholes == "none":
        return d_a, (d_h, d_c), {"weight_hh": outer(rows(d_a), rows(h[:-1]))}
    return d_a, (d_h, d_c), d_peephole_weights(d_a, parts, fresh, weights)


def _own(d_state: Parts) -> Parts:
    """What a kernel turns into the gradient of the state before."""
    return tuple(d.clone(memory_format=torch.contiguous_format) for d in d_state)


def _matrices(weights: Weights) -> Parts:
    """U and the peepholes, or something to point at in their place."""
    U = weights["weight_hh"].contiguous()
    return U, *(weights.get(name, U).contiguous() for name in ("weight_ci", "weight_cf", "weight_co"))
