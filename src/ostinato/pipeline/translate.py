"""The task of ``--task translate``: from lines of one text to those of another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ostinato import translator as face
from ostinato.architectures import TranslatorConfig
from ostinato.models.translator import Translator
from ostinato.pipeline import settings as names
from ostinato.pipeline.pairs import prepare_pairs
from ostinato.pipeline.task import Task
from ostinato.text.tokenizer import to_json
from ostinato.training.objective import Objective
from ostinato.training.pairs import HeldOutPairs, PairObjective, PairText
from ostinato.training.plan_translate import PairSize, plan_translator


class TranslateTask(Task):
    """Two aligned texts, and the plan for a translator from the first to the second."""

    def __init__(self, texts: Sequence[str], given: Mapping[str, Any]) -> None:
        """Raises TextError or ConfigError when the texts cannot be used."""
        settings = names.TextSettings(**names.part(names.TextSettings, given))
        shared = given.get("shared")
        shared = settings.level != "word" if shared is None else shared
        prepared = self._prepared = prepare_pairs(texts, settings, shared=shared, minutes=given.get("minutes"))
        self.fingerprint, self.reused = prepared.fingerprint, prepared.reused
        self._texts = [Path(text).name for text in texts]
        found = plan_translator(self._size(), {**given, "shared": shared})
        self.plan = replace(found, reasons={"level": prepared.level.reason, **found.reasons})

    def _size(self) -> PairSize:
        train = self._prepared.parts["train"]
        longest = int(max(train.sources.lengths.max(), train.targets.lengths.max()))
        vocabs = tuple(tokenizer.vocab_size for tokenizer in self._prepared.tokenizers)
        return PairSize(
            len(train), int(train.sources.lengths.sum()), train.predictions, (vocabs[0], vocabs[1]), longest
        )

    @property
    def data(self) -> str:
        """Pairs and tokens by part."""
        prepared = self._prepared
        train, size = prepared.parts["train"], self._size()
        kinds = " and ".join(dict.fromkeys(f"{tokenizer.vocab_size:,}" for tokenizer in prepared.tokenizers))
        others = {"valid": "held out", "test": "to test on"}
        held_out = ", ".join(
            f"{len(prepared.parts[part]):,} {others[part]}" for part in others if part in prepared.parts
        )
        blank = f"; {prepared.blank:,} left out, a side is empty" if prepared.blank else ""
        return (
            f"{len(train):,} pairs, {size.sources:,} and {size.targets:,} {prepared.level.options.level} tokens of "
            f"{kinds} kinds to train on; {held_out}{blank}"
        )

    @property
    def tokenizer_json(self) -> list[str]:
        """The target's, and the source's where it has one of its own."""
        source, target = self._prepared.tokenizers
        return [to_json(target)] if self._model.shared else [to_json(target), to_json(source)]

    @property
    def settled(self) -> Mapping[str, Any]:
        """Those of the text."""
        return names.settled(self._prepared.level.options)

    @property
    def _model(self) -> TranslatorConfig:
        assert isinstance(self.plan.model, TranslatorConfig)
        return self.plan.model

    def build(self) -> nn.Module:
        """An encoder-decoder."""
        return Translator(self._model, self.plan.regularisers)

    def objective(self, model: Any) -> Objective:
        """The target's tokens, each from those before and the source."""
        training = self.plan.training
        return PairObjective(model, self._text("train"), training.batch, training.seed)

    def held_out(self, part: str) -> HeldOutPairs | None:
        """Pairs that were not trained on."""
        return HeldOutPairs(self._text(part)) if part in self._prepared.parts else None

    def scores(self, part: str, measured: Mapping[str, float], size: int) -> dict[str, Any]:
        """Perplexity of the targets, given the sources."""
        nats = measured["nats"]
        unknown = self._prepared.tokenizers[1].unk_id
        targets = self._prepared.parts[part].targets
        count = 0 if unknown is None else sum(int(np.count_nonzero(line == unknown)) for line in targets)
        return {
            "pairs": len(targets),
            "tokens": size,
            "unknown": count,
            "nats_per_token": nats,
            "perplexity": math.exp(min(nats, 700.0)),
        }

    def about(self) -> dict[str, Any]:
        """Sizes of model and texts."""
        prepared, size = self._prepared, self._size()
        return {
            "level": prepared.level.options.level,
            "vocab": prepared.tokenizers[1].vocab_size,
            "source_vocab": prepared.tokenizers[0].vocab_size,
            "texts": self._texts,
            "train_chars": prepared.chars,
            "train_pairs": size.pairs,
            "train_tokens": size.targets,
        }

    def sample(self, tensors: Mapping[str, Any]) -> str | None:
        """The first held-out line and its translation."""
        source, target = self._prepared.tokenizers
        start, end = self._prepared.parts["valid"].sources.bounds[0]
        line = source.decode(self._prepared.parts["valid"].sources.ids[start:end].astype(np.int64)).strip()
        return f"{line} -> {face.Translator(self._model, tensors, target, source).translate(line, beam=1)}"

    def _text(self, part: str) -> PairText:
        """A part; of what is trained on no line is longer than the plan says."""
        text = self._prepared.parts[part]
        return text.cut(self.plan.training.bptt) if part == "train" else text
