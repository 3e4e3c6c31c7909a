from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ostinato.config import ModelConfig, Regularisers
from ostinato.data.lanes import Lanes
from ostinato.errors import TrainingError
from ostinato.models.build import build
from ostinato.models.tokens import CrossEntropy, TokenModel
from ostinato.nn.sampled import SampledSoftmax
from ostinato.training import loop, objective
from ostinato.training.evaluate import HeldOut
from ostinato.training.loop import Progress, Report, Surroundings, Trainer
from ostinato.training.objective import TextObjective
from ostinato.training.optim import Updater
from ostinato.training.schedule import Budget
from ostinato.training.settings import TrainingConfig

STEPS = 14
NOISY = Regularisers(dropout_input=0.2, dropout_hidden=0.2, dropout_output=0.3, weight_drop=0.2)
VARIANTS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sgd": {"optimiser": "sgd", "lr": 0.3},
    "rmsprop": {"optimiser": "rmsprop", "clip_value": 0.05},
    "average": {"average": 0.9},
    "plateau": {"schedule": "plateau", "patience": 1, "lr": 0.2},
    "sampled": {"sampled_softmax": 3},
}


def some_ids(tokens: int, seed: int, regular: float = 0.8) -> np.ndarray:
    """A text with a pattern: each token is mostly the one before plus two."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(tokens) < regular, np.arange(tokens) * 2, rng.integers(0, 9, tokens)) % 9


@dataclass
class Run:
    """A small run in a folder."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    seconds: float | None = None
    stop_at: int | None = None
    bidirectional: bool = False
    regular: float = 0.8  # share of the held-out text that follows the pattern
    reports: list[Report] = field(default_factory=list)
    best: list[tuple[int, float, dict[str, Tensor]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(3)
        shape = ModelConfig(vocab=9, embed=6, hidden=(8, 8), bidirectional=self.bidirectional)
        self.model: TokenModel = build(shape, NOISY)
        values = {"batch": 4, "bptt": 5, "lr": 0.02, "steps": self.steps, "evaluations": 5, "checkpoint_seconds": 1e6}
        config = TrainingConfig(**{**values, **self.config})
        budget = Budget(steps=self.steps) if self.seconds is None else Budget(seconds=self.seconds)
        around = Surroundings(self.folder, self.keep, 1.0, self.reports.append, self.stop)
        # 100 tokens in 4 lanes: an epoch has 5 windows, so that the run goes over its end more than once.
        lanes = Lanes(some_ids(100, 0), 4, 5, self.model.lookahead, 1)
        self.held_out = HeldOut(some_ids(60, 1, self.regular), 0)
        text = TextObjective(self.model, lanes, config.sampled_softmax)
        self.trainer = Trainer(self.model, config, 0.01, text, self.held_out, budget, around)

    def keep(self, model: TokenModel, progress: Progress, _: Mapping[str, float]) -> None:
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.best.append((progress.best_step, progress.best_nats, weights))

    def stop(self) -> bool:
        return self.trainer.progress.step == self.stop_at

    def go(self) -> Run:
        self.trainer.run()
        return self

    def on(self, **changes: Any) -> Run:
        """What a new process makes of the folder."""
        after = Run(self.folder, self.config, self.steps, bidirectional=self.bidirectional, **changes)
        after.trainer.resume()
        return after.go()

    def weights(self) -> list[Tensor]:
        average = self.trainer.updater.average
        return [*self.model.state_dict().values(), *(average.weights if average else [])]

    def lines(self, name: str) -> list[dict[str, Any]]:
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        return [line for line in lines if name in line]

    def evaluations(self) -> list[tuple[int, float]]:
        return [(line["step"], line["valid_nats"]) for line in self.lines("valid_nats")]

    def notices(self) -> list[str]:
        return [report.message for report in self.reports if report.kind == "notice"]


def same(a: Run, b: Run) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.weights(), b.weights(), strict=True))


def test_candidates_are_drawn_by_the_counts_of_the_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[list[int], int]] = []

    class Noted(SampledSoftmax):
        def __init__(self, counts: Tensor, drawn: int) -> None:
            made.append((counts.tolist(), drawn))
            super().__init__(counts, drawn)

    monkeypatch.setattr(objective, "SampledSoftmax", Noted)
    sampled = Run(tmp_path / "sampled", {"sampled_softmax": 3}).go()
    assert made == [(np.bincount(some_ids(100, 0), minlength=9).tolist(), 3)]
    assert not same(sampled, Run(tmp_path / "full").go())
    assert sampled.evaluations()[0] == (0, pytest.approx(sampled.held_out.nats(Run(tmp_path / "fresh").model)))
    assert len(made) == 1


def test_the_same_run_twice_is_the_same_bytes(tmp_path: Path) -> None:
    a, b = Run(tmp_path / "a").go(), Run(tmp_path / "b").go()
    assert same(a, b)
    assert a.evaluations() == b.evaluations()
    assert not same(a, Run(tmp_path / "c", {"lr": 0.0201}).go())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stop_at", [1, 5, 8, 13])
def test_a_run_resumed_is_the_run_undisturbed(tmp_path: Path, variant: str, stop_at: int) -> None:
    whole = Run(tmp_path / "whole", VARIANTS[variant]).go()
    stopped = Run(tmp_path / "parts", VARIANTS[variant], stop_at=stop_at).go()
    assert stopped.trainer.progress.step == stop_at
    resumed = stopped.on()
    assert same(whole, resumed)
    assert whole.evaluations() == resumed.evaluations()
    assert len(whole.evaluations()) >= 5
    ends = [(run.trainer.progress.best_step, run.trainer.progress.rate_scale, run.trainer.progress.tokens)
            for run in (whole, resumed)]  # fmt: skip
    assert ends[0] == ends[1]
    if variant == "plateau":
        assert whole.trainer.progress.rate_scale < 1.0


def test_a_larger_budget_is_evaluated_all_along(tmp_path: Path) -> None:
    Run(tmp_path).go()
    longer = Run(tmp_path, steps=2 * STEPS)
    longer.trainer.resume()
    longer.go()
    assert [step for step, _ in longer.evaluations() if step > STEPS] == [17, 23, 28]


def test_a_bidirectional_run_resumes_too_and_so_does_one_stopped_often(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole", bidirectional=True).go()
    run = Run(tmp_path / "parts", bidirectional=True, stop_at=2).go()
    for step in (3, 4, 9):
        run = run.on(stop_at=step)
    run = run.on()
    assert same(whole, run)
    assert whole.evaluations() == run.evaluations()


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("moment", range(12))
def test_a_run_killed_at_any_report_is_the_run_undisturbed(tmp_path: Path, moment: int) -> None:
    config = {"checkpoint_seconds": 0.0, "patience": 4}
    whole = Run(tmp_path / "whole", config).go()
    killed = Run(tmp_path / "parts", config)
    count = itertools.count()

    def watch(report: Report) -> None:
        if next(count) == moment:
            raise Killed

    object.__setattr__(killed.trainer.around, "watch", watch)
    with pytest.raises(Killed):
        killed.go()
    resumed = killed.on()
    assert same(whole, resumed)
    assert whole.evaluations() == resumed.evaluations()
    assert whole.trainer.progress.stale == resumed.trainer.progress.stale


def test_the_loss_goes_down_and_the_metrics_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RECORD_SECONDS", 0.0)
    run = Run(tmp_path, {"clip": 0.25}, steps=60).go()
    steps = run.lines("loss")
    assert [line["step"] for line in steps] == list(range(1, 61))
    assert steps[-1]["loss"] < steps[0]["loss"] < 1.2 * math.log(9)
    assert all(line["gradient_norm_clipped"] <= 0.25 * (1 + 1e-6) for line in steps)
    assert any(line["gradient_norm"] > 0.25 for line in steps)
    assert {line["clipped_share"] for line in steps} == {0.0, 1.0}
    assert [line["tokens"] for line in steps] == [20 * step for step in range(1, 61)]
    assert all(a["seconds"] <= b["seconds"] and a["cpu_seconds"] <= b["cpu_seconds"]
               for a, b in itertools.pairwise(steps))  # fmt: skip
    assert steps[0]["bits_per_char"] == pytest.approx(steps[0]["loss"] / math.log(2))
    assert steps[0]["rate"] < steps[5]["rate"] > steps[-1]["rate"]
    assert {"memory", "tokens_per_second", "epoch"} <= steps[0].keys()
    assert run.trainer.progress.place.epoch == 12


@pytest.mark.parametrize("config", [{}, {"average": 0.9}])
def test_the_best_model_is_kept_and_really_is_the_best(tmp_path: Path, config: dict[str, Any]) -> None:
    """The pattern is soon believed more than the held-out text bears out."""
    run = Run(tmp_path, {"lr": 0.05, "evaluations": 20, **config}, steps=300, regular=0.5).go()
    evaluations = run.evaluations()
    step, nats, weights = run.best[-1]
    assert (step, nats) == min(evaluations, key=lambda pair: pair[1])
    assert nats < evaluations[-1][1]  # else the test shows nothing
    run.model.load_state_dict(weights)
    assert run.held_out.nats(run.model) == nats
    assert run.trainer.progress.best_nats == nats


def test_training_stops_when_the_held_out_text_does_not_get_better(tmp_path: Path) -> None:
    config = {"lr": 0.5, "schedule": "constant", "patience": 3, "evaluations": 100}
    run = Run(tmp_path, config, steps=400).go()
    progress = run.trainer.progress
    assert progress.step < 400
    assert progress.stale == 3
    assert [step for step, _ in run.evaluations()].index(progress.best_step) == len(run.evaluations()) - 4


def test_a_budget_of_time_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(step=0.01)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(now))
    run = Run(tmp_path, seconds=8.0).go()
    progress = run.trainer.progress
    assert 8.0 <= progress.elapsed < 8.3
    assert progress.step > 10
    assert len(run.evaluations()) == 6


def test_the_state_is_carried_from_window_to_window_and_begins_anew_with_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    before, after, loss = [], [], run.model.loss

    def watched(ids: Tensor, state: tuple[Tensor, ...], cross_entropy: CrossEntropy) -> Any:
        nats, penalty, last = loss(ids, state, cross_entropy)
        before.append(state)
        after.append(last)
        return nats, penalty, last

    monkeypatch.setattr(run.model, "loss", watched)
    run.go()
    for step in range(STEPS):
        expected = after[step - 1] if step % 5 else run.model.initial_state(4)
        assert all(torch.equal(a, b) for a, b in zip(before[step], expected, strict=True))


def spoil(monkeypatch: pytest.MonkeyPatch, run: Run, calls: set[int], value: float = math.nan) -> None:
    """Make the loss of those calls not finite."""
    count, loss = itertools.count(1), run.model.loss

    def spoiled(*arguments: Any) -> Any:
        nats, penalty, state = loss(*arguments)
        return nats * value if next(count) in calls else nats, penalty, state

    monkeypatch.setattr(run.model, "loss", spoiled)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    run = Run(tmp_path)
    spoil(monkeypatch, run, {3, 7, 8}, value)
    run.go()
    progress = run.trainer.progress
    assert (progress.skipped, progress.skipped_in_a_row, progress.rollbacks) == (3, 0, 0)
    assert progress.step == STEPS
    assert all(torch.isfinite(weight).all() for weight in run.weights())
    assert len(run.notices()) == 2
    assert "step 3: the loss or its gradient is not finite" in run.notices()[0]


def test_a_held_out_loss_that_is_not_finite_is_told_and_the_best_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    losses = itertools.chain([2.0, 1.5], itertools.repeat(math.nan))
    monkeypatch.setattr(HeldOut, "nats", lambda *_: next(losses))
    run.go()
    assert [nats for _, nats, _ in run.best] == [2.0, 1.5]
    assert len(run.notices()) == len(run.evaluations()) - 2 > 0
    assert "the held-out loss is not finite; the best model so far is kept" in run.notices()[0]
    assert "set --lr lower than 0.02" in run.notices()[0]


def test_a_step_left_out_changes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, steps=3)
    spoil(monkeypatch, run, {1, 2, 3})
    before = [weight.clone() for weight in run.weights()]
    run.go()
    assert all(torch.equal(a, b) for a, b in zip(before, run.weights(), strict=True))
    assert run.lines("loss") == []


def test_a_gradient_that_is_not_finite_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    monkeypatch.setattr(Updater, "step", lambda *_: (math.inf, math.inf))
    with pytest.raises(TrainingError):
        Run(tmp_path / "b", steps=1000).go()
    run.go()
    assert run.trainer.progress.skipped == STEPS


def test_repeated_failures_go_back_to_the_checkpoint_at_half_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"schedule": "constant", "warmup": 0.0}, steps=STEPS)
    spoil(monkeypatch, run, {4, 5, 6, 7, 8})
    rolled: list[list[Tensor]] = []
    roll_back = Trainer._roll_back

    def noted(trainer: Trainer) -> None:
        roll_back(trainer)
        rolled.append([weight.clone() for weight in trainer.model.state_dict().values()])

    monkeypatch.setattr(Trainer, "_roll_back", noted)
    start = [weight.clone() for weight in run.model.state_dict().values()]
    run.go()
    progress = run.trainer.progress
    assert (progress.skipped, progress.rollbacks, progress.rate_scale) == (5, 1, 0.5)
    assert progress.step == STEPS
    assert all(torch.equal(a, b) for a, b in zip(start, rolled[0], strict=True))
    assert "step 8: back to the last good checkpoint, at 0.5 of the rate" in run.notices()[1]
    assert run.trainer.updater.optimiser.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_run_that_never_recovers_gives_up_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, steps=10_000)
    spoil(monkeypatch, run, set(range(2, 10_000)))
    with pytest.raises(TrainingError, match=r"not finite at step \d+, after 8 tries at lower rates; set --lr lower"):
        run.go()
    assert run.trainer.progress.step == 1 + 9 * loop.ROLL_BACK_AFTER


def test_a_stop_while_steps_fail_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"checkpoint_seconds": 0.0}, stop_at=6)
    spoil(monkeypatch, run, {5, 6})
    run.go()
    again = Run(tmp_path)
    again.trainer.resume()
    assert again.trainer.progress.step == 4


def test_whoever_hears_of_an_evaluation_sees_the_weights_that_were_evaluated(tmp_path: Path) -> None:
    run = Run(tmp_path, {"average": 0.9})
    seen: dict[int, Tensor] = {}

    def watch(report: Report) -> None:
        if report.kind == "evaluated":
            seen[report.progress.step] = run.model.embedding.weight.detach().clone()

    object.__setattr__(run.trainer.around, "watch", watch)
    run.go()
    for step, _, weights in run.best:
        assert torch.equal(seen[step], weights["embedding.weight"])
    assert not torch.equal(seen[STEPS], run.model.embedding.weight)
