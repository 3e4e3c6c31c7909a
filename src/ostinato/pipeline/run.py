"""``train``: texts in, a model folder out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ostinato import bundle, pictures
from ostinato.config import ModelConfig
from ostinato.data.lanes import Lanes
from ostinato.errors import ConfigError, TrainingError
from ostinato.language_model import LanguageModel, load
from ostinato.models.build import build
from ostinato.models.tokens import TokenModel
from ostinato.pipeline import record
from ostinato.pipeline import settings as names
from ostinato.pipeline.card import write_card
from ostinato.pipeline.listener import Listener
from ostinato.pipeline.prepare import Prepared, prepare, require_same_text
from ostinato.text.sources import find
from ostinato.text.tokenizer import to_json
from ostinato.training.evaluate import HeldOut
from ostinato.training.loop import Progress, Report, Surroundings, Trainer
from ostinato.training.metrics import BITS, read_lines
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
    folder = Path(out) if out is not None else record.default_folder(texts)
    environment = {} if resume else os.environ
    given = names.gather(settings, environment, Path(config) if config is not None else None)
    names.check({**given, **({} if _budgets(given) else {"minutes": names.DEFAULT_MINUTES})})
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
        given = given if _budgets(given) else {**given, "minutes": names.DEFAULT_MINUTES}
        note |= {"budget": _budgets(given)}
    shape = names.ShapeSettings(**names.part(names.ShapeSettings, given))
    device = _device(shape.device)
    text_settings = names.TextSettings(**names.part(names.TextSettings, given))
    prepared = prepare(note["texts"], text_settings, given.get("minutes"))
    if resume:
        require_same_text(prepared.fingerprint, note["fingerprint"])
    took = time.perf_counter() - started
    run = _Run(folder, note, prepared, _plan(prepared, given), listener, device)
    listener.prepared(prepared, took)
    if not resume:
        run.begin(given)
    run.train(_deadline(started, took, run.plan.training.minutes))
    return load(folder)


def _locate(texts: Sequence[str | Path], given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Where the texts lie; a single corpus known by name brings the parts it is published in along."""
    found = [find(str(text)) for text in texts]
    if len(found) == 1:
        parts = {"valid": found[0].valid, "test": found[0].test}
        given = {**{name: str(path) for name, path in parts.items() if path is not None}, **given}
    for part in ("valid", "test"):  # so that a run can be resumed from another folder
        if Path(given.get(part, "")).is_file():
            given[part] = str(Path(given[part]).absolute())
    return [str(paths.train if str(paths.train) == "-" else paths.train.absolute()) for paths in found], given


def _budgets(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in names.BUDGETS if given.get(name) is not None}


def _plan(prepared: Prepared, given: Mapping[str, Any]) -> Plan:
    ids = prepared.store.parts["train"]
    found = plan(TextSize(len(ids), prepared.tokenizer.vocab_size), given)
    Lanes(ids, found.training.batch, found.training.bptt)  # a text too short is refused before anything is written
    torch.set_num_threads(found.threads)
    return found


def _deadline(started: float, preparing: float, minutes: float | None) -> float | None:
    """When to be done; reading a text so long that it eats the budget does not count beyond a tenth of it."""
    if minutes is None:
        return None
    return started + 60.0 * minutes + max(0.0, preparing - 6.0 * minutes)


@dataclass
class _Run:
    """One run: a plan, on a prepared text, into a folder."""

    folder: Path
    note: record.Note
    prepared: Prepared
    plan: Plan
    listener: Listener
    device: torch.device
    _sampled: int = 0

    def begin(self, given: Mapping[str, Any]) -> None:
        """Note down what the run is: every setting, those of the text as they turned out."""
        text = names.part(names.TextSettings, asdict(self.prepared.level.options))
        del text["vocab"]  # chosen again from the same text, or given
        values = {**given, **self.plan.values, **text}
        values |= {name: value for name, value in names.defaults().items() if name not in values}
        self.note["fingerprint"] = self.prepared.fingerprint
        record.begin(self.folder, self.note, values, {**self.plan.reasons, "level": self.prepared.level.reason})

    def train(self, deadline: float | None) -> None:
        """Train, evaluate the best model, and write its folder."""
        torch.manual_seed(self.plan.training.seed)
        model = build(self.plan.model, self.plan.regularisers).to(self.device)
        self._model = model
        trainer = self._trainer(model, deadline)
        if self.note.get("begun"):
            trainer.resume()
            if self.note.get("done") and trainer.finished():
                raise TrainingError(
                    f"the run in {self.folder} is complete; to go on, give a larger budget with --resume"
                )
        self._note(done=False)
        self.listener.planned(self.plan, str(self.folder))
        progress = trainer.run()
        if self.listener.stop():
            raise KeyboardInterrupt
        self._close(model, progress, deadline)
        self._note(done=True)

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
            tokens = max(20_000, int(len(held_out.ids) * affordable / whole))
            # After a resume the same part as before: else its score would not compare with the best one so far.
            quick = held_out.first(int(self.note.setdefault("held_out", tokens)))
            closing = min(whole + self._test_seconds(model), 12.0 * training.minutes) + CLOSING_SECONDS
            budget = Budget(seconds=self._seconds(deadline - time.perf_counter() - closing))
        around = Surroundings(
            folder=self.folder / "training",
            chars_per_token=self._chars_per_token("train"),
            keep_best=self._keep_best,
            watch=self._watch,
            stop=self.listener.stop,
        )
        self._quick = len(quick.ids)
        return Trainer(model, training, self.plan.regularisers.weight_decay, lanes, quick, budget, around)

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

    def _held_out(self, part: str) -> HeldOut:
        ids, boundary = self.prepared.store.parts[part], self.prepared.tokenizer.boundary_id
        return HeldOut(ids, boundary, self._chars_per_token(part))

    def _test_seconds(self, model: TokenModel) -> float:
        return self._held_out("test").seconds(model) if "test" in self.prepared.store.parts else 0.0

    def _chars_per_token(self, part: str) -> float:
        return self.prepared.facts(part)["chars"] / len(self.prepared.store.parts[part])

    def _keep_best(self, model: TokenModel, progress: Progress) -> None:
        scores = self._scores("valid", progress.best_nats, self._quick)
        self._save(_tensors(model), self._summary(progress, {"valid": scores}))

    def _watch(self, report: Report) -> None:
        self.listener.report(report)
        if report.kind == "saved" and not self.note.get("begun"):
            self._note(begun=True)
        if (
            report.kind == "evaluated"
            and math.isfinite(report.values["valid_nats"])
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

    def _scores(self, part: str, nats: float, scored: int) -> dict[str, float]:
        """The figures of a part at so many nats per token, measured on its first ``scored`` tokens."""
        facts, ids = self.prepared.facts(part), self.prepared.store.parts[part]
        unknown, bits = self.prepared.tokenizer.unk_id, nats * BITS * len(ids)
        return {
            "tokens": scored,
            "unknown": 0 if unknown is None else int(np.count_nonzero(ids[:scored] == unknown)),
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
            "texts": [Path(text).name for text in self.note["texts"]],
            "train_chars": self.prepared.facts("train")["chars"],
            "train_tokens": len(self.prepared.store.parts["train"]),
            "steps": progress.step,
            "best_step": progress.best_step,
            "skipped_steps": progress.skipped,
            "rollbacks": progress.rollbacks,
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
                scores[part] = self._scores(part, nats, len(held_out.ids))
        self._draw()
        summary = self._summary(progress, scores)
        self._save(dict(best.tensors), summary)
        self.listener.finished({**summary, "folder": str(self.folder)})

    def _draw(self) -> None:
        if find_spec("matplotlib") is not None:
            training = self.folder / "training"
            pictures.draw_run(read_lines(training / "metrics.jsonl"), training / "loss.svg", training / "gradients.svg")

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
