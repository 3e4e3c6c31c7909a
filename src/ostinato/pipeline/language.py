"""The tasks ``lm`` and ``dialogue``: a language model of a text, or of conversations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ostinato.config import ModelConfig
from ostinato.data.lanes import Lanes
from ostinato.language_model import LanguageModel
from ostinato.models.build import build
from ostinato.pipeline import settings as names
from ostinato.pipeline.prepare import prepare
from ostinato.pipeline.task import Task
from ostinato.text.tokenizer import to_json
from ostinato.training.evaluate import HeldOut
from ostinato.training.metrics import BITS
from ostinato.training.objective import Objective, TextObjective
from ostinato.training.plan import Plan, TextSize, plan

SAMPLE_TOKENS = {"char": 160, "byte": 160, "word": 40, "bpe": 60, "unigram": 60}


class LanguageTask(Task):
    """A text, and the plan for a language model of it."""

    plan: Plan[ModelConfig]

    def __init__(self, texts: Sequence[str], given: Mapping[str, Any]) -> None:
        """Raises TextError or ConfigError when the text cannot be used, or is too short."""
        settings = names.TextSettings(**names.part(names.TextSettings, given))
        self._task = given.get("task", "lm")
        self.prepared = prepare(texts, settings, given.get("minutes"), conversations=self._task == "dialogue")
        self.fingerprint = self.prepared.fingerprint
        self._texts = [Path(text).name for text in texts]
        ids = self.prepared.store.parts["train"]
        found = plan(TextSize(len(ids), self.prepared.tokenizer.vocab_size), given)
        self.plan = replace(found, reasons={"level": self.prepared.level.reason, **found.reasons})
        self.reused = self.prepared.reused
        self._lanes(lookahead=0)  # a text too short is refused before anything is written

    @property
    def data(self) -> str:
        """Characters and tokens by part."""
        prepared = self.prepared
        parts, facts = prepared.store.parts, prepared.facts("train")
        others = {"valid": "held out", "test": "to test on"}
        held_out = ", ".join(f"{len(ids):,} {others[name]}" for name, ids in parts.items() if name != "train")
        return (
            f"{facts['chars']:,} characters, {len(parts['train']):,} {prepared.tokenizer.level} tokens of "
            f"{prepared.tokenizer.vocab_size:,} kinds to train on; {held_out}"
        )

    @property
    def tokenizer_json(self) -> list[str]:
        """The one tokenizer."""
        return [to_json(self.prepared.tokenizer)]

    @property
    def settled(self) -> Mapping[str, Any]:
        """Those of the text."""
        return names.settled(self.prepared.level.options)

    @property
    def chars_per_token(self) -> float:
        """Of the text that is trained on."""
        return self._chars_per_token("train")

    @property
    def _model(self) -> ModelConfig:
        assert isinstance(self.plan.model, ModelConfig)
        return self.plan.model

    def build(self) -> nn.Module:
        """A language model, of one direction or two."""
        return build(self._model, self.plan.regularisers)

    def objective(self, model: Any) -> Objective:
        """The next token, in lanes."""
        return TextObjective(model, self._lanes(model.lookahead), self.plan.training.sampled_softmax)

    def held_out(self, part: str) -> HeldOut | None:
        """A part of the text."""
        if part not in self.prepared.store.parts:
            return None
        ids, boundary = self.prepared.store.parts[part], self.prepared.tokenizer.boundary_id
        return HeldOut(ids, boundary, self._chars_per_token(part))

    def scores(self, part: str, measured: Mapping[str, float], size: int) -> dict[str, Any]:
        """Perplexity, bits per character and byte."""
        facts, ids = self.prepared.facts(part), self.prepared.store.parts[part]
        nats, unknown = measured["nats"], self.prepared.tokenizer.unk_id
        bits = nats * BITS * len(ids)
        return {
            "tokens": size,
            "unknown": 0 if unknown is None else int(np.count_nonzero(ids[:size] == unknown)),
            "nats_per_token": nats,
            "perplexity": math.exp(min(nats, 700.0)),
            "bits_per_char": bits / facts["chars"],
            "bits_per_byte": bits / facts["bytes"],
            **({"pseudo": True} if self._model.bidirectional else {}),
        }

    def about(self) -> dict[str, Any]:
        """Sizes of model and text."""
        tokenizer = self.prepared.tokenizer
        return {
            "task": self._task,
            "bidirectional": self._model.bidirectional,
            "level": tokenizer.level,
            "vocab": tokenizer.vocab_size,
            "texts": self._texts,
            "train_chars": self.prepared.facts("train")["chars"],
            "train_tokens": len(self.prepared.store.parts["train"]),
        }

    def sample(self, tensors: Mapping[str, Any]) -> str | None:
        """Some text, of a model that can write."""
        if self._model.bidirectional:
            return None
        tokenizer = self.prepared.tokenizer
        writer = LanguageModel(self._model, tensors, tokenizer)
        return writer.generate(tokens=SAMPLE_TOKENS[tokenizer.level], seed=self.plan.training.seed, temperature=0.8)

    def _lanes(self, lookahead: int) -> Lanes:
        training = self.plan.training
        return Lanes(self.prepared.store.parts["train"], training.batch, training.bptt, lookahead, training.seed)

    def _chars_per_token(self, part: str) -> float:
        return self.prepared.facts(part)["chars"] / len(self.prepared.store.parts[part])
