"""Small captioners with random weights, and batches of images with ragged captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from modelling import draw_ids
from torch import Tensor

from ostinato.architectures import CaptionerConfig
from ostinato.config import ModelConfig
from ostinato.data.lanes import Place
from ostinato.data.pixels import Augmentation
from ostinato.data.ragged import Ragged
from ostinato.text.tokenizer import TokenizerOptions, build
from ostinato.training.captioning import CaptionObjective, Captions
from ostinato.types import Tokenizer

BOUNDARY = 10


def small(decoder: dict[str, Any] | None = None, **changes: Any) -> CaptionerConfig:
    """Odd sizes everywhere: images of 9, three convolutions, nine regions, two layers."""
    written = ModelConfig(**{"vocab": 11, "embed": 6, "hidden": (5, 7), **(decoder or {})})
    return CaptionerConfig(**{"decoder": written, "channels": (4, 3, 5), "strides": (1, 2, 2), "size": 9, **changes})


def draw_images(batch: int, size: int = 9, channels: int = 3, seed: int = 0) -> np.ndarray:
    """``(B, size, size, channels)`` in uint8."""
    return np.random.default_rng(seed).integers(0, 256, (batch, size, size, channels)).astype(np.uint8)


def draw_captions(lengths: list[int], boundary: int = BOUNDARY) -> tuple[Tensor, Tensor]:
    """Framed ids ``(T + 1, B)`` with captions of so many tokens, and how many predictions each has, ``(B,)``."""
    ids = draw_ids(max(lengths), len(lengths), vocab=boundary)
    framed = torch.full((max(lengths) + 2, len(lengths)), boundary)
    for b, length in enumerate(lengths):
        framed[1 : length + 1, b] = ids[:length, b]
    return framed, torch.tensor(lengths) + 1


def words(kinds: list[str]) -> Tokenizer:
    """A tokenizer of the words of some captions."""
    return build(TokenizerOptions("word"), lambda: iter(["".join(f"{kind}\n" for kind in kinds)]))


def captions(examples: list[tuple[str, np.ndarray]], tokenizer: Tokenizer) -> Captions:
    """Captioned images as training takes them."""
    ids = [tokenizer.encode(caption) for caption, _ in examples]
    images = np.stack([image for _, image in examples])
    chars = sum(len(caption) + 1 for caption, _ in examples)
    return Captions(images, np.arange(len(ids)), Ragged.of(ids), tokenizer.boundary_id, chars)


def teach(model: Any, data: Captions, steps: int, rate: float = 0.02) -> None:
    """Train ``model`` for some seconds."""
    objective = CaptionObjective(model, data, 32, Augmentation(shift=1, background=0.0), seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    place = Place()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 20) * (1.0 - step / steps)
        loss = objective.loss(place, ())
        optimiser.zero_grad()
        (loss.nats / loss.tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        place = objective.after(place)
