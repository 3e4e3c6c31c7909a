"""``train``: texts in, a model folder out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ostinato import bundle, pictures
from ostinato.architectures import expected_tensors
from ostinato.errors import ConfigError, TrainingError
from ostinato.loading import load
from ostinato.pipeline import record
from ostinato.pipeline import settings as names
from ostinato.pipeline.card import write_card
from ostinato.pipeline.listener import Listener
from ostinato.pipeline.task import Part, Stage, Task
from ostinato.pipeline.tasks import prepare_task
from ostinato.text.sources import find
from ostinato.training.loop import Progress, Report, Surroundings, Trainer
from ostinato.training.metrics import read_lines
from ostinato.training.objective import Objective
from ostinato.training.plan import Plan
from ostinato.training.schedule import Budget
from ostinato.training.settings import TrainingConfig

CLOSING_SECONDS = 1.5  # for the card, the pictures and the last write
SAMPLES = 4  # that the listener is shown over a run


def train(
    *texts: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    config: str | Path | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Any:
    """Train a model on text files and give it, ready to use; it is kept in the folder ``out``.

    A ``LanguageModel``, unless ``task`` asks for another kind of model.

    ``settings`` are the flags of ``ostinato train`` (``minutes=5``, ``hidden=256``, ...); what is not set is chosen
    from the text and the speed of the machine. ``out`` is named after the first text when it is not given. With
    ``resume`` a run that was stopped goes on, with its own settings.

    Raises TextError, ConfigError, BundleError or TrainingError, each saying what to do.
    """
    started = time.perf_counter()
    listener = listener or Listener()
    folder = Path(out) if out is not None else record.default_folder(texts)
    environment = {} if resume else os.environ
    given = names.gather(settings, environment, Path(config) if config is not None else None)
    minutes = names.MINUTES.get(given.get("task", "lm"), names.DEFAULT_MINUTES)
    default = {} if _budgets(given) else {"minutes": minutes}
    names.check({**given, **default})
    located, given = _locate(texts, given)
    if resume:
        note = record.read_note(folder)
        given = record.recall(note, folder, given)
        note |= {"texts": located or note["texts"], "budget": _budgets(given)}
    else:
        record.check_room(folder, force, resumable=True)
        if not texts:
            raise ConfigError("no text was given; name one or more files, or - for standard input")
        note = {"texts": located, "given": record.plain(given)}
        given = {**given, **default}
        note |= {"budget": _budgets(given)}
    shape = names.ShapeSettings(**names.part(names.ShapeSettings, given))
    device = _device(shape.device)
    task = prepare_task(given.get("task", "lm"), note["texts"], given)
    if resume:
        _require_same_data(task.fingerprint, note["fingerprint"])
    torch.set_num_threads(task.plan.threads)
    took = time.perf_counter() - started
    run = _Run(folder, note, task, listener, device)
    listener.prepared(task, took)
    if not resume:
        run.begin(given)
    run.train(_deadline(started, took, task.plan.training.minutes))
    return load(folder)


def _locate(texts: Sequence[str | Path], given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Where the texts lie; a single corpus known by name brings the parts it is published in along."""
    found = [find(str(text)) for text in texts]
    if len(found) == 1:
        parts = {"valid": found[0].valid, "test": found[0].test}
        given = {**{name: str(path) for name, path in parts.items() if path is not None}, **given}
    for name in ("valid", "test", "start_from", "images"):  # so that a run can be resumed from another folder
        if given.get(name):
            given[name] = ",".join(_absolute(each) for each in given[name].split(","))
    return [str(paths.train if str(paths.train) == "-" else paths.train.absolute()) for paths in found], given


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).exists() else name


def _budgets(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in names.BUDGETS if given.get(name) is not None}


def _require_same_data(found: str, expected: str) -> None:
    """Raise ConfigError unless two fingerprints are equal: a run resumes only with the text it began with."""
    if found != expected:
        raise ConfigError(
            "--resume with another text, or other tokens, than the run began with; give the same files, "
            "or train anew with --force"
        )


def _deadline(started: float, preparing: float, minutes: float | None) -> float | None:
    """When to be done; reading a text so long that it eats the budget does not count beyond a tenth of it."""
    if minutes is None:
        return None
    return started + 60.0 * minutes + max(0.0, preparing - 6.0 * minutes)


@dataclass
class _Run:
    """One run: a task, into a folder."""

    folder: Path
    note: record.Note
    task: Task
    listener: Listener
    device: torch.device
    _sampled: int = 0
    _share: float = 1.0
    """Of the budget, that is for the task's own model."""

    @property
    def plan(self) -> Plan[Any]:
        """The task's."""
        return self.task.plan

    def begin(self, given: Mapping[str, Any]) -> None:
        """Note down what the run is: every setting, those of the data as they turned out."""
        values = {**given, **self.plan.values, **self.task.settled}
        values |= {name: value for name, value in names.defaults(given.get("task", "lm")).items() if name not in values}
        self.note["fingerprint"] = self.task.fingerprint
        record.begin(self.folder, self.note, values, self.plan.reasons)

    def train(self, deadline: float | None) -> None:
        """Train, evaluate the best model, and write its folder."""
        torch.manual_seed(self.plan.training.seed)
        model = self.task.build().to(self.device)
        self._model = model
        stage, begun = self.task.before(model), bool(self.note.get("begun"))
        self._share = 1.0 if stage is None else 1.0 - stage.share
        if not begun:
            self.listener.planned(self.plan, str(self.folder))
            if stage is not None:
                self._train_before(stage, deadline)
        trainer = self._trainer(model, deadline)
        if begun:
            trainer.resume()
            if self.note.get("done") and trainer.finished():
                raise TrainingError(
                    f"the run in {self.folder} is complete; to go on, give a larger budget with --resume"
                )
            self.listener.planned(self.plan, str(self.folder))
        self._note(done=False)
        progress = trainer.run()
        if self.listener.stop():
            raise KeyboardInterrupt
        self._close(model, progress, deadline)
        self._note(done=True)

    def _train_before(self, stage: Stage, deadline: float | None) -> None:
        """In its share of the budget, with checkpoints of its own; a run that was stopped in it goes on there."""
        budget = Budget(steps=_steps(stage.training, stage.objective, stage.share))
        if deadline is not None:
            seconds = stage.share * max(1.0, deadline - time.perf_counter() - CLOSING_SECONDS)
            budget = Budget(seconds=self.note.setdefault("seconds_before", seconds))
        around = Surroundings(
            folder=self.folder / "training" / "before",
            keep_best=lambda *_: None,
            watch=self.listener.report,
            stop=self.listener.stop,
        )
        parts = stage.model, stage.training, stage.weight_decay, stage.objective, stage.held_out
        trainer = Trainer(*parts, budget, around)
        if around.checkpoint.exists():
            trainer.resume()
        self._note(done=False)
        self.listener.report(Report("notice", trainer.progress, 0.0, math.nan, message=stage.about))
        progress = trainer.run()
        self._note(before={"steps": progress.step, "seconds": progress.elapsed, "cpu_seconds": progress.cpu})
        if self.listener.stop():
            raise KeyboardInterrupt
        stage.hand_on()

    def _trainer(self, model: nn.Module, deadline: float | None) -> Trainer:
        training = self.plan.training
        objective = self.task.objective(model)
        held_out = self.task.held_out("valid")
        assert held_out is not None
        budget = Budget(steps=_steps(training, objective, self._share))
        quick = held_out.first(200_000)
        if deadline is not None:
            assert training.minutes is not None
            whole = held_out.seconds(model)
            affordable = 0.08 * 60.0 * training.minutes / training.evaluations
            size = max(20_000, int(held_out.size * affordable / whole))
            # After a resume the same part as before: else its score would not compare with the best one so far.
            quick = held_out.first(int(self.note.setdefault("held_out", size)))
            test = self.task.held_out("test")
            closing = whole + (0.0 if test is None else test.seconds(model))
            closing = min(closing, 12.0 * training.minutes) + CLOSING_SECONDS
            budget = Budget(seconds=self._seconds(deadline - time.perf_counter() - closing))
        around = Surroundings(
            folder=self.folder / "training",
            keep_best=self._keep_best,
            chars_per_token=self.task.chars_per_token,
            watch=self._watch,
            stop=self.listener.stop,
            factors=self.task.factors(model),
        )
        self._quick, self._epoch = quick.size, objective.steps
        return Trainer(model, training, self.plan.regularisers.weight_decay, objective, quick, budget, around)

    def _seconds(self, seconds: float) -> float:
        """The time for training, the same after a resume as before; a longer budget adds to it."""
        minutes = float(self.plan.training.minutes or 0.0)
        before = self.note.get("minutes")
        seconds = max(1.0, seconds) if before is None else self.note["seconds"] + 60.0 * (minutes - before)
        self._note(seconds=seconds, minutes=minutes)
        return float(seconds)

    def _note(self, **facts: Any) -> None:
        self.note |= facts
        record.write_note(self.folder, self.note)

    def _keep_best(self, model: nn.Module, progress: Progress, measured: Mapping[str, float]) -> None:
        scores = self.task.scores("valid", measured, self._quick)
        self._save(_tensors(model), self._summary(progress, {"valid": scores}))

    def _watch(self, report: Report) -> None:
        self.listener.report(report)
        if report.kind == "saved" and not self.note.get("begun"):
            self._note(begun=True)
        if (
            report.kind == "evaluated"
            and math.isfinite(report.values["valid_nats"])
            and report.fraction * SAMPLES >= self._sampled
        ):
            self._sampled = 1 + int(report.fraction * SAMPLES)
            sample = self.task.sample(_tensors(self._model))
            if sample is not None:
                self.listener.sample(sample)

    def _save(self, tensors: dict[str, Any], summary: dict[str, Any]) -> None:
        bundle.save(
            self.folder,
            model=self.plan.model,
            tensors=tensors,
            tokenizer_json=self.task.tokenizer_json,
            training=summary,
            card=write_card(self.folder.name, self.plan.model, summary),
        )

    def _summary(self, progress: Progress, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        model, training = self.plan.model, self.plan.training
        return {
            "task": type(model).task,  # unless the task says something narrower
            "architecture": model.describe(),
            "parameters": sum(math.prod(shape) for shape in expected_tensors(model).values()),
            **self.task.about(),
            "steps": progress.step,
            "best_step": progress.best_step,
            "skipped_steps": progress.skipped,
            "rollbacks": progress.rollbacks,
            "epochs": progress.place.epoch + progress.place.window / self._epoch,
            "seconds": progress.elapsed,
            "cpu_seconds": progress.cpu,
            **({"before": self.note["before"]} if "before" in self.note else {}),
            "seed": training.seed,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            **{name: dict(values) for name, values in scores.items()},
        }

    def _close(self, model: nn.Module, progress: Progress, deadline: float | None) -> None:
        """Score the best model on all of the held-out data, and the test data; draw; write the folder a last time."""
        best = bundle.load(self.folder)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in best.tensors.items()})
        scores = {}
        for part in ("valid", "test"):
            held_out = self.task.held_out(part)
            if held_out is not None:
                held_out = self._affordable(held_out, model, deadline)
                scores[part] = self.task.scores(part, held_out.measure(model), held_out.size)
        tensors, summary = self.task.finish(dict(best.tensors), self._summary(progress, scores))
        self._draw()
        self._save(dict(tensors), summary)
        self.listener.finished({**summary, "folder": str(self.folder)})

    def _draw(self) -> None:
        if find_spec("matplotlib") is not None:
            training = self.folder / "training"
            pictures.draw_run(read_lines(training / "metrics.jsonl"), training / "loss.svg", training / "gradients.svg")
            self.task.draw(training)

    def _affordable(self, held_out: Part, model: nn.Module, deadline: float | None) -> Part:
        """All of it, or as much as can be scored before the deadline is a tenth of the budget behind."""
        if deadline is None:
            return held_out
        left = max(1.0, deadline - time.perf_counter() + 3.0 * (self.plan.training.minutes or 0))
        needed = held_out.seconds(model)
        return held_out if needed <= left else held_out.first(int(held_out.size * left / needed))


def _steps(training: TrainingConfig, objective: Objective, share: float) -> int | None:
    """A share of the budget in steps; None where it is a time."""
    if training.epochs is not None:
        return max(1, round(share * training.epochs * objective.steps))
    return None if training.steps is None else max(1, round(share * training.steps))


def _tensors(model: nn.Module) -> dict[str, Any]:
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in model.state_dict().items()}


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no CUDA device here; leave --device out")
    return torch.device(name)
