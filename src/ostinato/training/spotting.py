"""Learning to see before learning to write: which words the captions of images have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato.data.lanes import Place
from ostinato.data.pixels import Augmentation, Pixels, lay_on
from ostinato.data.ragged import Buckets
from ostinato.models.captioner import WordSpotter
from ostinato.nn.recurrent import States
from ostinato.training.objective import BatchObjective, Loss, device_of

MOST = 1000
"""Words that are looked for, the commonest."""
_BATCH = 64  # images measured at once
_WORD = re.compile(r"\w+")


def words_of(caption: str) -> set[str]:
    """The words of a caption, in lower case."""
    return set(_WORD.findall(caption.lower()))


def vocabulary(captions: Sequence[str]) -> list[str]:
    """The commonest words that several captions have and not all, most frequent first."""
    counts = Counter(word for caption in captions for word in words_of(caption))
    kept = [(-count, word) for word, count in counts.items() if 1 < count < len(captions)]
    return [word for _, word in sorted(kept)[:MOST]]


@dataclass(frozen=True)
class Spotted:
    """Images, and which of the words each of their captions has."""

    images: Pixels
    """``(n, D, D, 4)``."""
    image: NDArray[np.int64]
    """Which of the images each caption is of, ``(m,)``."""
    present: NDArray[np.bool_]
    """``(m, K)``."""

    @staticmethod
    def of(images: Pixels, image: NDArray[np.int64], captions: Sequence[str], words: Sequence[str]) -> Spotted:
        """Look for ``words`` in ``captions``."""
        places = {word: k for k, word in enumerate(words)}
        present = np.zeros((len(captions), len(words)), bool)
        for row, caption in zip(present, captions, strict=True):
            row[[places[word] for word in words_of(caption) if word in places]] = True
        return Spotted(images, image, present)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def frequencies(self) -> Tensor:
        """The share of captions that have each word, ``(K,)``."""
        return torch.from_numpy(self.present.mean(axis=0, dtype=np.float32))


class SpottingObjective(BatchObjective):
    """The words of captions from changed images; every caption once an epoch."""

    def __init__(self, model: WordSpotter, data: Spotted, batch: int, augmentation: Augmentation, seed: int) -> None:
        self._model, self._data, self._augmentation, self._seed = model, data, augmentation, seed
        super().__init__(Buckets(np.ones(len(data), np.int64), batch, seed))

    def loss(self, place: Place, state: States) -> Loss:  # noqa: ARG002 - steps have no order
        """Of the batch at ``place``, a prediction for each image."""
        index = self._buckets.indices(place)
        rng = np.random.default_rng((self._seed, place.epoch, place.window))
        images = self._augmentation.apply(self._data.images[self._data.image[index]], rng)
        nats = _nats(self._model, images, self._data.present[index])
        return Loss(nats, len(index), nats.new_zeros(()), ())


@dataclass(frozen=True)
class HeldOutSpotted:
    """Images that are not trained on, on white."""

    data: Spotted

    @torch.no_grad()
    def measure(self, model: WordSpotter) -> dict[str, float]:
        """``nats`` of all words together, per image."""
        mode = model.training
        model.eval()
        total = 0.0
        for first in range(0, len(self.data), _BATCH):
            some = slice(first, first + _BATCH)
            images = lay_on(self.data.images[self.data.image[some]])
            total += float(_nats(model, images, self.data.present[some]))
        model.train(mode)
        return {"nats": total / len(self.data)}


def _nats(model: WordSpotter, images: Pixels, present: NDArray[np.bool_]) -> Tensor:
    device = device_of(model)
    return model.loss(torch.from_numpy(images).to(device), torch.from_numpy(present).to(device, torch.float32))
