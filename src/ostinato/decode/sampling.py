"""Choosing the next token: pure functions of the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ostinato.errors import ConfigError
from ostinato.types import Floats, Ids, Sampling

Probs = NDArray[np.float64]
Sampler = Callable[[Floats, NDArray[np.float64]], Ids]
"""``sampler(logits (B, V), uniforms (B,)) -> ids (B,)``: the same numbers in give the same tokens out."""
RECENT = 128
"""Tokens that the controls of repetition look back on. Bounded because writing never ends: over a whole book every
common word has been written, and a control over all of them would act on the language instead of on a loop."""


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


def penalise(logits: Floats, recent: Sequence[int], penalty: float) -> Floats:
    """Scores ``(B, V)`` in which the tokens of ``recent`` are less likely; a ``penalty`` of 1 changes nothing.

    The penalised sampling of Keskar et al. (2019, CTRL): the score of a token written before is divided by the
    penalty. A softmax says nothing about where scores are zero, but that division depends on it, and lifts a token
    whose score is negative. So scores are counted from the uniform distribution here, ``log(p V)``, and one below zero
    is multiplied: whatever constant a model adds to its logits, the token becomes less likely. Dividing ``log p`` would
    not do: it hardly moves a token that is all but certain, which is what a loop is made of.
    """
    scores = log_softmax(logits) + np.log(logits.shape[-1])
    seen = np.unique(np.asarray(recent, np.int64))
    found = scores[:, seen]
    scores[:, seen] = np.where(found > 0, found / penalty, found * penalty)
    return cast(Floats, scores.astype(np.float32))


def repeating(recent: Sequence[int], n: int) -> Ids:
    """The tokens that would complete an n-gram of ``recent`` once more, ascending (Paulus et al. 2018)."""
    if len(recent) < n:
        return np.zeros(0, np.int64)
    ids = np.asarray(recent, np.int64)
    grams = sliding_window_view(ids, n)
    return np.unique(grams[(grams[:, :-1] == ids[len(ids) - n + 1 :]).all(axis=1), -1])


def look_back(logits: Floats, recent: Sequence[int], how: Sampling, spared: Sequence[int] = ()) -> Floats:
    """Scores ``(B, V)`` after both controls of repetition, for streams that all wrote ``recent``.

    ``spared`` tokens are left as they are. Where every token would repeat an n-gram, none is kept from it.
    """
    if how.repetition_penalty != 1:
        logits = penalise(logits, [token for token in recent if token not in spared], how.repetition_penalty)
    if how.no_repeat_ngram > 0:
        allowed = logits.copy()
        allowed[:, np.setdiff1d(repeating(recent, how.no_repeat_ngram), spared)] = -np.inf
        alive = np.isfinite(allowed).any(axis=-1, keepdims=True)
        logits = np.where(alive, allowed, logits)
    return logits


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
    _check(
        1 <= how.repetition_penalty < np.inf,
        f"repetition_penalty is {how.repetition_penalty}; expected 1 (off) or more, such as 1.2",
    )
    _check(
        0 <= how.no_repeat_ngram <= RECENT,
        f"no_repeat_ngram is {how.no_repeat_ngram}; expected 0 (off) to {RECENT} tokens",
    )
    return how


def make_sampler(how: Sampling) -> Sampler:
    """A function that draws from ``distribution`` with these settings; it does not look back (``look_back``).

    Raises ConfigError on a setting out of range.
    """
    check_sampling(how)

    def sample(logits: Floats, uniforms: NDArray[np.float64]) -> Ids:
        probs = distribution(logits, temperature=how.temperature, top_k=how.top_k, top_p=how.top_p, min_p=how.min_p)
        return draw(probs, uniforms)

    return sample


def _check(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise ConfigError(message)
