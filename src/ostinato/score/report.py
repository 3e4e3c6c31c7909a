"""What a score is: counts, nats, and the units made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ostinato.errors import ConfigError

LN2 = math.log(2)


@dataclass(frozen=True)
class TokenScore:
    """One scored token."""

    text: str
    """The part of the text it stands for (at byte level, the character the byte is part of)."""
    start: int
    """Where that begins in the text, in characters."""
    end: int
    """Where it ends."""
    id: int
    """Of the token in the vocabulary."""
    surprisal_bits: float
    """``-log2 p``."""
    rank: int
    """1 for the token the model held likeliest."""
    entropy_bits: float
    """Of the model's distribution at this place: the surprisal it expected."""


@dataclass(frozen=True)
class Policy:
    """What was decided about a score, and so belongs beside its figures."""

    state: Literal["carry", "reset"] = "carry"
    """``carry``: the text is one stream; ``reset``: every line begins anew, after a line end."""
    unk: Literal["count", "skip"] = "count"
    """``<unk>`` is scored like any token, or read and left out of every figure."""
    line_end: bool = True
    """Line ends are scored; else read and left out."""
    pseudo: bool = False
    """Each token was scored from both sides: figures compare with other pseudo-scores only."""

    def __post_init__(self) -> None:
        for name, value, choices in (("state", self.state, ("carry", "reset")), ("unk", self.unk, ("count", "skip"))):
            if value not in choices:
                raise ConfigError(f"{name} is {value!r}; expected {' or '.join(choices)}")


@dataclass(frozen=True)
class Scored:
    """The score of a text: nats, what they are divided by, and how it was taken. Scores of parts add up."""

    nats: float
    """Sum of ``-log p`` over the scored tokens."""
    tokens: int
    """Scored tokens."""
    chars: int
    """Characters of the text that the scored tokens stand for, blanks between them included."""
    bytes: int
    """The same in UTF-8."""
    words: int
    """Words, as parted by blanks, plus scored line ends: on text in the Penn Treebank's way the tokens of the field."""
    oov: int
    """Tokens that are not in the vocabulary, scored or not."""
    policy: Policy = field(default_factory=Policy)
    token_scores: tuple[TokenScore, ...] = ()
    """Each token, where that was asked for."""

    @property
    def bits(self) -> float:
        """``nats`` in bits."""
        return self.nats / LN2

    @property
    def perplexity(self) -> float:
        """Per token: ``exp(nats / tokens)``. A *pseudo*-perplexity when ``policy.pseudo``. NaN of an empty text."""
        return _exp_ratio(self.nats, self.tokens)

    @property
    def word_perplexity(self) -> float:
        """``exp(nats / words)``: compares models of every level."""
        return _exp_ratio(self.nats, self.words)

    @property
    def bits_per_char(self) -> float:
        """Bits per character."""
        return _ratio(self.bits, self.chars)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of UTF-8: compares models of every level and texts of every script."""
        return _ratio(self.bits, self.bytes)

    @property
    def name(self) -> str:
        """What ``perplexity`` must be called."""
        return "pseudo-perplexity" if self.policy.pseudo else "perplexity"

    def __add__(self, other: Scored) -> Scored:
        """The score of both texts. Raises ConfigError when they were taken in different ways."""
        return Scored.total((self, other), self.policy)

    @staticmethod
    def total(parts: Iterable[Scored], policy: Policy) -> Scored:
        """The sum of many scores; of none, a score of nothing. Raises ConfigError on one taken in another way."""
        sums: dict[str, Any] = {**dict.fromkeys(_COUNTS, 0), "nats": 0.0}
        tokens: list[TokenScore] = []
        for part in parts:
            if part.policy != policy:
                raise ConfigError(f"scores taken in different ways do not add up: {policy} and {part.policy}")
            for name in _COUNTS:
                sums[name] += getattr(part, name)
            tokens += part.token_scores
        return Scored(**sums, policy=policy, token_scores=tuple(tokens))

    def to_json(self) -> dict[str, Any]:
        """All counts, units and policies as plain JSON values; null where there was nothing to divide by."""
        units = {
            self.name.replace("-", "_"): self.perplexity,
            "word_perplexity": self.word_perplexity,
            "bits_per_char": self.bits_per_char,
            "bits_per_byte": self.bits_per_byte,
        }
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            **{name: value if math.isfinite(value) else None for name, value in units.items()},
            "state": self.policy.state,
            "unk": self.policy.unk,
            "line_end": self.policy.line_end,
            "pseudo": self.policy.pseudo,
        }


_COUNTS = ("nats", "tokens", "chars", "bytes", "words", "oov")


def _ratio(numerator: float, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan


def _exp_ratio(nats: float, count: int) -> float:
    try:
        return math.exp(_ratio(nats, count))
    except OverflowError:
        return math.inf
