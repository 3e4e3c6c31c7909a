"""Choosing the next token: pure functions of the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError
from ostinato.types import Floats, Ids, Sampling

Probs = NDArray[np.float64]
Sampler = Callable[[Floats, NDArray[np.float64]], Ids]
"""``sampler(logits (B, V), uniforms (B,)) -> ids (B,)``: the same numbers in give the same tokens out."""


def log_softmax(logits: NDArray[Any]) -> Probs:
    """Log-probabilities in nats over the last axis, in float64: the model's own distribution."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return cast(Probs, shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def distribution(
    logits: Floats, *, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0, min_p: float = 0.0
) -> Probs:
    """The probabilities ``(B, V)`` that a sampler draws from.

    In this order: divide by ``temperature``; keep the ``top_k`` likeliest tokens (Fan et al. 2018); of these the
    smallest set that holds ``top_p`` of their mass (Holtzman et al. 2020); of these the ones at least ``min_p`` times
    as likely as the likeliest (Nguyen et al. 2024). Of equal scores the lower id comes first.
    """
    if temperature == 0:
        return cast(Probs, np.eye(logits.shape[-1])[logits.argmax(axis=-1)])
    # Shifted before the division: a tiny temperature must not overflow.
    probs = np.exp(log_softmax((logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)) / temperature))
    if top_k is not None or top_p < 1:
        probs = _keep_likeliest(probs, top_k or probs.shape[-1], top_p)
    if min_p > 0:
        probs = np.where(probs >= min_p * probs.max(axis=-1, keepdims=True), probs, 0.0)
    return cast(Probs, probs / probs.sum(axis=-1, keepdims=True))


def _keep_likeliest(probs: Probs, top_k: int, top_p: float) -> Probs:
    order = np.argsort(-probs, axis=-1, kind="stable")[:, :top_k]
    kept = np.take_along_axis(probs, order, axis=-1)
    before = np.cumsum(kept, axis=-1) - kept
    kept = np.where(before < top_p * kept.sum(axis=-1, keepdims=True), kept, 0.0)
    result = np.zeros_like(probs)
    np.put_along_axis(result, order, kept, axis=-1)
    return result


def draw(probs: Probs, uniforms: NDArray[np.float64]) -> Ids:
    """One id per row of ``probs (B, V)`` by the inverse of its distribution function; ``uniforms (B,)`` in [0, 1)."""
    below = np.cumsum(probs, axis=-1)
    # A uniform below 1 times the sum stays below it in floating point too, so no index runs past the end.
    return cast(Ids, (below <= (uniforms * below[:, -1])[:, None]).sum(axis=-1))


def check_sampling(how: Sampling) -> Sampling:
    """``how`` itself. Raises ConfigError on a setting out of range."""
    _check(
        how.temperature >= 0 and np.isfinite(how.temperature),
        f"temperature is {how.temperature}; expected 0 (greedy) or more",
    )
    _check(how.top_k is None or how.top_k >= 1, f"top_k is {how.top_k}; expected 1 or more tokens, or none to keep all")
    _check(0 < how.top_p <= 1, f"top_p is {how.top_p}; expected more than 0, up to 1 (keeps all)")
    _check(0 <= how.min_p <= 1, f"min_p is {how.min_p}; expected 0 (keeps all) to 1")
    return how


def make_sampler(how: Sampling) -> Sampler:
    """A function that draws from ``distribution`` with these settings. Raises ConfigError on one out of range."""
    settings = asdict(check_sampling(how))

    def sample(logits: Floats, uniforms: NDArray[np.float64]) -> Ids:
        return draw(distribution(logits, **settings), uniforms)

    return sample


def _check(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise ConfigError(message)
