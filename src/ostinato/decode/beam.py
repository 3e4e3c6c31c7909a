"""Beam search: the most probable continuations of a state, for any model that is state -> score -> state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError
from ostinato.types import Floats, State, StepModel


@dataclass(frozen=True)
class Hypothesis:
    """A continuation."""

    ids: tuple[int, ...]
    """Without the token that ends it."""
    logprob: float
    """Nats under the model, of all tokens and the end."""
    score: float
    """What hypotheses are ranked by: ``logprob / tokens^length_penalty``, the end counted."""
    finished: bool
    """Whether the model ended it; else the limit did."""


@dataclass
class _Search:
    """One stream's search."""

    most: int
    done: list[Hypothesis] = field(default_factory=list)


def beam_search(
    model: StepModel,
    state: State,
    *,
    end: int,
    width: int = 5,
    most: int | Sequence[int] = 200,
    length_penalty: float = 1.0,
    least: int = 0,
    banned: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """For each stream of ``state`` up to ``width`` hypotheses, the best first.

    Each search keeps the ``width`` most probable unfinished hypotheses; one is finished by the token ``end``. It stops
    when ``width`` are finished and no unfinished one has a better score as it stands, or after ``most`` tokens (one
    number, or one for each stream); then what is unfinished counts too. Scores are divided by a power of the length
    (Wu et al. 2016 have another): without, short hypotheses win. None is finished before ``least`` tokens, and
    ``banned`` ones are never written. With ``width`` 1 this is greedy search. Raises ConfigError on a setting out of
    range.
    """
    limits = [most] * state.batch if isinstance(most, int) else list(most)
    if width < 1 or min(limits, default=1) < 1 or len(limits) != state.batch or not np.isfinite(length_penalty):
        raise ConfigError(f"beam width is {width}, length_penalty {length_penalty}; expected 1 or more, and a number")
    searches = [_Search(limit) for limit in limits]
    alive = np.arange(state.batch)  # the search of each group of streams
    logprobs = np.zeros((state.batch, 1))
    ids = np.zeros((state.batch, 1, 0), np.int64)
    logits = model.logits(state)
    while len(alive):
        never = [*banned, end] if ids.shape[2] < least else banned
        tokens, parents, values = _best(logits, logprobs, min(width + 1, logits.shape[1]), never)
        length = ids.shape[2] + 1
        rows, chosen, kept = [], [], []
        for group, search in enumerate(searches[number] for number in alive):
            going = _extend(
                search, ids[group], tokens[group], parents[group], values[group], end, length_penalty, width
            )
            if not _over(search, values[group][going], length, length_penalty, width):
                rows.append(group * ids.shape[1] + parents[group][going])
                chosen.append(going)
                kept.append(group)
        if not kept:
            break
        pick = np.array(chosen)
        of = np.array(kept)[:, None]
        logprobs, latest = values[of, pick], tokens[of, pick]
        ids = np.concatenate([ids[of, parents[of, pick]], latest[:, :, None]], axis=2)
        alive = alive[np.array(kept)]
        logits, state = model.step(latest.ravel(), state.rows(np.concatenate(rows)))
    return [sorted(search.done, key=lambda one: -one.score)[:width] for search in searches]


def _best(
    logits: Floats, logprobs: NDArray[np.float64], each: int, banned: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Of every group of streams the candidates ``(groups, streams * each)``, best first: token, stream, nats.

    ``each`` candidates of a stream are enough: that many are not all ``end``.
    """
    logits = logits.astype(np.float32)
    top = logits.max(axis=1, keepdims=True)
    normaliser = top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    logits[:, list(banned)] = -np.inf
    picked = np.argpartition(-logits, each - 1, axis=1)[:, :each]
    groups, streams = logprobs.shape
    values = np.take_along_axis(logits, picked, axis=1).astype(np.float64) - normaliser + logprobs.reshape(-1, 1)
    values = values.reshape(groups, streams * each)
    order = np.argsort(-values, axis=1, kind="stable")
    tokens = np.take_along_axis(picked.reshape(groups, -1), order, axis=1)
    return tokens, order // each, np.take_along_axis(values, order, axis=1)


def _extend(
    search: _Search,
    ids: NDArray[np.int64],
    tokens: NDArray[np.int64],
    parents: NDArray[np.int64],
    values: NDArray[np.float64],
    end: int,
    length_penalty: float,
    width: int,
) -> NDArray[np.intp]:
    """Note the candidates that are finished; give the places of the ``width`` best that go on.

    Only an end among the ``width`` best candidates finishes anything: what is less probable was not kept either.
    """
    length = ids.shape[1] + 1
    ended, going = np.flatnonzero(tokens == end), np.flatnonzero(tokens != end)[:width]
    for place in ended[(ended < width) & np.isfinite(values[ended])]:
        written = tuple(map(int, ids[parents[place]]))
        search.done.append(
            Hypothesis(written, float(values[place]), float(values[place]) / length**length_penalty, True)
        )
    if length >= search.most and len(search.done) < width:
        for place in going[np.isfinite(values[going])]:
            written = (*map(int, ids[parents[place]]), int(tokens[place]))
            score = float(values[place]) / length**length_penalty
            search.done.append(Hypothesis(written, float(values[place]), score, False))
    if len(going) == width:
        return going
    # A small vocabulary, at the beginning: streams of no probability keep the places, to be left by the next step.
    values[ended[-1]] = -np.inf
    return np.concatenate([going, np.full(width - len(going), ended[-1])])


def _over(search: _Search, going: NDArray[np.float64], length: int, length_penalty: float, width: int) -> bool:
    """Whether nothing that goes on is better, as it stands, than what is finished."""
    if length >= search.most:
        return True
    if len(search.done) < width:
        return False
    finished = sorted((one.score for one in search.done), reverse=True)[width - 1]
    return bool(going[0] / length**length_penalty <= finished)
