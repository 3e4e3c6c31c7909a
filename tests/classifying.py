"""Small classifiers with weights unlike any start, and texts of ragged lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from modelling import PLAIN, randomise, small

from ostinato.architectures.classifier import ClassifierConfig
from ostinato.config import Regularisers
from ostinato.models.classifier import TextClassifier

BOUNDARY = 10
LENGTHS = (9, 1, 5, 9, 2)
"""Of the texts, without the boundaries around them."""
READERS: dict[str, dict[str, Any]] = {
    "encoder": {"reader": "encoder"},
    "stack": {"reader": "language_model"},
    "stacks": {"reader": "language_model", "bidirectional": True},
}


def config(
    pooling: str = "max,mean", reader: str = "encoder", labels: tuple[str, ...] = ("a", "b", "c"), **layers: Any
) -> ClassifierConfig:
    """An odd-sized two-layer LSTM, with changes."""
    return ClassifierConfig(small(**layers), labels, tuple(pooling.split(",")), reader)


def classifier(shape: ClassifierConfig, regularisers: Regularisers = PLAIN, seed: int = 0) -> Any:
    """A TextClassifier with every weight drawn anew; in training mode."""
    return randomise(TextClassifier(shape, regularisers), seed)


def texts(lengths: tuple[int, ...] = LENGTHS, seed: int = 4) -> list[np.ndarray]:
    """Ids of texts without their boundaries."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, BOUNDARY, length) for length in lengths]


def batch(rows: list[np.ndarray], padding: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts between their boundaries as ``ids (T, B)`` and ``lengths (B,)``."""
    lengths = [len(row) + 2 for row in rows]
    ids = np.full((max(lengths), len(rows)), padding, np.int64)
    for b, row in enumerate(rows):
        ids[: lengths[b], b] = [BOUNDARY, *row, BOUNDARY]
    return torch.from_numpy(ids), torch.tensor(lengths)
