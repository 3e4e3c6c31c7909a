"""How a model is trained, as a frozen value that is checked when made."""

from __future__ import annotations

from dataclasses import dataclass

from ostinato.config import check_choice, check_range
from ostinato.errors import ConfigError

OPTIMISERS = ("adamw", "sgd", "rmsprop")
SCHEDULES = ("cosine", "plateau", "constant")


@dataclass(frozen=True)
class TrainingConfig:
    """Batches, budget, optimiser, schedule: all that the loop needs besides a model and ids."""

    batch: int
    """Lanes of text read side by side, B."""
    bptt: int
    """Steps back through which gradients flow, T (truncated back-propagation through time)."""
    lr: float
    """Peak learning rate."""
    minutes: float | None = None
    """Budget in minutes; exactly one of minutes, epochs and steps is given."""
    epochs: float | None = None
    """Budget in passes over the text."""
    steps: int | None = None
    """Budget in optimiser steps."""
    optimiser: str = "adamw"
    """One of OPTIMISERS."""
    schedule: str = "cosine"
    """One of SCHEDULES, over the budget."""
    warmup: float = 0.02
    """Share of the budget over which the rate climbs from zero."""
    final_rate: float = 0.02
    """Share of the peak rate that the cosine ends at."""
    clip: float = 1.0
    """Largest global norm of the gradient (Pascanu et al. 2013); 0 is off."""
    clip_value: float = 0.0
    """Largest size of any one gradient element; 0 is off."""
    sampled_softmax: int = 0
    """For large vocabularies: learn from the scores of the targets and of about so many tokens drawn from the text, not
    of all (Jean et al. 2015). Evaluation scores all, so its loss is not that of training; 0 is off."""
    average: float = 0.0
    """Decay of an exponential average of the weights, which is then what is evaluated and kept; 0 is off."""
    patience: int = 0
    """Stop after so many evaluations without improvement; 0 is off. With schedule plateau: halve the rate instead."""
    evaluations: int = 20
    """Evaluations on the held-out text over the budget."""
    checkpoint_seconds: float = 30.0
    """Time between checkpoints: what a crash can cost."""
    seed: int = 0
    """Of initialisation, dropout and the cutting of the text."""

    def __post_init__(self) -> None:
        check_range("batch", self.batch, 1, 1 << 16)
        check_range("bptt", self.bptt, 1, 1 << 16)
        check_range("lr", self.lr, 1e-9, 1e3)
        if sum(budget is not None for budget in (self.minutes, self.epochs, self.steps)) != 1:
            raise ConfigError("give exactly one of minutes, epochs and steps")
        for name, low, high in (("minutes", 0.01, 1e6), ("epochs", 1e-6, 1e6), ("steps", 1, 1 << 40)):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), low, high)
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        for name, high in (
            ("warmup", 0.9),
            ("final_rate", 1.0),
            ("average", 0.99999),
            ("clip", 1e6),
            ("clip_value", 1e6),
        ):
            check_range(name, getattr(self, name), 0.0, high)
        check_range("sampled_softmax", self.sampled_softmax, 0, 1 << 24)
        check_range("patience", self.patience, 0, 1 << 30)
        check_range("evaluations", self.evaluations, 1, 1 << 20)
        check_range("checkpoint_seconds", self.checkpoint_seconds, 0.0, 1e6)
        check_range("seed", self.seed, 0, (1 << 63) - 1)
        if self.schedule == "plateau" and self.patience == 0:
            raise ConfigError("schedule plateau needs patience: how many evaluations without improvement to wait")
