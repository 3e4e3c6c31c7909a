"""Optimisers, gradient clipping, and the running average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ostinato.training.settings import TrainingConfig


def make_optimiser(model: nn.Module, config: TrainingConfig, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), SGD with momentum, or RMSprop; weight decay falls on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    if config.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, lr=config.lr, alpha=0.95)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=True)


def clip_gradients(parameters: list[nn.Parameter], norm: float, value: float) -> tuple[float, float]:
    """Clip in place, each element to ``value`` and then all together to global norm ``norm`` (0: off).

    Gives the global norm before and after; the gradients are left alone when it is not finite.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    before = total = float(nn.utils.get_total_norm(gradients))
    if not torch.isfinite(torch.tensor(before)):
        return before, before
    if value:
        nn.utils.clip_grad_value_(parameters, value)
        total = float(nn.utils.get_total_norm(gradients))
    if norm and total > norm:
        torch._foreach_mul_(gradients, norm / total)
        total = norm
    return before, total


class Average:
    """An exponential average of the weights (Polyak averaging), which forgets its start quickly.

    After n steps the decay is the smaller of ``decay`` and (1 + n) / (10 + n), so that early weights do not linger.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._weights = list(model.parameters())
        self.weights: list[Tensor] = [p.detach().clone() for p in self._weights]

    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.weights, [p.detach() for p in self._weights], 1.0 - keep)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the model has the averaged weights."""
        own = [p.detach().clone() for p in self._weights]
        _copy(self.weights, self._weights)
        try:
            yield
        finally:
            _copy(own, self._weights)


def _copy(values: list[Tensor], into: list[nn.Parameter]) -> None:
    with torch.no_grad():
        torch._foreach_copy_(list[Tensor](into), values)
