"""The loss of an output layer over a large vocabulary, without ever holding all of its logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.kernels.autograd.products import outer, product

# Logits in a block: 2 MB of float32, which stays in cache between the product, the softmax and the gradients.
_BLOCK = 1 << 19


def _blocks(rows: int, vocab: int) -> list[slice]:
    """Consecutive slices that cover ``rows``, of near equal size, each of at most about ``_BLOCK`` logits."""
    count = max(1, -(-rows * vocab // _BLOCK))
    size = max(1, -(-rows // count))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _block_nats(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``-log p`` of the targets ``(N,)`` and the log normaliser ``(N, 1)``."""
    log_z = torch.logsumexp(logits, 1, keepdim=True)
    return (log_z - logits.gather(1, targets[:, None]))[:, 0], log_z


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        d_x = torch.empty_like(x) if need_x else None
        d_weight = torch.zeros_like(weight) if need_weight else None
        d_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        total = x.new_zeros(())
        for block in _blocks(len(x), len(weight)):
            logits = product(x[block], weight, bias)
            nats, log_z = _block_nats(logits, targets[block])
            total += nats.sum()
            if not (need_x or need_weight or need_bias):
                continue
            d = logits.sub_(log_z).exp_()
            d.scatter_add_(1, targets[block, None], d.new_full((len(d), 1), -1.0))
            if d_x is not None:
                d_x[block] = product(d, weight.t())
            if d_weight is not None:
                d_weight += outer(d, x[block])
            if d_bias is not None:
                d_bias += d.sum(0)
        ctx.gradients = (d_x, d_weight, d_bias)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if d is None else d * d_total for d in ctx.gradients), None)


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The sum of ``-log p(target)`` in nats, a scalar with gradient, under ``softmax(x W^T + b)``.

    ``x (N, R)``, ``weight (V, R)``, ``bias (V,)`` or None, ``targets (N,)`` int64.
    """
    total: Tensor = _LinearCrossEntropy.apply(x, weight, bias, targets)  # type: ignore[no-untyped-call]
    return total


@torch.no_grad()
def linear_nats(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """``-log p(target)`` in nats of each row ``(N,)``, without gradient; arguments as ``linear_cross_entropy``."""
    parts = [_block_nats(product(x[block], weight, bias), targets[block])[0] for block in _blocks(len(x), len(weight))]
    return torch.cat(parts) if parts else x.new_zeros(0)
