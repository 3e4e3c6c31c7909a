"""A layer over a sequence: the core, on a GPU torch's fused layers or our kernels, plain loops elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ostinato.kernels.autograd import compiled, gpu
from ostinato.kernels.autograd.loops import LOOPS, RNN_LOOPS, Loop, Parts, rows
from ostinato.kernels.autograd.products import outer, product, uses_onednn
from ostinato.kernels.reference import find


@dataclass(frozen=True)
class Lookup:
    """A sequence ``(T, B, I)`` whose elements are rows of a table: ``rows (R, I)``, ``index (T, B)``, int32.

    A layer then multiplies its input weights with each row once, however often it occurs.
    """

    rows: Tensor
    index: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(T, B, I)``."""
        T, B = self.index.shape
        return T, B, self.rows.shape[1]

    def __getitem__(self, steps: slice) -> Lookup:
        """Some of the steps."""
        return Lookup(self.rows, self.index[steps])

    def dense(self) -> Tensor:
        """The sequence ``(T, B, I)``."""
        return functional.embedding(self.index, self.rows)


Input: TypeAlias = Tensor | Lookup
"""What a layer reads, ``(T, B, I)``."""


def dense(x: Input) -> Tensor:
    """``x (T, B, I)`` as a tensor."""
    return x.dense() if isinstance(x, Lookup) else x


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loop: Loop, names: tuple[str, ...], keep: Parts | None, x: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        weights, state = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
        T, B, _ = x.shape
        a = product(rows(x), weights["weight_ih"], weights["bias"]).view(T, B, -1)
        parts, saved = loop.forward(a, weights, state, keep)
        ctx.loop, ctx.names, ctx.keep, ctx.parts = loop, names, keep, len(parts)
        ctx.save_for_backward(x, *tensors[: len(names)], *parts, *saved)
        return parts[0][1:], *(part[-1].clone() for part in parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors
        count, split = len(ctx.names), len(ctx.names) + ctx.parts
        weights = dict(zip(ctx.names, tensors, strict=False))
        d_a, d_before, d_weights = ctx.loop.backward(
            d_outputs, d_state, tuple(tensors[count:split]), tuple(tensors[split:]), weights, ctx.keep
        )
        d_rows = rows(d_a)
        d_weights |= {"weight_ih": outer(d_rows, rows(x)), "bias": d_rows.sum(0)}
        d_x = product(d_rows, weights["weight_ih"].t()).view(x.shape) if ctx.needs_input_grad[3] else None
        return None, None, None, d_x, *(d_weights[name] for name in ctx.names), *d_before


def _fused(cell: str, activation: str, x: Tensor) -> Any:
    """torch's own function for this cell where it is the fastest, or None."""
    if cell == "lstm":
        return torch.lstm
    if uses_onednn(x):
        return None  # torch's loops for these two do not use oneDNN: ours take 0.5 to 0.7 of their time
    if cell == "rnn":
        return {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}.get(activation)
    return torch.gru if cell == "gru_reset_after" else None


def _run_fused(
    function: Any, x: Tensor, weights: Mapping[str, Tensor], state: Parts, lengths: Tensor | None
) -> tuple[Tensor, Parts]:
    """Run torch's fused layer on our weights."""
    bias = weights["bias"]
    H = state[0].shape[1]
    bias_hh = torch.zeros_like(bias)
    if "bias_hn" in weights:
        bias_hh = torch.cat([bias_hh[: 2 * H], weights["bias_hn"]])
    flat = [weights["weight_ih"], weights["weight_hh"], bias, bias_hh]
    options = (True, 1, 0.0, torch.is_grad_enabled(), False)  # has_biases, layers, dropout, train, bidirectional
    if lengths is None:
        hx = tuple(part[None] for part in state)
        outputs, *final = function(x, hx if len(hx) > 1 else hx[0], flat, *options, False)
        return outputs, tuple(part[0] for part in final)
    packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None
    assert back is not None
    hx = tuple(part[None, order] for part in state)
    data, *final = function(packed.data, packed.batch_sizes, hx if len(hx) > 1 else hx[0], flat, *options)
    outputs, _ = pad_packed_sequence(PackedSequence(data, packed.batch_sizes, order, back), total_length=len(x))
    return outputs, tuple(part[0, back] for part in final)


def _expanded(keep: Parts | None, steps: int, state: Parts) -> Parts | None:
    """Each part of ``keep`` as ``(T, B, H)``."""
    if keep is None:
        return None
    like = state[0]
    return tuple(torch.as_tensor(k, dtype=like.dtype, device=like.device).expand(steps, *like.shape) for k in keep)


def _live(steps: int, lengths: Tensor | None, device: torch.device) -> Tensor | None:
    """Where rows have not ended, ``(T, B, 1)``."""
    if lengths is None:
        return None
    return (torch.arange(steps, device=device)[:, None] < lengths.to(device))[:, :, None]


def _run_loop(loop: Loop, x: Tensor, weights: Mapping[str, Tensor], state: Parts, keep: Parts | None) -> list[Tensor]:
    names = tuple(weights)
    return list(
        _Recurrence.apply(loop, names, keep, x, *(weights[name] for name in names), *state)  # type: ignore[no-untyped-call]
    )


def recurrent(
    cell: str,
    x: Tensor,
    weights: Mapping[str, Tensor],
    state: Parts,
    *,
    activation: str = "tanh",
    lengths: Tensor | None = None,
    keep: Parts | None = None,
) -> tuple[Tensor, Parts]:
    """Run a layer over ``x (T, B, I)`` from ``state``; give ``outputs (T, B, H)`` and the final state.

    Arguments as ``ostinato.kernels.reference.forward``: ``lengths (B,)`` at least 1 each, ``keep`` one tensor per state
    part that expands to ``(T, B, H)``. Raises ConfigError on an unknown cell.
    """
    find(cell, activation)
    if compiled.possible(x):
        return recurrent_together(
            cell, [(x, weights, state)], activation=activation, lengths=lengths, keeps=[keep], reversed=[False]
        )[0]
    function = _fused(cell, activation, x) if keep is None else None
    loop = gpu.find(cell, activation, x, state[0].shape[1], rival=function is not None)
    if function is not None and loop is None:
        with warnings.catch_warnings():
            # cuDNN wants the weights in one piece; ours are values that may have just been computed (weight drop).
            warnings.filterwarnings("ignore", "RNN module weights")
            return _run_fused(function, x, weights, state, lengths)
    live, keep = _live(len(x), lengths, x.device), _expanded(keep, len(x), state)
    if live is not None:
        # A row past its end is a row that keeps everything.
        shape = (*x.shape[:2], state[0].shape[1])
        keep = tuple(torch.where(live, k, 1.0) for k in keep or (x.new_zeros(shape),) * len(state))
        x = torch.where(live, x, 0.0)
    if loop is None:
        loop = RNN_LOOPS[activation] if cell == "rnn" else LOOPS[cell]
    outputs, *final = _run_loop(loop, x, weights, state, keep)
    return outputs if live is None else outputs * live, tuple(final)


def reverse(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """``x (T, B, ...)`` with the first ``lengths[b]`` elements of each row b in reverse order, the rest in place."""
    if lengths is None:
        return x.flip(0)
    T, B = x.shape[:2]
    t = torch.arange(T, device=x.device).unsqueeze(1)
    source = torch.where(t < lengths, lengths - 1 - t, t)
    return x[source, torch.arange(B, device=x.device)]


def _recurrent_in_direction(
    cell: str,
    layer: tuple[Tensor, Mapping[str, Tensor], Parts],
    keep: Parts | None,
    activation: str,
    lengths: Tensor | None,
    backwards: bool,
) -> tuple[Tensor, Parts]:
    x, weights, state = layer
    if not backwards:
        return recurrent(cell, x, weights, state, activation=activation, lengths=lengths, keep=keep)
    keep = _expanded(keep, len(x), state)
    keep = None if keep is None else tuple(reverse(k, lengths) for k in keep)
    outputs, final = recurrent(
        cell, reverse(x, lengths), weights, state, activation=activation, lengths=lengths, keep=keep
    )
    return reverse(outputs, lengths), final


def recurrent_together(
    cell: str,
    layers: Sequence[tuple[Input, Mapping[str, Tensor], Parts]],
    *,
    activation: str = "tanh",
    lengths: Tensor | None = None,
    keeps: Sequence[Parts | None],
    reversed: Sequence[bool],
) -> list[tuple[Tensor, Parts]]:
    """``recurrent`` for layers ``(x, weights, state)`` that do not depend on each other: in the core all at once.

    Those of ``reversed`` read each row from its own last step to its first; their outputs stand where their inputs do.
    """
    if not all(compiled.possible(x.rows if isinstance(x, Lookup) else x) for x, _, _ in layers):
        return [
            _recurrent_in_direction(cell, (dense(x), weights, state), keep, activation, lengths, backwards)
            for (x, weights, state), keep, backwards in zip(layers, keeps, reversed, strict=True)
        ]
    lives = [_live(x.shape[0], lengths, state[0].device) for x, _, state in layers]
    tasks = [
        compiled.Task(*_read(x, live), weights, state, lengths, _expanded(keep, x.shape[0], state), backwards)
        for (x, weights, state), live, keep, backwards in zip(layers, lives, keeps, reversed, strict=True)
    ]
    results = compiled.run(cell, activation, tasks)
    return [
        (outputs if live is None else outputs * live, final)
        for (outputs, final), live in zip(results, lives, strict=True)
    ]


def _read(x: Input, live: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Input and index of a task. What lies past a row's end must be a number: it is multiplied with gradients of 0."""
    if isinstance(x, Lookup):
        return x.rows, x.index
    return x if live is None else torch.where(live, x, 0.0), None
