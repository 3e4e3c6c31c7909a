"""Dropout without a mask that is kept, where the core is."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ostinato.kernels import native
from ostinato.kernels.autograd import compiled


def drop(x: Tensor, p: float) -> Tensor:
    """``x`` with elements zeroed with probability ``p``, below 1, the others scaled by ``1 / (1 - p)``.

    One number of torch's global generator decides which, so that its saved state repeats them. torch's own dropout
    draws a number for each element, in turn, on one thread: a fifth of the time of a step.
    """
    if not compiled.possible(x):
        return F.dropout(x, p)
    seed = int(torch.randint(1 << 62, ()))
    dropped: Tensor = _Drop.apply(x, p, seed)  # type: ignore[no-untyped-call]
    return dropped


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: int) -> Tensor:
        ctx.p, ctx.seed = p, seed
        return _dropped(x, p, seed)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, None, None]:
        return _dropped(d_y, ctx.p, ctx.seed), None, None


def _dropped(x: Tensor, p: float, seed: int) -> Tensor:
    x = x.detach().contiguous()
    y = torch.empty_like(x)
    native.drop(x.numpy(), y.numpy(), p, seed, torch.get_num_threads())
    return y
