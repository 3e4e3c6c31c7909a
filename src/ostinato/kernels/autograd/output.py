"""The loss of an output layer over a large vocabulary, without ever holding all of its logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.kernels import native
from ostinato.kernels.autograd import compiled
from ostinato.kernels.autograd.products import product

# Logits in a block, 8 MB of float32. Of 0.9 to 7 million, 1.8 to 3.5 were the fastest at a vocabulary of 10000: smaller
# blocks add up the weight's gradient too often, larger ones leave the cache between product, softmax and gradients.
_BLOCK = 1 << 21
_GPU_BLOCK = 1 << 26  # 256 MB: large enough to keep a GPU busy, small beside its memory


def _blocks(x: Tensor, vocab: int) -> list[slice]:
    """Consecutive slices that cover the rows of ``x``, of near equal size, each a block of logits or one row."""
    rows, size = len(x), max(1, (_GPU_BLOCK if x.is_cuda else _BLOCK) // vocab)
    size = -(-rows // max(1, -(-rows // size)))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, max(1, size))]


def _softmax_(logits: Tensor) -> Tensor:
    """Turn ``logits (N, V)`` into their softmax in place; give the logarithm of the normaliser ``(N,)``.

    The largest probability is at least 1/V, so its logarithm is safe where that of the target's is not.
    """
    top = logits.amax(1)
    torch.softmax(logits, 1, out=logits)
    return top.sub_(logits.amax(1).log_())


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        nats = x.new_zeros(())
        d_x, d_weight_t, d_bias = (
            torch.empty_like(x),
            weight.new_zeros(weight.shape[::-1]),
            weight.new_zeros(len(weight)),
        )
        # Both products that read the weight are faster on it transposed, as is the sum of its gradient.
        weight_t = weight.t().contiguous()
        for block in _blocks(x, len(weight)):
            logits = product(x[block], weight_t.t(), bias)
            target = targets[block, None]
            chosen = logits.gather(1, target)[:, 0]
            nats += (_softmax_(logits) - chosen).sum()
            d = logits.scatter_add_(1, target, logits.new_full(target.shape, -1.0))
            d_x[block] = product(d, weight_t)
            d_weight_t += product(x[block].t(), d.t())
            d_bias += d.sum(0)
        ctx.save_for_backward(d_x, d_weight_t, d_bias)
        return nats

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_nats: Tensor) -> tuple[Tensor | None, ...]:
        d_x, d_weight_t, d_bias = ctx.saved_tensors
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        d_weight = torch.empty_like(d_weight_t.t(), memory_format=torch.contiguous_format) if need_weight else None
        return (
            d_x * d_nats if need_x else None,
            torch.mul(d_weight_t.t(), d_nats, out=d_weight) if need_weight else None,
            d_bias * d_nats if need_bias else None,
            None,
        )


class _CompiledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        # Dense whatever lies how: of a transposed tensor the core would fill a copy.
        gradients = x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(len(weight))
        nats = _compiled_nats(x, weight, bias, targets, gradients)
        ctx.gradients, ctx.biased = gradients, bias is not None
        return nats.sum(dtype=torch.float64).float()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_nats: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradient of this loss was already taken; compute the loss again")
        d_x, d_weight, d_bias = (d.mul_(d_nats) for d in ctx.gradients)
        ctx.gradients = None  # whoever gets them may keep them, without a copy
        return d_x, d_weight, d_bias if ctx.biased else None, None


def _compiled_nats(
    x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, gradients: tuple[Tensor, Tensor, Tensor] | None
) -> Tensor:
    wanted = None if gradients is None else native.OutputGradients(*map(_array, gradients))
    offset = None if bias is None else _array(bias)
    nats = native.cross_entropy(_array(x), _array(weight), offset, _array(targets), torch.get_num_threads(), wanted)
    return torch.from_numpy(nats)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The sum of ``-log p(target)`` in nats, a scalar with gradient, under ``softmax(x W^T + b)``.

    ``x (N, R)``, ``weight (V, R)``, ``bias (V,)`` or None, ``targets (N,)`` int64.
    """
    if not (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias))):
        return linear_nats(x, weight, bias, targets).sum()
    if compiled.possible(x):
        return _CompiledCrossEntropy.apply(x, weight, bias, targets)  # type: ignore[no-any-return, no-untyped-call]
    nats: Tensor = _LinearCrossEntropy.apply(x, weight, bias, targets)  # type: ignore[no-untyped-call]
    return nats


@torch.no_grad()
def linear_nats(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """``-log p(target)`` in nats of each row ``(N,)``, without gradient; arguments as ``linear_cross_entropy``."""
    if compiled.possible(x):
        return _compiled_nats(x, weight, bias, targets, None)
    nats = x.new_empty(len(x))
    for block in _blocks(x, len(weight)):
        logits = product(x[block], weight, bias)
        chosen = logits.gather(1, targets[block, None])[:, 0]
        torch.sub(_softmax_(logits), chosen, out=nats[block])
    return nats
