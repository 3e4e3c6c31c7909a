"""Small composers with random weights, and pieces in which a few keys sound, many, or none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.architectures import ComposerConfig
from ostinato.config import ModelConfig
from ostinato.data.rolls import KEYS, Roll, framed

LENGTHS = (7, 1, 5, 3)


def small(layers: dict[str, Any] | None = None, **changes: Any) -> ComposerConfig:
    """Odd sizes everywhere, two layers."""
    read = ModelConfig(**{"vocab": KEYS, "embed": 6, "hidden": (5, 7), **(layers or {})})
    return ComposerConfig(**{"layers": read, "chain": 9, **changes})


def draw_roll(steps: int, seed: int = 0) -> Roll:
    """Steps of which each has another number of keys; the third is silent."""
    rng = np.random.default_rng(seed)
    roll = rng.random((steps, KEYS)) < rng.random((steps, 1)) * 0.15
    roll[2:3] = False
    return roll


def draw_rolls(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[Roll]:
    """Pieces of so many steps."""
    return [draw_roll(length, seed + number) for number, length in enumerate(lengths)]


def batch(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Windows of pieces, each after a step that is not silent: keys ``(T + 1, B, K)`` and lengths ``(B,)``."""
    before = draw_roll(len(lengths) + 9, seed + 50)[5:]
    keys, counts = framed(list(zip(before, draw_rolls(lengths, seed), strict=False)))
    return torch.from_numpy(keys), torch.from_numpy(counts)


def chorale(seed: int, steps: int = 24) -> Roll:
    """Chords over a bass that walks up a scale and down again, in one of four keys: much to learn, soon."""
    rng = np.random.default_rng(seed)
    tonic, place = int(rng.integers(4)), int(rng.integers(7))
    scale = [0, 2, 4, 5, 7, 9, 11]
    roll = np.zeros((steps, KEYS), bool)
    for t in range(steps):
        degree = (place + t) % 14
        degree = degree if degree < 7 else 13 - degree
        for third, octave in ((0, 0), (2, 1), (4, 1), (7, 2)):
            step = degree + third
            roll[t, 20 + tonic + scale[step % 7] + 12 * (step // 7) + 12 * octave] = True
    return roll
