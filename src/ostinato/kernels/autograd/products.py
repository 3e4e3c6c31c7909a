"""Matrix products, each by the fastest routine at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# torch.mm on some CPUs goes to a GEMM that reaches less than half of what oneDNN does (AMD with AVX-512: 95 GFLOP/s a
# core against 210). The operator is private to torch, so its absence must cost nothing but speed.
_ONEDNN: Any = None
if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
    _ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)

# Below this many multiplications oneDNN's call, 13 us against 2, costs more than its speed gains.
_WORTHWHILE = 1 << 20


def uses_onednn(x: Tensor) -> bool:
    """Whether products with ``x`` can go to oneDNN."""
    return _ONEDNN is not None and x.dtype == torch.float32 and x.device.type == "cpu"


def _dense(x: Tensor) -> Tensor:
    """``x (N, K)`` without gaps between its rows or columns: with gaps oneDNN takes a path a thousand times slower."""
    return x if x.is_contiguous() or x.t().is_contiguous() else x.contiguous()


def _worthwhile(x: Tensor, w: Tensor) -> bool:
    """Whether oneDNN is the faster way to ``x w^T``."""
    return uses_onednn(x) and x.shape[0] * w.numel() >= _WORTHWHILE


def product(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x w^T + bias``, not recorded by autograd: ``x (N, K)``, ``w (M, K)``, ``bias (M,)`` give ``(N, M)``."""
    if _worthwhile(x, w):
        result: Tensor = _ONEDNN(_dense(x), _dense(w), bias, "none", [], "")
        return result
    return torch.nn.functional.linear(x, w, bias)


def outer(d: Tensor, x: Tensor) -> Tensor:
    """``d^T x``, the gradient of a weight: ``d (N, M)``, ``x (N, K)`` give ``(M, K)``."""
    if d.shape[1] < x.shape[1]:
        return product(d.t(), x.t())
    return product(x.t(), d.t()).t()  # oneDNN reaches a third more with the long side in rows of the second factor


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            product(d, weight.t()) if need_x else None,
            outer(d, x) if need_weight else None,
            d.sum(0) if need_bias else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b`` over the last axis: ``x (..., K)``, ``weight (M, K)``, ``bias (M,)`` or None give ``(..., M)``."""
    rows = x.reshape(-1, x.shape[-1])
    if not _worthwhile(rows, weight):
        return torch.nn.functional.linear(x, weight, bias)
    y: Tensor = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], weight.shape[0])
