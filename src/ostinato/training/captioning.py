"""Learning to caption: batches of images with their captions, and what is measured on held-out ones."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.lanes import Place
from ostinato.data.pixels import Augmentation, Pixels, lay_on
from ostinato.data.ragged import Buckets, Ragged
from ostinato.models.captioner import RecurrentCaptioner
from ostinato.nn.recurrent import States
from ostinato.training.metrics import BITS
from ostinato.training.objective import BatchObjective, Loss, device_of
from ostinato.types import Ids

_BATCH = 64  # captions measured at once


@dataclass(frozen=True)
class Captions:
    """Images, and captions of them; an image may have several."""

    images: Pixels
    """``(n, D, D, 4)``."""
    image: NDArray[np.int64]
    """Which of the images each caption is of, ``(m,)``."""
    captions: Ragged
    """The ids of each caption, ``m`` of them, without boundaries."""
    boundary: int
    """The token that a caption begins after and ends with."""
    chars: int
    """Characters of the captions, a line end counted for each."""

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def predictions(self) -> int:
        """Tokens to predict, the end of each caption among them."""
        return int(self.captions.lengths.sum()) + len(self)

    def take(self, index: NDArray[np.integer]) -> tuple[Pixels, Ids, NDArray[np.int64]]:
        """Images ``(B, D, D, 4)``, framed ids ``(T + 1, B)`` and lengths ``(B,)`` of some of the captions.

        As ``models.captioner`` wants them: boundary, caption, boundary, and more boundaries after a short one.
        """
        padded, lengths = self.captions.take(index).padded(self.boundary)
        edge = np.full((1, len(index)), self.boundary, np.int64)
        return self.images[self.image[index]], np.concatenate([edge, padded, edge]), lengths + 1


class CaptionObjective(BatchObjective):
    """A captioner on batches of captions of about equal length; every caption once an epoch."""

    def __init__(
        self, model: RecurrentCaptioner, data: Captions, batch: int, augmentation: Augmentation, seed: int
    ) -> None:
        self._model, self._data, self._augmentation, self._seed = model, data, augmentation, seed
        super().__init__(Buckets(data.captions.lengths, batch, seed))
        self._device = device_of(model)

    def loss(self, place: Place, state: States) -> Loss:  # noqa: ARG002 - steps have no order
        """Of the batch at ``place``, whose images are changed in a way that seed and place decide."""
        images, ids, lengths = self._data.take(self._buckets.indices(place))
        rng = np.random.default_rng((self._seed, place.epoch, place.window))
        tensors = _tensors(self._augmentation.apply(images, rng), ids, lengths, self._device)
        nats = self._model.loss(*tensors)
        return Loss(nats, int(lengths.sum()), nats.new_zeros(()), ())


@dataclass(frozen=True)
class HeldOutCaptions:
    """Captions that are not trained on, of images on white."""

    data: Captions

    @property
    def size(self) -> int:
        """Predictions in it."""
        return self.data.predictions

    def first(self, predictions: int) -> HeldOutCaptions:
        """The first captions, one at least, of at most so many predictions together."""
        together = np.cumsum(self.data.captions.lengths + 1)
        count = max(1, int(np.searchsorted(together, predictions, side="right")))
        captions = self.data.captions.take(np.arange(min(count, len(self.data))))
        chars = round(self.data.chars * (captions.lengths + 1).sum() / self.size)
        return HeldOutCaptions(replace(self.data, captions=captions, image=self.data.image[:count], chars=chars))

    def measure(self, model: RecurrentCaptioner) -> dict[str, float]:
        """``nats`` per prediction and ``bits_per_char``, the end of a caption counted as a character."""
        total = float(self.nats(model).sum())
        return {"nats": total / self.size, "bits_per_char": total * BITS / self.data.chars}

    def nats(self, model: RecurrentCaptioner) -> NDArray[np.float64]:
        """Of each caption ``(m,)``."""
        order = np.argsort(self.data.captions.lengths, kind="stable")
        nats = np.zeros(len(self.data))
        for first in range(0, len(order), _BATCH):
            index = order[first : first + _BATCH]
            nats[index] = self._some(model, index)
        return nats

    def seconds(self, model: RecurrentCaptioner) -> float:
        """Expected time of ``measure``, from the second of two batches."""
        index = np.arange(min(_BATCH, len(self.data)))
        self._some(model, index)
        start = time.perf_counter()
        self._some(model, index)
        return 1.25 * (time.perf_counter() - start) * len(self.data) / len(index)

    def _some(self, model: RecurrentCaptioner, index: NDArray[np.integer]) -> NDArray[np.float64]:
        images, ids, lengths = self.data.take(index)
        nats: NDArray[np.float64] = (
            model.nats(*_tensors(lay_on(images), ids, lengths, device_of(model))).double().cpu().numpy()
        )
        return nats


def _tensors(
    images: Pixels, ids: Ids, lengths: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(images).to(device), torch.from_numpy(ids).to(device), torch.from_numpy(lengths).to(device)
