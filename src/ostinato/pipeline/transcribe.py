"""The task of ``--task transcribe``: recordings and what is said in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ostinato.architectures.recogniser import RATES, RecogniserConfig
from ostinato.config import check_range
from ostinato.data.ragged import Ragged
from ostinato.data.sounds import Mixing, quantised
from ostinato.data.spectra import LogMel
from ostinato.errors import ConfigError, SoundError
from ostinato.models.recogniser import RecurrentRecogniser
from ostinato.pipeline import settings as names
from ostinato.pipeline.parts import PARTS, divide
from ostinato.pipeline.task import Task
from ostinato.pipeline.task_settings import SpeechSettings
from ostinato.recogniser import Recogniser
from ostinato.score.wer import Errors, word_errors
from ostinato.sound import read_wav
from ostinato.text.listed import TRANSCRIPTS, Listed
from ostinato.text.tokenizer import TokenizerOptions, build, to_json
from ostinato.training.objective import Objective
from ostinato.training.plan import Plan
from ostinato.training.plan_transcribe import RecordingsSize, plan
from ostinato.training.recognising import HeldOutRecordings, Recordings, SpellObjective, needed_steps
from ostinato.types import Tokenizer

MOST_SECONDS = 60.0
"""Of a recording to train on: a batch of longer ones is more than most machines hold."""
MOST_NAMED = 10
"""Recordings that a message names."""
SHOWN = 3
"""Held-out recordings that are transcribed to show how training goes."""


class TranscribeTask(Task):
    """Recordings and what is said in them, and the plan for a recogniser."""

    plan: Plan[RecogniserConfig]
    reused = False
    unit = "characters"

    def __init__(self, texts: Sequence[str], given: Mapping[str, Any]) -> None:
        """Raises TextError, SoundError or ConfigError when lists or recordings cannot be used, or are too few."""
        self._settings = SpeechSettings(**names.part(SpeechSettings, given))
        text = names.TextSettings(**names.part(names.TextSettings, given))
        _check_text(text)
        self._texts = [Path(name).name for name in texts]
        lines = divide(texts, text, TRANSCRIPTS, "recordings")
        rate = self._settings.sample_rate or _rate_of(lines["train"][0])
        check_range("sample_rate", rate, *RATES)
        self._spectrum = LogMel(rate, self._settings.mels, self._settings.stack)
        options = TokenizerOptions("char", text.vocab, text.min_count)
        self._options, self._tokenizer = options, _learn(lines["train"], options)
        settings = self._settings
        self._mixing = Mixing(
            settings.join, settings.pause, settings.noise, settings.speed, settings.loudness, settings.eq
        )
        self._data = {part: self._read(some, part) for part, some in lines.items()}
        self._meant = {part: [line.text for line in some] for part, some in lines.items()}
        self.fingerprint = _fingerprint(self._data, self._tokenizer)
        train = self._data["train"]
        longest = self._spectrum.steps(self._mixing.longest(int(train.sounds.lengths.max()), rate))
        size = RecordingsSize(len(train), train.seconds, longest, self._tokenizer.vocab_size)
        found = plan(size, {**asdict(self._settings), **given, "sample_rate": rate})
        self.plan = replace(found, reasons={"level": "a recogniser spells", **found.reasons})

    def _read(self, lines: Sequence[Listed], part: str) -> Recordings:
        """The recordings of a part. Raises SoundError when some cannot be used: why the first, and how many."""
        sounds, ids, wrong = [], [], []
        for line in lines:
            ids.append(self._tokenizer.encode(line.text))
            try:
                sounds.append(quantised(read_wav(line.file, self._spectrum.rate)[0]))
                self._check(sounds[-1], ids[-1], line, part)
            except SoundError as error:
                wrong.append((line, error))
        if wrong:
            others = ", ".join(line.file.name for line, _ in wrong[1:MOST_NAMED])
            more = f"; {len(wrong) - 1:,} more cannot be used, {others}{', ...' if len(wrong) > MOST_NAMED else ''}"
            raise SoundError(f"{wrong[0][0].place}: {wrong[0][1]}{more if others else ''}")
        return Recordings(_ragged(sounds), Ragged.of(ids), self._spectrum, int(self._tokenizer.encode(" ")[0]))

    def _check(self, sound: NDArray[np.int16], ids: NDArray[np.int64], line: Listed, part: str) -> None:
        seconds, where = len(sound) / self._spectrum.rate, str(line.file)
        if not sound.any():
            raise SoundError(f"{where} is silent, but {line.text[:40]!r} is said to be heard in it")
        if part == "train" and seconds > MOST_SECONDS:
            raise SoundError(
                f"{where} has {seconds:.0f} seconds; expected {MOST_SECONDS:.0f} at most to train on: cut it at pauses"
            )
        shortest = self._mixing.fastest(len(sound)) if part == "train" else len(sound)
        steps, needed = self._spectrum.steps(shortest), needed_steps(ids)
        if steps < needed:
            raise SoundError(
                f"{where} has {steps} steps of {10 * self._settings.stack} ms at its fastest, too "
                f"few for {len(ids)} characters, which take {needed}; check the text, or lower --stack or --speed"
            )

    @property
    def data(self) -> str:
        """Recordings by part, and how long they are."""
        counts = [f"{len(data):,} {PARTS[part]}" for part, data in self._data.items()]
        train = self._data["train"]
        return (
            f"recordings: {', '.join(counts)}; {train.seconds / 60.0:.1f} minutes and {train.chars:,} characters of "
            f"{self._tokenizer.vocab_size:,} kinds to train on"
        )

    @property
    def tokenizer_json(self) -> list[str]:
        """The one tokenizer."""
        return [to_json(self._tokenizer)]

    @property
    def settled(self) -> Mapping[str, Any]:
        """Those of the text."""
        return names.settled(self._options)

    @property
    def chars_per_token(self) -> float:
        """A token is a character."""
        return 1.0

    def build(self) -> nn.Module:
        """A recogniser, told how loud bands are in the mean."""
        model = RecurrentRecogniser(self.plan.model, self.plan.regularisers, self._tokenizer.boundary_id)
        mean, scale = self._data["train"].standard()
        model.input.load_state_dict({"mean": torch.from_numpy(mean), "scale": torch.from_numpy(scale)})
        return model

    def objective(self, model: Any) -> Objective:
        """What is said in strings of recordings."""
        training = self.plan.training
        return SpellObjective(model, self._data["train"], training.batch, self._mixing, training.seed)

    def held_out(self, part: str) -> HeldOutRecordings | None:
        """A part of the recordings."""
        return HeldOutRecordings(self._data[part]) if part in self._data else None

    def scores(self, part: str, measured: Mapping[str, float], size: int) -> dict[str, Any]:
        """Nats and bits per character; ``finish`` adds errors."""
        data = self._data[part]
        count = len(data) if size >= data.chars else len(HeldOutRecordings(data).first(size).data)
        return {"recordings": count, "chars": size, **measured}

    def about(self) -> dict[str, Any]:
        """Sizes of model and data."""
        train = self._data["train"]
        return {
            "level": "char",
            "vocab": self._tokenizer.vocab_size,
            "texts": self._texts,
            "train_recordings": len(train),
            "train_seconds": round(train.seconds, 3),
            "train_chars": train.chars,
        }

    def sample(self, tensors: Mapping[str, Any]) -> str | None:
        """What is heard in the first held-out recordings."""
        return "; ".join(self._heard(tensors, "valid", SHOWN))

    def finish(self, tensors: Mapping[str, Any], summary: dict[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Error rates of the likeliest path, in words and in characters."""
        found = dict(summary)
        for part in ("valid", "test"):
            if part in summary:
                count = summary[part]["recordings"]
                pairs = list(zip(self._meant[part], self._heard(tensors, part, count), strict=False))
                words = Errors.total_of(word_errors(meant.split(), heard.split()) for meant, heard in pairs)
                chars = Errors.total_of(word_errors(meant, heard) for meant, heard in pairs)
                rates = {"words": words.words, "wer": words.rate, "cer": chars.rate}
                found[part] = {**summary[part], **rates}
        return tensors, found

    def _heard(self, tensors: Mapping[str, Any], part: str, count: int) -> list[str]:
        """What the model hears in the first recordings of a part, by the engine without torch."""
        recogniser, data = Recogniser(self.plan.model, tensors, self._tokenizer), self._data[part]
        rate = self._spectrum.rate
        return [recogniser.transcribe(data.plain(index), rate).text for index in range(min(count, len(data)))]


def _rate_of(line: Listed) -> int:
    try:
        return read_wav(line.file)[1]
    except SoundError as error:
        raise SoundError(f"{line.place}: {error}") from None


def _check_text(settings: names.TextSettings) -> None:
    if settings.level not in ("auto", "char"):
        raise ConfigError(f"level is {settings.level!r}; a recogniser spells in characters: leave it out")
    if settings.lower or settings.pretokenized:
        name = "lower" if settings.lower else "pretokenized"
        raise ConfigError(f"{name} is for words, and a recogniser spells: write the texts so, and leave it out")


def _learn(lines: Sequence[Listed], options: TokenizerOptions) -> Tokenizer:
    """The characters of the texts, and the blank between words, which strings of recordings need."""
    return build(options, lambda: iter([" ".join(["", *(line.text for line in lines)]) + "\n"]))


def _ragged(sounds: Sequence[NDArray[np.int16]]) -> Ragged:
    ends = np.cumsum([len(sound) for sound in sounds], dtype=np.int64)
    starts = ends - [len(sound) for sound in sounds]
    return Ragged(np.concatenate(sounds), np.stack([starts, ends], axis=1))


def _fingerprint(data: Mapping[str, Recordings], tokenizer: Tokenizer) -> str:
    digest = hashlib.blake2b(json.dumps([to_json(tokenizer), sorted(data)]).encode(), digest_size=16)
    for _, part in sorted(data.items()):
        for array in (part.sounds.ids, part.sounds.bounds, part.texts.ids, part.texts.bounds):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
