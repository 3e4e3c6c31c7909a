"""The learning rate over the budget, and the budget itself: in time, or in steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ostinato.training.settings import TrainingConfig


@dataclass(frozen=True)
class Budget:
    """How long to train: ``seconds`` of training, or ``steps`` of the optimiser; one of them is set."""

    seconds: float | None = None
    steps: int | None = None

    def fraction(self, step: int, elapsed: float) -> float:
        """The share that is used up, 0 to 1 and beyond."""
        if self.steps is not None:
            return step / self.steps
        assert self.seconds is not None
        return elapsed / max(self.seconds, 1e-9)

    def seconds_left(self, step: int, elapsed: float) -> float:
        """Expected time to the end at the speed so far; NaN before the first step of a budget in steps."""
        if self.seconds is not None:
            return max(0.0, self.seconds - elapsed)
        assert self.steps is not None
        return elapsed / step * (self.steps - step) if step else math.nan


def rate(config: TrainingConfig, fraction: float) -> float:
    """The learning rate at ``fraction`` of the budget: linear warm-up, then half a cosine (SGDR, 2017)."""
    warm = min(1.0, fraction / config.warmup) if config.warmup else 1.0
    if config.schedule != "cosine":
        return config.lr * warm
    after = (fraction - config.warmup) / (1.0 - config.warmup)
    falling = 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, after))))
    return config.lr * warm * (config.final_rate + (1.0 - config.final_rate) * falling)
