"""Learning to transcribe: batches of strings of recordings, and what is measured on held-out ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.lanes import Place
from ostinato.data.ragged import Buckets, Ragged, by_size
from ostinato.data.sounds import EDGE, FULL, Mixing
from ostinato.data.spectra import LogMel, equaliser
from ostinato.models.recogniser import RecurrentRecogniser
from ostinato.nn.recurrent import States
from ostinato.training.metrics import BITS
from ostinato.training.objective import BatchObjective, Loss, device_of
from ostinato.types import Floats, Ids

_STEPS = 8192  # measured at once, padding included


@dataclass(frozen=True)
class Recordings:
    """Sounds, and what is said in each."""

    sounds: Ragged
    """Samples in sixteen bits, n sounds end to end."""
    texts: Ragged
    """The ids of the characters of each, without boundaries."""
    spectrum: LogMel
    """What is read of a sound."""
    space: int
    """The character between what is said in two sounds that are joined."""

    def __len__(self) -> int:
        return len(self.sounds)

    @property
    def chars(self) -> int:
        """Characters of all texts."""
        return int(self.texts.lengths.sum())

    @property
    def seconds(self) -> float:
        """Of all sounds together."""
        return float(self.sounds.lengths.sum()) / self.spectrum.rate

    def plain(self, index: int) -> Floats:
        """The samples of one sound."""
        start, end = self.sounds.bounds[index]
        samples: Floats = self.sounds.ids[start:end].astype(np.float32) / np.float32(FULL)
        return samples

    def text(self, index: Sequence[int] | NDArray[np.integer]) -> Ids:
        """The characters of what is said in some sounds in a row."""
        space = np.array([self.space])
        pieces = [piece for start, end in self.texts.bounds[index] for piece in (space, self.texts.ids[start:end])]
        return np.concatenate(pieces[1:]).astype(np.int64)

    def joined(
        self, index: Sequence[int] | NDArray[np.integer], mixing: Mixing, rng: np.random.Generator
    ) -> tuple[Floats, Ids, NDArray[np.bool_]]:
        """Steps ``(T, E)`` and characters of some sounds as one, as training hears them, and which are pauses ``(T,)``.

        A sound is heard for EDGE seconds before its first letter may be said, and its last one may be as much late.
        """
        parts = [self.sounds.ids[start:end] for start, end in self.sounds.bounds[index]]
        samples, spans = mixing.mix(parts, self.spectrum.rate, rng)
        steps = self.spectrum.whole(samples)
        if mixing.eq:
            steps += np.tile(equaliser(self.spectrum.mels, mixing.eq, rng), self.spectrum.stack)
        pauses, late = np.ones(len(steps), np.bool_), int(EDGE * self.spectrum.rate)
        for start, end in spans:
            pauses[(start + late) // self.spectrum.step : self.spectrum.steps(end + late)] = False
        return steps, self.text(index), pauses

    def standard(self) -> tuple[Floats, Floats]:
        """Mean and one over the deviation of each band ``(mels,)`` over the steps of all sounds."""
        total, squares, count = (np.zeros(self.spectrum.mels) for _ in range(3))
        for index in range(len(self)):
            frames = self.spectrum.whole(self.plain(index)).reshape(-1, self.spectrum.mels).astype(np.float64)
            total, squares, count = total + frames.sum(0), squares + (frames**2).sum(0), count + len(frames)
        mean = total / count
        deviation = np.sqrt(np.maximum(1e-4, squares / count - mean**2))
        return mean.astype(np.float32), (1.0 / deviation).astype(np.float32)


def needed_steps(text: Ids) -> int:
    """Steps that a text takes at least: one a character, and a blank between two that are the same."""
    return len(text) + int((text[1:] == text[:-1]).sum())


class SpellObjective(BatchObjective):
    """A recogniser on strings of recordings; in an epoch every recording begins a string."""

    def __init__(self, model: RecurrentRecogniser, data: Recordings, batch: int, mixing: Mixing, seed: int) -> None:
        self._model, self._data, self._mixing, self._seed = model, data, mixing, seed
        super().__init__(Buckets(data.sounds.lengths, batch, seed))

    def loss(self, place: Place, state: States) -> Loss:  # noqa: ARG002 - steps have no order
        """Of the batch at ``place``: place and seed decide which sounds follow the first of each string, and how many,
        as many in all strings of a batch."""
        rng = np.random.default_rng((self._seed, place.epoch, place.window))
        first, more = self._buckets.indices(place), int(rng.integers(self._mixing.join))
        rows = np.column_stack([first, rng.integers(len(self._data), size=(len(first), more))])
        steps, texts, pauses = zip(*(self._data.joined(row, self._mixing, rng) for row in rows), strict=True)
        device = device_of(self._model)
        tensors = _tensors(steps, texts, device)
        quiet = torch.from_numpy(_padded([row[:, None] for row in pauses])[:, :, 0]).to(device)
        nats = self._model.loss(*tensors, quiet, self._data.space)
        return Loss(nats, sum(map(len, texts)), nats.new_zeros(()), ())


@dataclass(frozen=True)
class HeldOutRecordings:
    """Recordings that are not trained on, as they are."""

    data: Recordings

    @property
    def size(self) -> int:
        """Characters in it."""
        return self.data.chars

    def first(self, tokens: int) -> HeldOutRecordings:
        """The first recordings, one at least, of at most so many characters together."""
        together = np.cumsum(self.data.texts.lengths)
        index = np.arange(min(len(self.data), max(1, int(np.searchsorted(together, tokens, side="right")))))
        return HeldOutRecordings(
            replace(self.data, sounds=self.data.sounds.take(index), texts=self.data.texts.take(index))
        )

    @cached_property
    def _steps(self) -> list[Floats]:
        """What is read of each sound, computed once."""
        return [self.data.spectrum.whole(self.data.plain(index)) for index in range(len(self.data))]

    def measure(self, model: RecurrentRecogniser) -> dict[str, float]:
        """``nats`` and bits per character of the texts."""
        total = sum(self._some(model, index) for index in self._batches())
        return {"nats": total / self.size, "bits_per_char": total * BITS / self.size}

    def seconds(self, model: RecurrentRecogniser) -> float:
        """Expected time of ``measure``, from the first of its batches."""
        first, *_ = batches = list(self._batches())
        start = time.perf_counter()
        self._some(model, first)
        return 1.25 * (time.perf_counter() - start) * len(batches)

    def _batches(self) -> Sequence[NDArray[np.intp]]:
        return list(by_size(np.array([len(steps) for steps in self._steps]), _STEPS))

    def _some(self, model: RecurrentRecogniser, index: NDArray[np.intp]) -> float:
        texts = [self.data.text([int(each)]) for each in index]
        tensors = _tensors([self._steps[each] for each in index], texts, device_of(model))
        return float(model.nats(*tensors).double().sum())


def _tensors(
    steps: Sequence[Floats], texts: Sequence[Ids], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Steps ``(T, B, E)`` with zeros after the end of each, how many there are of each, texts and their lengths."""
    lengths = np.array([len(each) for each in steps])
    arrays = _padded(steps), lengths, np.concatenate(texts), np.array([len(text) for text in texts])
    found = [torch.from_numpy(array).to(device) for array in arrays]
    return found[0], found[1], found[2], found[3]


def _padded(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows ``(T_b, E)`` side by side, ``(T, B, E)``, with zeros after the end of each."""
    padded = np.zeros((max(map(len, rows)), len(rows), rows[0].shape[1]), rows[0].dtype)
    for b, row in enumerate(rows):
        padded[: len(row), b] = row
    return padded
