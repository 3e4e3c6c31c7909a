"""Writing on: a generator of tokens and of the text that can be shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ostinato.decode.sampling import RECENT, check_sampling, log_softmax, look_back, make_sampler
from ostinato.errors import ConfigError
from ostinato.types import Decoder, Floats, Sampling, State, StepModel, Tokenizer, WritingModel

FIRST_CHUNK, CHUNK = 4, 32
"""Tokens that a model writes in one call, where it can: few at first, so that something can be shown soon."""


@dataclass(frozen=True)
class Generated:
    """One token as it is made."""

    id: int
    logprob: float
    """Nats, under the model's own distribution: temperature 1, nothing filtered or banned."""
    text: str
    """What can be shown now: whole characters, never a part of a stop string; often empty, sometimes longer."""
    state_after: Callable[[], State] = field(repr=False)

    @property
    def state(self) -> State:
        """Of the model, this token read."""
        return self.state_after()


class StopFilter:
    """Lets text through up to the first of some stop strings, and holds back what might be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises ConfigError on an empty stop string."""
        if any(not stop for stop in stops):
            raise ConfigError("a stop string is empty; expected at least one character")
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What can be shown now that ``text`` has come; sets ``stopped`` once a stop string is complete."""
        text = self._held + text
        found = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        shown, self._held = text[: len(text) - keep], text[len(text) - keep :]
        return shown

    def finish(self) -> str:
        """What was held back: no stop string came of it."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with, ``stop`` itself left out."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((n for n in lengths if text.endswith(stop[:n])), 0)


def stream_rng(seed: int | None, index: int = 0) -> np.random.Generator:
    """The random numbers of sample ``index``: they depend on the seed and the index, not on how many samples there
    are; without a seed they are others every time. Raises ConfigError on a negative seed."""
    if seed is None:
        return np.random.default_rng()
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected 0 or more")
    return np.random.default_rng([seed, index])


def generate(
    model: StepModel,
    tokenizer: Tokenizer,
    state: State,
    *,
    how: Sampling,
    rng: np.random.Generator,
    tokens: int,
    stop: Sequence[str] = (),
    banned: Sequence[int] = (),
    banned_first: Sequence[int] = (),
    decoder: Decoder | None = None,
    recent: Sequence[int] = (),
) -> Iterator[Generated]:
    """Go on from ``state`` (one stream) for up to ``tokens`` tokens or until a stop string.

    ``banned`` tokens are never drawn, ``banned_first`` not as the first token. ``decoder`` has seen the text before,
    where spacing depends on it; None begins a text. ``recent`` was written before and counts for the controls of
    repetition, which spare the line end: without it no line could be short. Raises ConfigError on an empty stop string
    or a setting out of range, when the first token is asked for.
    """
    decoder = decoder or tokenizer.decoder()
    stops = StopFilter(stop)
    how, first, later = check_sampling(how), [*banned, *banned_first], list(banned)
    if isinstance(model, WritingModel) and not how.looks_back:
        made = _in_chunks(model, state, how, rng, tokens, first, later)
    else:
        before = _Before(how, tokenizer.boundary_id, deque(recent, RECENT))
        made = _one_by_one(model, state, before, rng, tokens, first, later)
    for count, (token, logprob, state_after) in enumerate(made, start=1):
        text = stops.push(decoder.push(token))
        if count == tokens and not stops.stopped:
            text += stops.push(decoder.finish())
            text += stops.finish()
        yield Generated(token, logprob, text, state_after)
        if stops.stopped:
            return


_Token = tuple[int, float, Callable[[], State]]


def _in_chunks(
    model: WritingModel,
    state: State,
    how: Sampling,
    rng: np.random.Generator,
    tokens: int,
    first: list[int],
    later: list[int],
) -> Iterator[_Token]:
    made = 0
    while made < tokens:
        size = 1 if made == 0 and first != later else FIRST_CHUNK if made < FIRST_CHUNK else CHUNK
        uniforms = rng.random((min(size, tokens - made), 1))
        written = model.write(state, uniforms, how, first if made == 0 else later)
        for i in range(len(uniforms)):
            yield int(written.ids[i, 0]), float(written.logprobs[i, 0]), partial(written.state_after, i)
        made += len(uniforms)
        state = written.state_after(len(uniforms) - 1)


@dataclass(frozen=True)
class _Before:
    """How a token is drawn in the light of those before it."""

    how: Sampling
    boundary: int
    recent: deque[int]

    def scores(self, logits: Floats) -> Floats:
        if not self.how.looks_back:
            return logits
        return look_back(logits, self.recent, self.how, spared=[self.boundary])


def _one_by_one(
    model: StepModel,
    state: State,
    before: _Before,
    rng: np.random.Generator,
    tokens: int,
    first: list[int],
    later: list[int],
) -> Iterator[_Token]:
    sampler, logits = make_sampler(before.how), model.logits(state)
    for made in range(tokens):
        allowed = before.scores(_without(logits, later if made else first))
        token = int(sampler(allowed, rng.random(1))[0])
        before.recent.append(token)
        logprob = float(log_softmax(logits)[0, token])
        logits, state = model.step(np.array([token], np.int64), state)
        yield token, logprob, partial(_same, state)


def _same(state: State) -> State:
    return state


def _without(logits: Floats, banned: Sequence[int]) -> Floats:
    if not banned:
        return logits
    logits = logits.copy()
    logits[:, list(banned)] = -np.inf
    return logits
