"""Whether probabilities are honest, and what makes them so (Guo et al. 2017, On Calibration of Modern Neural Networks).

Scores are ``logits (n, C)`` before the softmax, true labels are numbers ``(n,)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]

BINS = 15
"""Of confidence, equally wide; the number in Guo et al. (2017)."""
COOLEST, HOTTEST = 0.25, 20.0
"""The range of temperatures: a small validation part that is all right, or all wrong, would ask for 0 or for ever."""


def softmax(logits: Numbers, temperature: float = 1.0) -> NDArray[np.float64]:
    """``exp(z / T)`` of each row, divided by its sum: ``(..., C)``."""
    scores = logits.astype(np.float64) / temperature
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = scores / scores.sum(axis=-1, keepdims=True)
    return shares


def nats(logits: Numbers, labels: NDArray[np.integer], temperature: float = 1.0) -> float:
    """The mean of ``-log p`` of the true labels."""
    scores = logits.astype(np.float64) / temperature
    top = scores.max(axis=-1)
    normaliser = top + np.log(np.exp(scores - top[:, None]).sum(axis=-1))
    return float((normaliser - scores[np.arange(len(labels)), labels]).mean())


def best_temperature(logits: Numbers, labels: NDArray[np.integer]) -> float:
    """The temperature, COOLEST to HOTTEST, that makes the true labels likeliest. Raises ValueError without any text.

    The nats are convex in ``1 / T``; their slope there is the mean of ``sum_c p_c z_c - z_label``, which rises with
    ``1 / T``: the place where it is zero is found by halving.
    """
    if len(labels) == 0:
        raise ValueError("there is no text to find a temperature on")
    chosen = logits[np.arange(len(labels)), labels].astype(np.float64)
    low, high = 1.0 / HOTTEST, 1.0 / COOLEST
    for _ in range(60):
        middle = 0.5 * (low + high)
        slope = ((softmax(logits, 1.0 / middle) * logits).sum(axis=-1) - chosen).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2.0 / (low + high)


@dataclass(frozen=True)
class Bin:
    """The texts whose likeliest label has a probability in a range."""

    count: int
    confidence: float
    """Their mean probability; NaN of none."""
    accuracy: float
    """The share of them that is right; NaN of none."""


def reliability(probabilities: Numbers, labels: NDArray[np.integer], bins: int = BINS) -> list[Bin]:
    """Of ``probabilities (n, C)`` by confidence, ranges ``(k / bins, (k + 1) / bins]`` in order."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = [np.bincount(places, weights=values, minlength=bins) for values in (confidence, right)]
    with np.errstate(invalid="ignore"):
        means = [values / counts for values in sums]
    return [Bin(int(n), float(c), float(a)) for n, c, a in zip(counts, *means, strict=True)]


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error: the mean over all texts of ``|accuracy - confidence|`` of their bin. NaN of none."""
    total = sum(each.count for each in bins)
    if total == 0:
        return float("nan")
    return sum(each.count * abs(each.accuracy - each.confidence) for each in bins if each.count) / total


def to_json(bins: list[Bin]) -> list[Mapping[str, float]]:
    """As plain JSON values, the empty ones left out."""
    return [asdict(each) for each in bins if each.count]
