"""Scoring a text: how surprised a model is by it, token by token, in a stream of flat memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ostinato.score.report import LN2, Policy, Scored, TokenScore
from ostinato.types import Floats, GapModel, Ids, RecurrentModel, Tokenizer

PIECE = 1 << 16
"""Characters that are held at once. A bidirectional model scores a longer text in stretches of this size, cut at line
ends, each as a text of its own."""
LANES = 32
"""Lines that are scored side by side when each begins anew."""
SCORES = 1 << 22
"""Scores of the vocabulary that are held at once."""

StatePolicy = Literal["carry", "reset"]
UnkPolicy = Literal["count", "skip"]

_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Measures:
    """Of each token ``(T,)``: nats, rank, and entropy in nats; the last two only where they were asked for."""

    nats: NDArray[np.float64]
    rank: NDArray[np.int64]
    entropy: NDArray[np.float64]

    def __getitem__(self, index: Any) -> Measures:
        return Measures(self.nats[index], self.rank[index], self.entropy[index])

    @staticmethod
    def join(parts: list[Measures]) -> Measures:
        """One after another, along the first axis."""
        return Measures(*(np.concatenate([getattr(part, name) for part in parts]) for name in _MEASURES))

    @staticmethod
    def empty(*shape: int) -> Measures:
        """Of no token yet."""
        return Measures(np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape))


_MEASURES = ("nats", "rank", "entropy")
Reader = Callable[[Ids], Measures]
"""Measures the next tokens ``(T,)`` of a text."""


def score_text(
    model: RecurrentModel | GapModel,
    tokenizer: Tokenizer,
    text: str | Iterable[str],
    *,
    state: StatePolicy = "carry",
    unk: UnkPolicy = "count",
    line_end: bool = True,
    tokens: bool = False,
) -> Scored:
    """The score of a text, given whole or in chunks; the policies are those of ``Policy``.

    With ``tokens`` each token's score is in it, and memory then grows with the text. A bidirectional model gives a
    pseudo-score. Raises ConfigError on an unknown policy, TextError on a lone surrogate.
    """
    clerk = _Clerk(tokenizer, Policy(state, unk, line_end, isinstance(model, GapModel)), tokens)
    return Scored.total((part for part, _ in clerk.parts(model, text, by_line=False)), clerk.policy)


def score_lines(
    model: RecurrentModel | GapModel,
    tokenizer: Tokenizer,
    text: str | Iterable[str],
    *,
    state: StatePolicy = "carry",
    unk: UnkPolicy = "count",
    line_end: bool = True,
    tokens: bool = False,
) -> Iterator[Scored]:
    """As ``score_text``, but line after line; they add up to the score of the text. Places count from its beginning."""
    clerk = _Clerk(tokenizer, Policy(state, unk, line_end, isinstance(model, GapModel)), tokens)
    begun: list[Scored] = []
    for part, ends in clerk.parts(model, text, by_line=True):
        begun.append(part)
        if ends:
            yield Scored.total(begun, clerk.policy)
            begun = []
    if begun:
        yield Scored.total(begun, clerk.policy)


@dataclass(frozen=True)
class _Clerk:
    """Counts what was read: from a model's measures to scores."""

    tokenizer: Tokenizer
    policy: Policy
    detail: bool

    def parts(
        self, model: RecurrentModel | GapModel, text: str | Iterable[str], *, by_line: bool
    ) -> Iterator[tuple[Scored, bool]]:
        """Scores that add up to the text's, and of each whether it ends a line; with ``by_line`` none spans two."""
        read = _reader(model, self.tokenizer.boundary_id, self.policy.state, self.detail)
        offset = 0
        for piece in pieces(self.tokenizer, text, whole_lines=self.policy.state == "reset"):
            ids, spans = self.tokenizer.encode_with_spans(piece)
            measures = read(ids)
            cuts = self._lines(ids, spans, len(piece)) if by_line else [(0, len(ids), 0, len(piece))]
            for first, last, begin, end in cuts:
                here = slice(first, last)
                part = self._account(piece[begin:end], ids[here], spans[here] - begin, measures[here], offset + begin)
                yield part, piece[end - 1] == "\n"
            offset += len(piece)

    def _lines(self, ids: Ids, spans: Ids, length: int) -> Iterator[tuple[int, int, int, int]]:
        """First and last token, first and last character of every line."""
        first = begin = 0
        for last in (np.flatnonzero(ids == self.tokenizer.boundary_id) + 1).tolist():
            end = int(spans[last - 1, 1])
            yield first, last, begin, end
            first, begin = last, end
        if begin < length:
            yield first, len(ids), begin, length

    def _account(self, text: str, ids: Ids, spans: Ids, measures: Measures, offset: int) -> Scored:
        """The score of a stretch of text; ``spans`` are places in it, ``offset`` its own place in the whole."""
        unknown = ids == (-1 if self.tokenizer.unk_id is None else self.tokenizer.unk_id)
        line_ends = ids == self.tokenizer.boundary_id
        left_out = np.zeros(len(ids), bool)
        if self.policy.unk == "skip":
            left_out |= unknown
        if not self.policy.line_end:
            left_out |= line_ends
        gaps = [(begin, end) for begin, end in spans[left_out].tolist()]
        skipped = "".join(text[begin:end] for begin, end in gaps)
        return Scored(
            nats=float(measures.nats[~left_out].sum()),
            tokens=int((~left_out).sum()),
            chars=len(text) - len(skipped),
            bytes=len(text.encode()) - len(skipped.encode()),
            words=_count_words(text, gaps) + int((line_ends & ~left_out).sum()),
            oov=int(unknown.sum()),
            policy=self.policy,
            token_scores=self._tokens(text, ids, spans, measures, offset, left_out) if self.detail else (),
        )

    def _tokens(
        self, text: str, ids: Ids, spans: Ids, measures: Measures, offset: int, left_out: NDArray[np.bool_]
    ) -> tuple[TokenScore, ...]:
        kept = np.flatnonzero(~left_out)
        columns = (spans[kept, 0], spans[kept, 1], ids[kept], measures.nats[kept], measures.rank[kept])
        rows = zip(*(column.tolist() for column in (*columns, measures.entropy[kept])), strict=True)
        return tuple(
            TokenScore(text[begin:end], offset + begin, offset + end, token, nats / LN2, rank, entropy / LN2)
            for begin, end, token, nats, rank, entropy in rows
        )


def _count_words(text: str, gaps: list[tuple[int, int]]) -> int:
    """Words that no gap covers whole."""
    if not gaps:
        return len(text.split())
    scored = np.ones(len(text), bool)
    for begin, end in gaps:
        scored[begin:end] = False
    return sum(bool(scored[word.start() : word.end()].any()) for word in _WORD.finditer(text))


def pieces(tokenizer: Tokenizer, text: str | Iterable[str], *, whole_lines: bool) -> Iterator[str]:
    """The text in pieces of about PIECE characters that encode as the whole does, however it was cut before.

    They end at line ends where there are any, else at blanks; a word longer than a piece is cut. With ``whole_lines``
    they always end at line ends, and a line is then held whole.
    """
    rest = ""
    for chunk in [text] if isinstance(text, str) else text:
        for begin in range(0, len(chunk), PIECE):
            rest += chunk[begin : begin + PIECE]
            while len(rest) > PIECE and (cut := _cut(tokenizer, rest, whole_lines)):
                yield rest[:cut]
                rest = rest[cut:]
    if rest:
        yield rest


def _cut(tokenizer: Tokenizer, text: str, whole_lines: bool) -> int:
    """Where to cut a text longer than PIECE; 0 for not yet."""
    line = text.rfind("\n", 0, PIECE) + 1
    if line or whole_lines:
        return line or text.find("\n", PIECE) + 1
    head = text[: text.rfind(" ", 0, PIECE)] if " " in text[1:PIECE] else text[:PIECE]
    return len(tokenizer.settle(head)[0]) or len(head)


# Reading


def _reader(model: RecurrentModel | GapModel, boundary: int, state: StatePolicy, detail: bool) -> Reader:
    if isinstance(model, GapModel):
        return _by_line(boundary, _between(model, detail)) if state == "reset" else _between(model, detail)
    if state == "reset":
        return _side_by_side(model, boundary, detail)
    stream = _Stream(model, 1, detail)
    return lambda ids: stream.read(ids[:, None])[:, 0]


class _Stream:
    """Reads several streams at once and goes on where it stopped."""

    def __init__(self, model: RecurrentModel, lanes: int, detail: bool) -> None:
        self._model, self._detail = model, detail
        self._state = model.start(lanes)
        self._next = model.logits(self._state)

    def read(self, ids: Ids) -> Measures:
        """Measures of ``ids (T, B)``, each array ``(T, B)``."""
        T, B = ids.shape
        parts = [Measures.empty(0, B)]
        steps = max(1, SCORES // (B * self._model.vocab_size))
        for t in range(0, T, steps):
            part = ids[t : t + steps]
            logits, self._state = self._model.run(part, self._state)
            parts.append(measure(self._next[None], part[:1], self._detail))
            parts.append(measure(logits[:-1], part[1:], self._detail))
            self._next = logits[-1]
        return Measures.join(parts)


def _side_by_side(model: RecurrentModel, boundary: int, detail: bool) -> Reader:
    """Every line begins anew, so lines of like length are read as one batch."""

    def read(ids: Ids) -> Measures:
        result = Measures.empty(len(ids))
        starts, lengths = _line_starts(ids, boundary)
        order = np.argsort(lengths, kind="stable")
        for first in range(0, len(order), LANES):
            group = order[first : first + LANES]
            t = np.arange(lengths[group].max())[:, None]
            live = t < lengths[group]
            places = np.where(live, starts[group] + t, 0)
            measures = _Stream(model, len(group), detail).read(np.where(live, ids[places], boundary))
            for name in _MEASURES:
                getattr(result, name)[places[live]] = getattr(measures, name)[live]
        return result

    return read


def _by_line(boundary: int, read: Reader) -> Reader:
    def read_lines(ids: Ids) -> Measures:
        starts, _ = _line_starts(ids, boundary)
        return Measures.join([Measures.empty(0), *(read(line) for line in np.split(ids, starts[1:]))])

    return read_lines


def _between(model: GapModel, detail: bool) -> Reader:
    """Every token from both sides."""

    def read(ids: Ids) -> Measures:
        parts, done = [Measures.empty(0)], 0
        for logits in model.gap_blocks(ids):
            parts.append(measure(logits, ids[done : done + len(logits)], detail))
            done += len(logits)
        return Measures.join(parts)

    return read


def _line_starts(ids: Ids, boundary: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each line starts and how long it is, its end included."""
    ends = np.flatnonzero(ids == boundary) + 1
    starts = np.concatenate([[0], ends])
    starts = starts[starts < len(ids)]
    return starts, np.diff(starts, append=len(ids))


def measure(logits: Floats, ids: Ids, detail: bool) -> Measures:
    """Measures of ``ids (...)`` under ``logits (..., V)``, before the softmax."""
    target = np.take_along_axis(logits, ids[..., None], axis=-1)
    result = Measures.empty(*ids.shape)
    if ids.size == 0:
        return result
    if detail:
        result.rank[...] = 1 + (logits > target).sum(axis=-1)
    top = logits.max(axis=-1, keepdims=True)
    shifted = logits - top
    weights = np.exp(shifted, out=None if detail else shifted)
    mass = weights.sum(axis=-1, dtype=np.float64)
    result.nats[...] = np.log(mass) - (target - top)[..., 0]
    if detail:
        result.entropy[...] = np.log(mass) - (weights * shifted).sum(axis=-1, dtype=np.float64) / mass
    return result
