"""The task of ``--task classify``: the label of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ostinato import bundle, pictures
from ostinato.architectures.classifier import ClassifierConfig
from ostinato.bundle import Bundle
from ostinato.config import ModelConfig
from ostinato.data.lanes import Lanes
from ostinato.data.ragged import Buckets
from ostinato.errors import ConfigError
from ostinato.models.build import build
from ostinato.models.classifier import TextClassifier
from ostinato.pipeline import settings as names
from ostinato.pipeline.labelled import prepare_labelled
from ostinato.pipeline.task import Stage, Task
from ostinato.pipeline.task_settings import ClassifySettings
from ostinato.score import calibration
from ostinato.score.confusion import accuracy, confusion, macro_f1
from ostinato.text import tokenizer as tokenizers
from ostinato.text.tokenizer import to_json
from ostinato.training.classify import HeldOutTexts, LabelObjective, balanced_weights, layer_factors
from ostinato.training.evaluate import HeldOut
from ostinato.training.objective import Objective, TextObjective
from ostinato.training.optim import RateFactors
from ostinato.training.plan import Plan
from ostinato.training.plan_classify import LabelledSize, plan_classifier

# Of the texts, as the language model reads them before the labels count: lanes, window, candidates of a vocabulary that
# is much larger, and tokens held out to measure it on.
_LANES, _WINDOW, _SAMPLED, _QUICK = 32, 35, 2000, 8_000


_OF_LANGUAGE_MODELS = (
    "bidirectional", "tied", "skip_output", "sampled_softmax", "activation_penalty", "temporal_penalty",
)  # fmt: skip
_OF_THE_START = (
    "level", "vocab", "min_count", "lower", "pretokenized",
    "cell", "activation", "layers", "hidden", "embed", "residual", "layer_norm", "zoneout",
)  # fmt: skip


class ClassifyTask(Task):
    """Labelled texts, and the plan for a classifier of them."""

    plan: Plan[ClassifierConfig]
    reused = False
    unit = "texts"

    def __init__(self, texts: Sequence[str], given: Mapping[str, Any]) -> None:
        """Raises TextError or ConfigError when the texts cannot be used, BundleError when there is no start to read."""
        _check_settings(given)
        self.settings = ClassifySettings(**names.part(ClassifySettings, given))
        self._start: Bundle[ModelConfig] | None = None
        if self.settings.start_from is not None:
            self._start = bundle.load_kind(self.settings.start_from, ModelConfig)
        start = self._start
        text = names.TextSettings(**names.part(names.TextSettings, given))
        tokenizer = None if start is None else tokenizers.load(start.tokenizer_paths[0])
        self.prepared = prepare_labelled(texts, text, dict(given), tokenizer)
        self.fingerprint = self.prepared.fingerprint
        self._texts = [Path(text).name for text in texts]
        train = self.prepared.parts["train"].texts
        level, vocab = self.prepared.tokenizer.level, self.prepared.tokenizer.vocab_size
        size = LabelledSize(
            len(train), int(train.lengths.sum()), int(train.lengths.max()), vocab, self.prepared.labels,
            level not in ("char", "byte"),
        )  # fmt: skip
        found = plan_classifier(size, given, None if start is None else start.model)
        self.plan = replace(found, reasons={"level": self.prepared.reason, **found.reasons})
        self._seen: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        self._bins: dict[str, Any] = {}

    @property
    def data(self) -> str:
        """Texts by part, tokens and labels."""
        prepared, parts = self.prepared, self.prepared.parts
        others = {"valid": "held out", "test": "to test on"}
        held_out = ", ".join(f"{len(part):,} {others[name]}" for name, part in parts.items() if name != "train")
        return (
            f"{len(parts['train']):,} texts of {len(prepared.labels)} labels, {prepared.chars['train']:,} characters, "
            f"{prepared.tokenizer.vocab_size:,} kinds of {prepared.tokenizer.level} tokens; {held_out}"
        )

    @property
    def tokenizer_json(self) -> list[str]:
        """The one tokenizer."""
        return [to_json(self.prepared.tokenizer)]

    @property
    def settled(self) -> Mapping[str, Any]:
        """Those of the text."""
        return {} if self.prepared.options is None else names.settled(self.prepared.options)

    def build(self) -> nn.Module:
        """A classifier, with the weights of the language model where it starts from one."""
        model = TextClassifier(self.plan.model, self.plan.regularisers)
        if self._start is not None:
            _put(self._start.tensors, model)
        return model

    def before(self, model: Any) -> Stage | None:
        """The language model learns the texts, as texts: Howard and Ruder (2018), section 3.2."""
        start, share = self._start, self.settings.tune
        if start is None or share == 0.0:
            return None
        reader = build(
            start.model, replace(self.plan.regularisers, dropout_output=self.plan.regularisers.dropout_input)
        )
        reader.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in start.tensors.items()})
        reader.to(next(model.parameters()).device)
        boundary = self.prepared.tokenizer.boundary_id
        train, valid = (self.prepared.parts[part].texts.ids for part in ("train", "valid"))
        batch = max(1, min(_LANES, len(train) // (4 * _WINDOW)))
        training = replace(self.plan.training, batch=batch, bptt=_WINDOW, average=0.0, evaluations=4, patience=0)
        drawn = _SAMPLED if start.model.vocab >= 4 * _SAMPLED else 0
        return Stage(
            about=f"first, in {share:.0%} of the budget, the language model learns the texts to classify",
            share=share,
            model=reader,
            training=training,
            weight_decay=self.plan.regularisers.weight_decay,
            objective=TextObjective(reader, Lanes(train, batch, _WINDOW, reader.lookahead, training.seed), drawn),
            held_out=HeldOut(valid[:_QUICK], boundary, self.prepared.chars["valid"] / len(valid)),
            hand_on=lambda: _put({name: x.detach().cpu().numpy() for name, x in reader.state_dict().items()}, model),
        )

    def factors(self, model: Any) -> RateFactors | None:
        """Slower towards the embedding, and let go from the labels on, where there is something to preserve."""
        if self._start is None:
            return None
        return layer_factors(model.depths(), self.settings.layer_decay, self.settings.unfreeze)

    def objective(self, model: Any) -> Objective:
        """The label of a text, in batches."""
        training, labels = self.plan.training, self.prepared.labels
        train = self.prepared.parts["train"].cut(training.bptt)
        buckets = Buckets(train.texts.lengths, training.batch, training.seed)
        balanced = self.settings.class_weights == "balanced"
        weights = balanced_weights(train.labels, len(labels)) if balanced else None
        return LabelObjective(model, train, buckets, weights, self.plan.regularisers.label_smoothing)

    def held_out(self, part: str) -> HeldOutTexts | None:
        """A part of the texts; what was last measured on it is kept for ``finish``."""
        if part not in self.prepared.parts:
            return None

        def note(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
            self._seen[part] = logits, labels

        return HeldOutTexts(self.prepared.parts[part], note)

    def scores(self, part: str, measured: Mapping[str, float], size: int) -> dict[str, Any]:  # noqa: ARG002
        """Nats and accuracy; ``finish`` adds the rest."""
        return {"tokens": size, **measured}

    def about(self) -> dict[str, Any]:
        """Sizes of model and data."""
        tokenizer, parts = self.prepared.tokenizer, self.prepared.parts
        return {
            "level": tokenizer.level,
            "vocab": tokenizer.vocab_size,
            "texts": self._texts,
            "labels": self.prepared.counts,
            "train_chars": self.prepared.chars["train"],
            "train_texts": len(parts["train"]),
            **({} if self._start is None else {"start_from": self._start.folder.name}),
        }

    def finish(self, tensors: Mapping[str, Any], summary: dict[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Find the temperature on the held-out texts; confusion, F1 and calibration error of every part."""
        temperature = calibration.best_temperature(*self._seen["valid"])
        self.plan = replace(self.plan, model=replace(self.plan.model, temperature=temperature))
        found = {part: self._report(part, temperature) for part in ("valid", "test") if part in summary}
        return tensors, {
            **summary,
            **{part: {**summary[part], **found[part]} for part in found},
            "temperature": temperature,
        }

    def _report(self, part: str, temperature: float) -> dict[str, Any]:
        logits, labels = self._seen[part]
        counts = confusion(labels, logits.argmax(axis=1), len(self.prepared.labels))
        bins = {
            when: calibration.reliability(calibration.softmax(logits, degree), labels)
            for when, degree in (("before", 1.0), ("after", temperature))
        }
        self._bins[part] = {when: calibration.to_json(each) for when, each in bins.items()}
        return {
            "texts": len(labels),
            "accuracy": accuracy(counts),
            "macro_f1": macro_f1(counts),
            "nats_calibrated": calibration.nats(logits, labels, temperature),
            "confusion": counts.tolist(),
            "calibration": {when: calibration.calibration_error(each) for when, each in bins.items()},
        }

    def draw(self, folder: Path) -> None:
        """How honest the probabilities are: on the test texts where there are any, else on those held out."""
        part = "test" if "test" in self._bins else "valid"
        pictures.draw_reliability(
            {"as trained": self._bins[part]["before"], "at the model's temperature": self._bins[part]["after"]},
            folder / "reliability.svg",
        )


def _check_settings(given: Mapping[str, Any]) -> None:
    """Raise ConfigError on settings that a classifier, or one that starts from a language model, does not have.

    A run that is resumed brings every setting along, those that say nothing with their defaults.
    """
    said = {name for name, value in given.items() if value not in (None, names.defaults("classify").get(name))}
    for name in _OF_LANGUAGE_MODELS:
        if name in said:
            raise ConfigError(f"{name} is for language models; leave it out with --task classify")
    if given.get("start_from"):
        for name in _OF_THE_START:
            if name in said:
                raise ConfigError(f"{name} is that of the model in --start-from; leave it out")


def _put(tensors: Mapping[str, Any], model: nn.Module) -> None:
    """The weights that a classifier shares with a language model, by name; the output layer of that stays behind."""
    own = model.state_dict()
    shared = {name: torch.from_numpy(np.array(x)) for name, x in tensors.items() if not name.startswith("output.")}
    model.load_state_dict({**own, **shared})
