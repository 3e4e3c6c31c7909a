"""``train``: texts in, a model folder out."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ostinato import bundle
from ostinato.config import ModelConfig
from ostinato.data.lanes import Lanes
from ostinato.errors import BundleError, ConfigError, OstinatoError, TrainingError
from ostinato.language_model import LanguageModel, load
from ostinato.models.build import build
from ostinato.models.tokens import TokenModel
from ostinato.pipeline import settings as names
from ostinato.pipeline.card import write_card
from ostinato.pipeline.listener import Listener
from ostinato.pipeline.prepare import Prepared, prepare, require_same_text
from ostinato.text.tokenizer import to_json
from ostinato.training.evaluate import HeldOut
from ostinato.training.loop import Progress, Report, Surroundings, Trainer
from ostinato.training.metrics import BITS, draw
from ostinato.training.plan import Plan, TextSize, plan
from ostinato.training.schedule import Budget

CLOSING_SECONDS = 1.5  # for the card, the pictures and the last write
SAMPLES = 4  # that the listener is shown over a run
SAMPLE_TOKENS = {"char": 160, "byte": 160, "word": 40, "bpe": 60, "unigram": 60}


def train(
    *texts: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    config: str | Path | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> LanguageModel:
    """Train a language model on text files and give it, ready to use; it is kept in the folder ``out``.

    ``settings`` are the flags of ``ostinato train`` (``minutes=5``, ``hidden=256``, ...); what is not set is chosen
    from the text and the speed of the machine. ``out`` is named after the first text when it is not given. With
    ``resume`` a run that was stopped goes on, with its own settings.

    Raises TextError, ConfigError, BundleError or TrainingError, each saying what to do.
    """
    started = time.perf_counter()
    listener = listener or Listener()
    folder = Path(out) if out is not None else _default_folder(texts)
    given = names.gather(settings, os.environ, Path(config) if config is not None else None)
    if resume:
        chosen, given = _recall(folder, texts, given)
    else:
        chosen = texts
        _make_room(folder, force)
        if not texts:
            raise ConfigError("no text was given; name one or more files, or - for standard input")
    given = _with_budget(given)
    shape = names.ShapeSettings(**names.part(names.ShapeSettings, given))
    text_settings = names.TextSettings(**names.part(names.TextSettings, given))
    prepared = prepare(chosen, text_settings)
    took = time.perf_counter() - started
    listener.prepared(prepared, took)
    run = _Run(folder, [str(text) for text in chosen], prepared, _plan(prepared, given, shape), listener, shape)
    run.start(resume)
    run.train(_deadline(started, took, run.plan.training.minutes), resume)
    return load(folder)


def _default_folder(texts: Sequence[str | Path]) -> Path:
    first = Path(texts[0]) if texts else Path("text")
    stem = first.name.split(".")[0] if str(first) != "-" else "text"
    return Path(f"{stem}-model")


def _make_room(folder: Path, force: bool) -> None:
    """A folder that holds something is used only with ``force``; of what it holds, only a run's own files go."""
    kind = bundle.inspect_folder(folder)
    if kind == "empty":
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is a file; give -o the name of a folder")
    if not force:
        found = {"model": "holds a model", "partial": "holds an unfinished run", "other": "holds something else"}[kind]
        hint = "" if kind == "other" else ", or --resume to go on"
        raise BundleError(f"{folder} {found}; use another -o, --force to replace it{hint}")
    shutil.rmtree(folder / "training", ignore_errors=True)


def _recall(
    folder: Path, texts: Sequence[str | Path], given: dict[str, Any]
) -> tuple[Sequence[str | Path], dict[str, Any]]:
    """The texts and settings of the run in ``folder``; of those given anew, only the budget and threads may differ."""
    note = folder / "training" / "run.json"
    if not note.is_file():
        raise TrainingError(f"{folder} holds no run to resume; train without --resume")
    saved = names.gather({}, {}, folder / "training" / "run.toml")
    budget = ("minutes", "epochs", "steps")
    for name, value in given.items():
        if name not in (*budget, "threads") and saved.get(name) != value:
            raise ConfigError(
                f"--resume goes on with {name} = {saved.get(name)}; to use {value}, train anew with --force"
            )
    if any(name in given for name in budget):
        saved = {name: value for name, value in saved.items() if name not in budget}
    return texts or json.loads(note.read_text("utf-8"))["texts"], {**saved, **given}


def _with_budget(given: dict[str, Any]) -> dict[str, Any]:
    if any(given.get(name) is not None for name in ("minutes", "epochs", "steps")):
        return given
    return {**given, "minutes": names.DEFAULT_MINUTES}


def _plan(prepared: Prepared, given: Mapping[str, Any], shape: names.ShapeSettings) -> Plan:
    if shape.threads is not None:
        torch.set_num_threads(shape.threads)
    given = {**given, **_dropouts(given)}
    ids = prepared.store.parts["train"]
    return plan(TextSize(len(ids), prepared.tokenizer.vocab_size, prepared.tokenizer.level), given)


def _dropouts(given: Mapping[str, Any]) -> dict[str, Any]:
    """``dropout`` spelled out, where its parts are not given themselves."""
    strength = given.get("dropout")
    if strength is None:
        return {}
    spelled = {"dropout_input": round(strength / 3, 3), "dropout_hidden": strength, "dropout_output": strength}
    return {name: value for name, value in spelled.items() if given.get(name) is None}


def _deadline(started: float, preparing: float, minutes: float | None) -> float | None:
    """When to be done; reading a text so long that it eats the budget does not count beyond a tenth of it."""
    if minutes is None:
        return None
    return started + 60.0 * minutes + max(0.0, preparing - 6.0 * minutes)


@dataclass
class _Run:
    """One run: a plan, on a prepared text, into a folder."""

    folder: Path
    texts: list[str]
    prepared: Prepared
    plan: Plan
    listener: Listener
    shape: names.ShapeSettings
    _sampled: int = 0

    def start(self, resume: bool) -> None:
        """Note down what the run is, or check that it still is what was noted."""
        training = self.folder / "training"
        if resume:
            require_same_text(self.prepared.fingerprint, self._note()["fingerprint"])
            return
        values = {**self.plan.values, "level": self.prepared.tokenizer.level, "threads": torch.get_num_threads()}
        reasons = {**self.plan.reasons, "level": self.prepared.level.reason}
        try:
            training.mkdir(parents=True, exist_ok=True)
            (training / "run.toml").write_text(names.to_toml(values, reasons), "utf-8")
            note = {"texts": self.texts, "fingerprint": self.prepared.fingerprint}
            (training / "run.json").write_text(json.dumps(note), "utf-8")
        except OSError as error:
            raise OstinatoError(f"cannot write to {self.folder}: {error.strerror}") from None

    def train(self, deadline: float | None, resume: bool) -> None:
        """Train, evaluate the best model, and write its folder."""
        torch.manual_seed(self.plan.training.seed)
        device = _device(self.shape.device)
        model = build(self.plan.model, self.plan.regularisers).to(device)
        self._model = model
        trainer = self._trainer(model, deadline)
        if resume:
            trainer.resume()
            if trainer.budget.fraction(trainer.progress.step, trainer.progress.elapsed) >= 1.0:
                raise TrainingError(
                    f"the run in {self.folder} is complete; to go on, give a larger budget with --resume"
                )
        self.listener.planned(self.plan, str(self.folder))
        progress = trainer.run()
        if self.listener.stop():
            raise KeyboardInterrupt
        self._close(model, progress, deadline)

    def _trainer(self, model: TokenModel, deadline: float | None) -> Trainer:
        training = self.plan.training
        lanes = Lanes(self.prepared.store.parts["train"], training.batch, training.bptt, model.lookahead, training.seed)
        held_out = self._held_out("valid")
        budget = Budget(steps=_steps(self.plan, lanes))
        quick = held_out.first(200_000)
        if deadline is not None:
            assert training.minutes is not None
            whole = held_out.seconds(model)
            affordable = 0.08 * 60.0 * training.minutes / training.evaluations
            quick = held_out.first(max(20_000, int(len(held_out.ids) * affordable / whole)))
            closing = min(whole + self._test_seconds(model), 12.0 * training.minutes) + CLOSING_SECONDS
            budget = Budget(seconds=self._seconds(deadline - time.perf_counter() - closing))
        around = Surroundings(
            folder=self.folder / "training",
            chars_per_token=self._chars_per_token("train"),
            keep_best=self._keep_best,
            watch=self._watch,
            stop=self.listener.stop,
        )
        return Trainer(model, training, self.plan.regularisers.weight_decay, lanes, quick, budget, around)

    def _seconds(self, seconds: float) -> float:
        """The time for training, the same after a resume as before."""
        note = self._note()
        if "seconds" in note and note["minutes"] == self.plan.training.minutes:
            return float(note["seconds"])
        seconds = max(1.0, seconds)
        if "minutes" in note:  # a longer budget: what is spent stays spent
            seconds = float(note["seconds"]) + 60.0 * (float(self.plan.training.minutes or 0) - float(note["minutes"]))
        note |= {"seconds": seconds, "minutes": self.plan.training.minutes}
        (self.folder / "training" / "run.json").write_text(json.dumps(note), "utf-8")
        return seconds

    def _note(self) -> dict[str, Any]:
        note: dict[str, Any] = json.loads((self.folder / "training" / "run.json").read_text("utf-8"))
        return note

    def _held_out(self, part: str) -> HeldOut:
        return HeldOut(self.prepared.store.parts[part], self.prepared.tokenizer.boundary_id)

    def _test_seconds(self, model: TokenModel) -> float:
        return self._held_out("test").seconds(model) if "test" in self.prepared.store.parts else 0.0

    def _chars_per_token(self, part: str) -> float:
        return self.prepared.facts(part)["chars"] / len(self.prepared.store.parts[part])

    def _keep_best(self, model: TokenModel, progress: Progress) -> None:
        scores = {"tokens": 0, **self._scores("valid", progress.best_nats)}
        self._save(_tensors(model), self._summary(progress, {"valid": scores}))

    def _watch(self, report: Report) -> None:
        self.listener.report(report)
        if (
            report.kind == "evaluated"
            and report.fraction * SAMPLES >= self._sampled
            and not self.plan.model.bidirectional
        ):
            self._sampled = 1 + int(report.fraction * SAMPLES)
            self.listener.sample(self._sample())

    def _sample(self) -> str:
        tokenizer = self.prepared.tokenizer
        writer = LanguageModel(self.plan.model, _tensors(self._model), tokenizer)
        return writer.generate(tokens=SAMPLE_TOKENS[tokenizer.level], seed=self.plan.training.seed, temperature=0.8)

    def _save(self, tensors: dict[str, Any], summary: dict[str, Any]) -> None:
        bundle.save(
            self.folder,
            model=self.plan.model,
            tensors=tensors,
            tokenizer_json=to_json(self.prepared.tokenizer),
            training=summary,
            card=write_card(self.folder.name, summary),
        )

    def _scores(self, part: str, nats: float) -> dict[str, float]:
        """The figures of a part at so many nats per token."""
        facts, tokens = self.prepared.facts(part), len(self.prepared.store.parts[part])
        bits = nats * BITS * tokens
        return {
            "nats_per_token": nats,
            "perplexity": math.exp(min(nats, 700.0)),
            "bits_per_char": bits / facts["chars"],
            "bits_per_byte": bits / facts["bytes"],
        }

    def _summary(self, progress: Progress, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        model, training = self.plan.model, self.plan.training
        return {
            "architecture": describe(model),
            "bidirectional": model.bidirectional,
            "parameters": sum(math.prod(shape) for shape in bundle.expected_tensors(model).values()),
            "level": self.prepared.tokenizer.level,
            "vocab": model.vocab,
            "texts": [Path(text).name for text in self.texts],
            "train_chars": self.prepared.facts("train")["chars"],
            "train_tokens": len(self.prepared.store.parts["train"]),
            "steps": progress.step,
            "best_step": progress.best_step,
            "epochs": progress.tokens / len(self.prepared.store.parts["train"]),
            "seconds": progress.elapsed,
            "cpu_seconds": progress.cpu,
            "seed": training.seed,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            **{name: dict(values) for name, values in scores.items()},
        }

    def _close(self, model: TokenModel, progress: Progress, deadline: float | None) -> None:
        """Score the best model on all of the held-out text, and the test text; draw; write the folder a last time."""
        best = bundle.load(self.folder)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in best.tensors.items()})
        scores = {}
        for part in ("valid", "test"):
            if part in self.prepared.store.parts:
                held_out = self._affordable(self._held_out(part), model, deadline)
                nats = held_out.nats(model)
                scores[part] = {"tokens": len(held_out.ids), **self._scores(part, nats)}
        draw(self.folder / "training" / "metrics.jsonl", self.folder / "training")
        summary = self._summary(progress, scores)
        self._save(dict(best.tensors), summary)
        self.listener.finished({**summary, "folder": str(self.folder)})

    def _affordable(self, held_out: HeldOut, model: TokenModel, deadline: float | None) -> HeldOut:
        """All of it, or as much as can be scored before the deadline is a tenth of the budget behind."""
        if deadline is None:
            return held_out
        left = max(1.0, deadline - time.perf_counter() + 3.0 * (self.plan.training.minutes or 0))
        needed = held_out.seconds(model)
        return held_out if needed <= left else held_out.first(int(len(held_out.ids) * left / needed))


def describe(model: ModelConfig) -> str:
    """``lstm 2 x 256, embedding 128, tied``."""
    widths = set(model.hidden)
    layers = f"{len(model.hidden)} x {model.hidden[0]}" if len(widths) == 1 else ", ".join(map(str, model.hidden))
    cell = model.cell if model.activation == "tanh" else f"{model.cell} ({model.activation})"
    extras = [name.replace("_", " ") for name in ("bidirectional", "tied", "skip_output", "residual", "layer_norm")]
    flags = [text for text in extras if getattr(model, text.replace(" ", "_"))]
    return ", ".join([f"{cell} {layers}", f"embedding {model.embed}", *flags])


def _steps(whole: Plan, lanes: Lanes) -> int | None:
    training = whole.training
    if training.epochs is not None:
        return max(1, round(training.epochs * lanes.windows))
    return training.steps


def _tensors(model: TokenModel) -> dict[str, Any]:
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in model.state_dict().items()}


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no CUDA device here; leave --device out")
    return torch.device(name)
