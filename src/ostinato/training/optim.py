"""Optimisers, gradient clipping, the running average of the weights, and all three in one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.kernels import native
from ostinato.kernels.autograd import compiled
from ostinato.training.settings import TrainingConfig

RateFactors = Callable[[float], Mapping[str, float]]
"""From the share of the budget that is used up to what the rate of each parameter is multiplied with, by name. Where it
is 0 the parameter is left alone: its gradient does not count in the norm, and the optimiser does not hear of it."""


def make_optimiser(
    model: nn.Module, config: TrainingConfig, weight_decay: float, *, each: bool = False
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), SGD with momentum, or RMSprop; weight decay falls on matrices only.

    With ``each`` every parameter is a group, so that it can have a rate of its own.
    """
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if each:
        groups = [{**group, "params": [p]} for group in groups for p in group["params"]]  # type: ignore[attr-defined]
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
        torch._foreach_lerp_(self.weights, [p.detach() for p in self._weights], 1.0 - self.keep())
        self.steps += 1

    def keep(self) -> float:
        """The share of the average that stays in the next step."""
        return min(self.decay, (2 + self.steps) / (11 + self.steps))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the model has the averaged weights."""
        own = [p.detach().clone() for p in self._weights]
        _copy(self.weights, self._weights)
        try:
            yield
        finally:
            _copy(own, self._weights)


class Updater:
    """One step from gradients to weights: clipping, the optimiser, the average."""

    def __init__(
        self, model: nn.Module, config: TrainingConfig, weight_decay: float, factors: RateFactors | None = None
    ) -> None:
        """With ``factors`` every step is torch's: the core's has one rate, and one count of steps, for all."""
        self.optimiser = make_optimiser(model, config, weight_decay, each=factors is not None)
        self.average = Average(model, config.average) if config.average else None
        self._weights = list(model.parameters())
        self._names = {p: name for name, p in model.named_parameters()}
        self._factors = factors
        self._clip, self._clip_value = config.clip, config.clip_value

    def step(self, rate: float, fraction: float = 0.0) -> tuple[float, float]:
        """The global norm of the gradients before clipping and after. Nothing changes when it is not finite.

        ``fraction`` is the share of the budget that is used up.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if self._factors is not None:
            self._scale_rates(self._factors(fraction))
        possible = self._factors is None and all(p.grad is not None and compiled.possible(p) for p in self._weights)
        if isinstance(self.optimiser, torch.optim.AdamW) and possible:
            return self._compiled_step(rate)
        before, after = clip_gradients(self._weights, self._clip, self._clip_value)
        if math.isfinite(before):
            self.optimiser.step()
            if self.average is not None:
                self.average.update()
        return before, after

    def _scale_rates(self, factors: Mapping[str, float]) -> None:
        for group in self.optimiser.param_groups:
            (p,) = group["params"]
            factor = factors[self._names[p]]
            group["lr"] *= factor
            if factor == 0.0:
                p.grad = None

    def _compiled_step(self, rate: float) -> tuple[float, float]:
        averages = dict(zip(self._weights, self.average.weights, strict=True)) if self.average else {}
        tensors, steps = [], []
        for group in self.optimiser.param_groups:
            for p in group["params"]:
                memory = self.optimiser.state[p]
                if not memory:  # as torch begins it, so that a checkpoint of either can be read by the other
                    memory |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p)}
                    memory["exp_avg_sq"] = torch.zeros_like(p)
                tensors.append(
                    native.Trained(
                        _array(p.detach()),
                        _array(p.grad.contiguous()),
                        _array(memory["exp_avg"]),
                        _array(memory["exp_avg_sq"]),
                        _array(averages.get(p)),
                        group["weight_decay"],
                    )
                )
                steps.append(memory["step"])
        keep = self.average.keep() if self.average else 0.0
        options = self.optimiser.param_groups[0]
        how = native.AdamW(
            int(steps[0]) + 1, rate, options["betas"], options["eps"], self._clip, self._clip_value, keep
        )
        before, after = native.update(tensors, how, torch.get_num_threads())
        if math.isfinite(before):
            torch._foreach_add_(steps, 1)
            if self.average is not None:
                self.average.steps += 1
        return before, after


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.numpy()


def _copy(values: list[Tensor], into: list[nn.Parameter]) -> None:
    with torch.no_grad():
        torch._foreach_copy_(list[Tensor](into), values)
