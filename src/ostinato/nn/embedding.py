"""From tokens to what the first layer reads."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ostinato.kernels.autograd import Input, Lookup, possible
from ostinato.nn.dropout import drop_tokens


def look_up(ids: Tensor, weight: Tensor, p: float, *, training: bool, tied: bool) -> tuple[Input, Tensor]:
    """The rows ``(T, B, E)`` of ``ids (T, B)``, whole tokens dropped with probability ``p`` in training; the weight.

    Where tokens recur they are looked up in the rows of those that occur: what the first layer makes of a token is then
    computed once. Only the core gains by it. ``tied`` says that the loss of an output layer, and nothing else, will use
    the ``weight (V, E)`` that is given back.
    """
    tokens, index = ids, None
    if possible(weight):
        found, places = torch.unique(ids, return_inverse=True)
        if 2 * len(found) <= ids.numel():
            tokens, index = found, places.to(torch.int32)
    rows, weight = _TiedRows.apply(weight, tokens) if tied else (F.embedding(tokens, weight), weight)  # type: ignore[no-untyped-call]
    rows = drop_tokens(rows, tokens, len(weight), p, training=training)
    return (rows if index is None else Lookup(rows, index)), weight


class _TiedRows(torch.autograd.Function):
    """Both uses of a tied weight as one node of the graph: its gradient is that of the output layer, in place, with
    that of the rows added. By itself autograd makes a second matrix, or a third, of which nearly all is zeros."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(ids)
        return F.embedding(ids, weight), weight.view_as(weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_rows: Tensor, d_weight: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        d_weight.index_add_(0, ids.flatten(), d_rows.flatten(0, -2))  # nobody else has it: linear_cross_entropy made it
        return d_weight, None
