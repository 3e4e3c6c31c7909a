"""The only training loop: losses in, a better model out, nothing lost on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ostinato.data.lanes import Place
from ostinato.errors import TrainingError
from ostinato.training import checkpoint
from ostinato.training.metrics import BITS, MetricsFile, peak_memory
from ostinato.training.objective import Evaluation, Objective
from ostinato.training.optim import RateFactors, Updater
from ostinato.training.schedule import Budget, rate
from ostinato.training.settings import TrainingConfig

ROLL_BACK_AFTER = 5  # steps in a row with a loss or gradient that is not finite
GIVE_UP_AFTER = 8  # roll-backs in one run
RECORD_SECONDS = 1.0  # between lines of metrics.jsonl


@dataclass
class Progress:
    """Where a run is; all of it goes into a checkpoint."""

    step: int = 0
    place: Place = field(default_factory=Place)
    elapsed: float = 0.0
    """Seconds of training, evaluations included, over all starts of the run."""
    cpu: float = 0.0
    """CPU-seconds of the same, all threads."""
    tokens: int = 0
    best_nats: float = math.inf
    best_step: int = 0
    stale: int = 0
    """Evaluations since the best."""
    rate_scale: float = 1.0
    """What plateau decay and roll-backs have made of the rate."""
    skipped: int = 0
    """Steps left out because the loss or the gradient was not finite."""
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    evaluated: int = 0
    """Evaluations that are behind, of those spread over the budget."""
    evaluated_step: int = -1
    """Step of the last one."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "best_nats": self.best_nats if math.isfinite(self.best_nats) else None}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Progress:
        """The reverse of ``to_json``."""
        best = math.inf if values["best_nats"] is None else values["best_nats"]
        return Progress(**{**values, "place": Place(**values["place"]), "best_nats": best})


@dataclass(frozen=True)
class Report:
    """What the loop tells while it runs: ``kind`` is ``step``, ``evaluated``, ``saved`` or ``notice``."""

    kind: str
    progress: Progress
    fraction: float
    """Share of the budget that is used up."""
    seconds_left: float
    values: dict[str, float] = field(default_factory=dict)
    """By name: loss and valid_nats in nats per token, rate, gradient_norm, tokens_per_second."""
    message: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What the loop is given besides model and data."""

    folder: Path
    """Of ``metrics.jsonl`` and ``resume/``."""
    keep_best: Callable[[Any, Progress, Mapping[str, float]], None]
    """Called with the model (averaged weights applied) and what was measured of it at every new best."""
    chars_per_token: float | None = None
    """Of the text that is trained on, to tell bits per character; None where that means nothing."""
    watch: Callable[[Report], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    """Asked after every step; when it says true the run saves a checkpoint and ends."""
    factors: RateFactors | None = None
    """What the rate of each parameter is multiplied with; None: all learn at the same rate."""

    @property
    def checkpoint(self) -> Path:
        """The file that ``--resume`` goes on from."""
        return self.folder / "resume" / "checkpoint.safetensors"


class _Window:
    """Sums over the steps since the last line of metrics."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.steps = self.tokens = self.clipped = 0
        self.nats = self.norm = self.norm_after = self.norm_max = 0.0

    def add(self, nats: float, tokens: int, before: float, after: float) -> None:
        self.steps += 1
        self.tokens += tokens
        self.nats += nats
        self.norm += before
        self.norm_after += after
        self.norm_max = max(self.norm_max, before)
        self.clipped += after < before

    def values(self) -> dict[str, float]:
        return {
            "loss": self.nats / self.tokens,
            "gradient_norm": self.norm / self.steps,
            "gradient_norm_max": self.norm_max,
            "gradient_norm_clipped": self.norm_after / self.steps,
            "clipped_share": self.clipped / self.steps,
            "tokens_per_second": self.tokens / (time.perf_counter() - self.start),
        }


class Trainer:
    """One run of training a model towards an objective."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        weight_decay: float,
        objective: Objective,
        held_out: Evaluation,
        budget: Budget,
        around: Surroundings,
    ) -> None:
        self.model, self.config, self.objective, self.held_out = model, config, objective, held_out
        self.budget, self.around = budget, around
        self.updater = Updater(model, config, weight_decay, around.factors)
        self.progress = Progress()
        self.state = objective.start()
        self._rate = 0.0
        self._since, self._cpu_since = time.perf_counter(), time.process_time()

    def resume(self) -> None:
        """Go on from the checkpoint. Raises TrainingError or BundleError when there is none that is whole."""
        tensors, facts = checkpoint.read(self.around.checkpoint)
        self.state = checkpoint.restore(tensors, self.model, self.updater.optimiser, self.updater.average)
        self.progress = Progress.from_json(facts["progress"])
        # With a larger budget than before, fewer of its evaluations are behind.
        self.progress.evaluated = min(self.progress.evaluated, self._evaluations_behind())

    def finished(self) -> bool:
        """Whether the budget is used up, or the held-out text has stopped getting better."""
        patience = self.config.patience if self.config.schedule != "plateau" else 0
        return (patience > 0 and self.progress.stale >= patience) or self._fraction() >= 1.0

    def run(self) -> Progress:
        """Train until the budget is used up, training stops improving, or ``stop`` says so."""
        begun = self.progress.evaluated_step >= 0
        self._metrics = MetricsFile(self.around.folder / "metrics.jsonl", self.progress.step if begun else -1)
        self._since, self._cpu_since = time.perf_counter(), time.process_time()
        self._window = _Window()
        self.model.train()
        saved = time.perf_counter()
        try:
            if not begun:
                self.save()  # so that there is always something to go on from, and to roll back to
                self._evaluate()
            while not self.finished():
                self._step()
                if self._evaluation_due():
                    self._evaluate()
                stop = self.around.stop()
                due = stop or time.perf_counter() - saved >= self.config.checkpoint_seconds
                if due and not self.progress.skipped_in_a_row:  # else the weights themselves may be at fault
                    self.save()
                    saved = time.perf_counter()
                if stop:
                    break
            else:
                self._end()
        finally:
            self._metrics.close()
        return self.progress

    def save(self) -> None:
        """Write a checkpoint."""
        self._tick()
        tensors = checkpoint.collect(self.model, self.updater.optimiser, self.updater.average, self.state)
        checkpoint.write(self.around.checkpoint, tensors, {"progress": self.progress.to_json()})
        self._tell("saved")

    def _end(self) -> None:
        if self._window.steps:
            self._record()
        if self.progress.evaluated_step != self.progress.step:
            self._evaluate()
        self.save()

    def _step(self) -> None:
        """Loss, gradients, clipping, update. A step that is not finite is left out and counted."""
        progress = self.progress
        if progress.place.window == 0:
            self.state = self.objective.start()
        loss = self.objective.loss(progress.place, self.state)
        self.updater.optimiser.zero_grad(set_to_none=True)
        (loss.nats / loss.tokens + loss.penalty).backward()  # type: ignore[no-untyped-call]
        progress.step += 1
        progress.place = self.objective.after(progress.place)
        progress.tokens += loss.tokens
        fraction = self._fraction()
        self._rate = rate(self.config, fraction) * progress.rate_scale
        nats, before, after = float(loss.nats.detach()), math.nan, math.nan
        if math.isfinite(nats):
            before, after = self.updater.step(self._rate, fraction)
        if not math.isfinite(before):
            self._skip()
            return
        self.state = loss.state
        progress.skipped_in_a_row = 0
        self._window.add(nats, loss.tokens, before, after)
        if time.perf_counter() - self._window.start >= RECORD_SECONDS:
            self._record()

    def _skip(self) -> None:
        progress = self.progress
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        self.state = self.objective.start()
        if progress.skipped_in_a_row == 1:
            self._notice(f"step {progress.step}: the loss or its gradient is not finite; the step is left out")
        if progress.skipped_in_a_row >= ROLL_BACK_AFTER:
            self._roll_back()

    def _roll_back(self) -> None:
        """Back to the weights of the last checkpoint, at half the rate; the text goes on where it is."""
        progress = self.progress
        progress.rollbacks += 1
        if progress.rollbacks > GIVE_UP_AFTER or not self.around.checkpoint.exists():
            raise TrainingError(
                f"the loss is not finite at step {progress.step}, after {progress.rollbacks - 1} tries at lower rates; "
                f"set --lr lower than {self.config.lr:g} or --clip lower than {self.config.clip:g}"
            )
        tensors, _ = checkpoint.read(self.around.checkpoint)
        checkpoint.restore(tensors, self.model, self.updater.optimiser, self.updater.average)
        self.state = self.objective.start()
        progress.rate_scale /= 2
        progress.skipped_in_a_row = 0
        self._notice(f"step {progress.step}: back to the last good checkpoint, at {progress.rate_scale:g} of the rate")

    def _evaluation_due(self) -> bool:
        return self._fraction() * self.config.evaluations >= self.progress.evaluated and self._fraction() < 1.0

    def _evaluations_behind(self) -> int:
        return 1 + math.floor(self._fraction() * self.config.evaluations)

    def _evaluate(self) -> None:
        """Held-out loss; the best model is kept; plateau decay. The averaged weights count where there are any."""
        with nullcontext() if self.updater.average is None else self.updater.average.applied():
            self._evaluate_weights()

    def _evaluate_weights(self) -> None:
        progress = self.progress
        measured = self._measure()
        if not math.isfinite(measured["nats"]):
            self._notice(
                f"step {progress.step}: the held-out loss is not finite; the best model so far is kept; "
                f"if it goes on, set --lr lower than {self.config.lr:g}"
            )
        progress.evaluated = self._evaluations_behind()
        progress.evaluated_step = progress.step
        if self.config.schedule == "plateau" and progress.stale >= self.config.patience:
            progress.rate_scale /= 2
            progress.stale = 0
            self._notice(f"no better for {self.config.patience} evaluations: the rate goes to {progress.rate_scale:g}")
        values = {f"valid_{name}": value for name, value in measured.items()}
        self._write(values)
        self._tell("evaluated", values)

    def _measure(self) -> dict[str, float]:
        measured, progress = self.held_out.measure(self.model), self.progress
        if measured["nats"] < progress.best_nats:
            progress.best_nats, progress.best_step, progress.stale = measured["nats"], progress.step, 0
            self._tick()
            self.around.keep_best(self.model, progress, measured)
        else:
            progress.stale += 1
        return measured

    def _record(self) -> None:
        values = {**self._window.values(), "rate": self._rate, "memory": float(peak_memory())}
        if self.around.chars_per_token is not None:
            values["bits_per_char"] = values["loss"] * BITS / self.around.chars_per_token
        self._write(values)
        self._tell("step", values)
        self._window = _Window()

    def _write(self, values: dict[str, float]) -> None:
        self._tick()
        progress = self.progress
        place = {"step": progress.step, "epoch": progress.place.epoch, "seconds": round(progress.elapsed, 3)}
        place["cpu_seconds"] = round(progress.cpu, 3)
        self._metrics.write({**place, "tokens": progress.tokens, **values})

    def _tick(self) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        self.progress.elapsed += now - self._since
        self.progress.cpu += cpu - self._cpu_since
        self._since, self._cpu_since = now, cpu

    def _fraction(self) -> float:
        elapsed = self.progress.elapsed + time.perf_counter() - self._since
        return self.budget.fraction(self.progress.step, elapsed)

    def _notice(self, message: str) -> None:
        self._tell("notice", message=message)

    def _tell(self, kind: str, values: dict[str, float] | None = None, message: str = "") -> None:
        left = self.budget.seconds_left(self.progress.step, self.progress.elapsed)
        self.around.watch(Report(kind, self.progress, self._fraction(), left, values or {}, message))
