"""What is dropped in training and left whole in evaluation.

Every mask is drawn from torch's global generator of the tensor's device, so that its saved state makes a resumed run
draw what an undisturbed one would have drawn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ostinato.kernels.autograd import drop


def dropout(x: Tensor, p: float, *, training: bool, locked: bool = False) -> Tensor:
    """Zero elements of ``x (T, B, F)`` with probability ``p`` and scale the others by ``1 / (1 - p)``.

    ``locked``: one mask ``(1, B, F)`` for all steps of the window (Gal and Ghahramani 2016) instead of a new one each
    step (Zaremba et al. 2014).
    """
    if not training or p == 0.0:
        return x
    if not locked:
        return drop(x, p)
    _, B, width = x.shape
    return x * F.dropout(x.new_ones(1, B, width), p)


def drop_tokens(rows: Tensor, ids: Tensor, vocab: int, p: float, *, training: bool) -> Tensor:
    """``rows (..., E)`` of the tokens ``ids (...)``, with whole tokens dropped in training.

    A dropped token is zero wherever it occurs in the window, the others are scaled by ``1 / (1 - p)`` (Gal and
    Ghahramani 2016). The mask is over tokens ``(vocab,)``: the matrix of all rows is never copied.
    """
    if not training or p == 0.0:
        return rows
    scale = F.dropout(rows.new_ones(vocab), p)
    return rows * scale[ids].unsqueeze(-1)


def weight_drop(weight: Tensor, p: float, *, training: bool) -> Tensor:
    """``weight`` with elements dropped for one window (DropConnect, Wan et al. 2013; on U, Merity et al. 2018).

    The stored weight is not touched: the mask is part of the computation, and its gradient flows through it.
    """
    return drop(weight, p) if training and p > 0.0 else weight


def zoneout(shape: tuple[int, int, int], p: float, like: Tensor, *, training: bool) -> Tensor | None:
    """The share of the old state that each unit keeps at each step (Krueger et al. 2017).

    In training a mask ``shape = (T, B, H)`` of zeros and ones (one with probability ``p``), in evaluation its
    expectation ``(1, 1, 1)``; None when ``p`` is 0. Device and dtype are those of ``like``.
    """
    if p == 0.0:
        return None
    if not training:
        return like.new_full((1, 1, 1), p)
    return torch.empty(shape, device=like.device, dtype=like.dtype).bernoulli_(p)


def activation_penalty(raw: Tensor, dropped: Tensor, activation: float, temporal: float) -> Tensor:
    """``activation * mean(dropped^2) + temporal * mean((raw_t - raw_{t-1})^2)``, a scalar.

    ``raw`` and ``dropped (T, B, H)`` are the last layer's outputs before and after dropout: AR and TAR as in Merity
    et al. (2017, "Revisiting Activation Regularization for Language RNNs"). A window of one step has no change.
    """
    penalty = raw.new_zeros(())
    if activation > 0.0:
        penalty = penalty + activation * dropped.square().mean()
    if temporal > 0.0 and len(raw) > 1:
        penalty = penalty + temporal * raw.diff(dim=0).square().mean()
    return penalty
