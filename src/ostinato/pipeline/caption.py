"""The task of ``--task caption``: images and captions of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ostinato.captioner import Captioner
from ostinato.data.pixels import Augmentation, Pixels
from ostinato.data.ragged import Ragged
from ostinato.errors import ImageError, TextError
from ostinato.images import Store, decode, open_store
from ostinato.models.captioner import RecurrentCaptioner, WordSpotter
from ostinato.pipeline import settings as names
from ostinato.pipeline.level import Level, choose_level
from ostinato.pipeline.parts import PARTS, divide
from ostinato.pipeline.task import Stage, Task
from ostinato.pipeline.task_settings import CaptionSettings
from ostinato.text.listed import CAPTIONS, Listed
from ostinato.text.statistics import SAMPLE, measure_text
from ostinato.text.tokenizer import build, to_json
from ostinato.training.caption_plan import CaptionsSize, plan
from ostinato.training.captioning import CaptionObjective, Captions, HeldOutCaptions
from ostinato.training.objective import Objective, device_of
from ostinato.training.spotting import HeldOutSpotted, Spotted, SpottingObjective, vocabulary
from ostinato.types import Tokenizer

SHOWN = 3
"""Held-out images that are captioned to show how training goes."""


class CaptionTask(Task):
    """Captioned images, and the plan for a captioner of them."""

    reused = False

    def __init__(self, texts: Sequence[str], given: Mapping[str, Any]) -> None:
        """Raises TextError, ImageError or ConfigError when captions or images cannot be used, or are too few."""
        self._settings = CaptionSettings(**names.part(CaptionSettings, given))
        text = names.TextSettings(**names.part(names.TextSettings, given))
        self._texts = [Path(name).name for name in texts]
        lines = divide(texts, text, CAPTIONS, "captions")
        self._lines = lines
        self._level, self._tokenizer = _learn(lines["train"], text, given.get("minutes"))
        images, index = _read_images(list(chain.from_iterable(lines.values())), self._settings)
        self._data: dict[str, Captions] = {}
        for part, some in lines.items():
            of, index = index[: len(some)], index[len(some) :]
            self._data[part] = _encode(self._tokenizer, some, images, of)
        self.fingerprint = _fingerprint(lines, images, self._level)
        train = self._data["train"]
        size = CaptionsSize(
            len(train), int(train.captions.lengths.max()) + 1, self._tokenizer.vocab_size, train.predictions
        )
        found = plan(size, {**asdict(self._settings), **given})
        self.plan = replace(found, reasons={"level": self._level.reason, **found.reasons})

    @property
    def data(self) -> str:
        """Captions and images by part."""
        counts = [f"{len(data):,} {PARTS[part]}" for part, data in self._data.items()]
        train = self._data["train"]
        return (
            f"captions of {len(train.images):,} images: {', '.join(counts)}; "
            f"{train.predictions:,} {self._tokenizer.level} tokens of {self._tokenizer.vocab_size:,} kinds"
        )

    @property
    def tokenizer_json(self) -> list[str]:
        """The one tokenizer."""
        return [to_json(self._tokenizer)]

    @property
    def settled(self) -> Mapping[str, Any]:
        """Those of the text."""
        return names.settled(self._level.options)

    @property
    def chars_per_token(self) -> float:
        """Of the captions that are trained on, the end of each counted as a character."""
        return self._data["train"].chars / self._data["train"].predictions

    def build(self) -> nn.Module:
        """A captioner."""
        return RecurrentCaptioner(self.plan.model, self.plan.regularisers)

    def before(self, model: Any) -> Stage | None:
        """The convolutions learn which words captions have."""
        share, training = self._settings.words_first, self.plan.training
        if share == 0.0 or self.plan.model.blind:
            return None
        spotted = self._spotted()
        if len(spotted["train"].frequencies) == 0:
            return None
        spotter = WordSpotter(self.plan.model, spotted["train"].frequencies, self.plan.regularisers.dropout_hidden).to(
            device_of(model)
        )
        return Stage(
            about=f"first, in {share:.0%} of the budget, what sees the images learns which words captions have",
            share=share,
            model=spotter,
            training=replace(training, average=0.0, evaluations=4, patience=0),
            weight_decay=self.plan.regularisers.weight_decay,
            objective=SpottingObjective(spotter, spotted["train"], training.batch, self._augmentation, training.seed),
            held_out=HeldOutSpotted(spotted["valid"]),
            hand_on=lambda: model.encoder.load_state_dict(spotter.encoder.state_dict()),
        )

    def objective(self, model: Any) -> Objective:
        """The tokens of captions, given their images."""
        training = self.plan.training
        return CaptionObjective(model, self._data["train"], training.batch, self._augmentation, training.seed)

    @property
    def _augmentation(self) -> Augmentation:
        return Augmentation(self._settings.shift, self._settings.flip, self._settings.background)

    def _spotted(self) -> dict[str, Spotted]:
        captions = {part: [line.text for line in self._lines[part]] for part in ("train", "valid")}
        words = vocabulary(captions["train"])
        return {
            part: Spotted.of(self._data[part].images, self._data[part].image, some, words)
            for part, some in captions.items()
        }

    def held_out(self, part: str) -> HeldOutCaptions | None:
        """A part of the captions."""
        return HeldOutCaptions(self._data[part]) if part in self._data else None

    def scores(self, part: str, measured: Mapping[str, float], size: int) -> dict[str, Any]:
        """Bits per character."""
        data = self._data[part]
        captions = len(data) if size >= data.predictions else len(HeldOutCaptions(data).first(size).data)
        figures = {"nats_per_token": measured["nats"], "bits_per_char": measured["bits_per_char"]}
        return {"captions": captions, "tokens": size, **figures}

    def about(self) -> dict[str, Any]:
        """Sizes of model and data."""
        train = self._data["train"]
        return {
            "level": self._tokenizer.level,
            "vocab": self._tokenizer.vocab_size,
            "texts": self._texts,
            "train_captions": len(train),
            "train_chars": train.chars,
            "train_tokens": train.predictions,
        }

    def sample(self, tensors: Mapping[str, Any]) -> str | None:
        """Captions of the first held-out images."""
        writer, data = Captioner(self.plan.model, tensors, self._tokenizer), self._data["valid"]
        shown = [
            f"{self._lines['valid'][number].path}: {writer.caption(data.images[data.image[number]])[0].text}"
            for number in range(min(SHOWN, len(data)))
        ]
        return "; ".join(shown)


def _learn(lines: Sequence[Listed], settings: names.TextSettings, minutes: float | None) -> tuple[Level, Tokenizer]:
    text = "".join(f"{line.text}\n" for line in lines)
    level = choose_level(settings, measure_text(text[:SAMPLE], len(text)), minutes)
    try:
        return level, build(level.options, lambda: iter([text]))
    except TextError:
        if not level.at_most:
            raise
        return level, build(replace(level.options, vocab=None), lambda: iter([text]))


def _read_images(lines: Sequence[Listed], settings: CaptionSettings) -> tuple[Pixels, np.ndarray[Any, Any]]:
    """Every image once, ``(n, D, D, 4)``, and which of them each line is of."""
    places: dict[tuple[Path, str], int] = {}
    index = np.array([places.setdefault(_place(line, settings), len(places)) for line in lines], np.int64)
    first = {number: line.place for number, line in zip(index[::-1].tolist(), lines[::-1], strict=True)}
    D = settings.image_size
    images = np.zeros((len(places), D, D, 4), np.uint8)
    stores: dict[Path, Store] = {}
    for (home, name), number in places.items():
        if home not in stores:
            stores[home] = open_store(home)
        try:
            images[number] = decode(stores[home].read(name), D, f"{name} in {home}")
        except ImageError as error:
            raise ImageError(f"{first[number]}: {error}") from None
    return images, index


def _place(line: Listed, settings: CaptionSettings) -> tuple[Path, str]:
    return Path(settings.images) if settings.images is not None else line.folder, line.path


def _encode(tokenizer: Tokenizer, lines: Sequence[Listed], images: Pixels, of: np.ndarray[Any, Any]) -> Captions:
    ids = [tokenizer.encode(line.text) for line in lines]
    chars = sum(len(line.text) + 1 for line in lines)
    return Captions(images, of, Ragged.of(ids), tokenizer.boundary_id, chars)


def _fingerprint(lines: Mapping[str, Sequence[Listed]], images: Pixels, level: Level) -> str:
    texts = {part: [(line.path, line.text) for line in some] for part, some in lines.items()}
    digest = hashlib.blake2b(json.dumps([texts, asdict(level.options)], sort_keys=True).encode(), digest_size=16)
    digest.update(images.data)
    return digest.hexdigest()
