"""Tunes in ABC from a language model, bar by bar: what breaks the metre or the repeats is drawn again."""

from __future__ import annotations

from dataclasses import dataclass

from ostinato.errors import ConfigError
from ostinato.language_model import LanguageModel, Writing
from ostinato.text.abc import Tune, bar_lines
from ostinato.text.metre import faults
from ostinato.types import State

BLANK = "\n"
"""A text begins after a line end; with this there is a blank line before it, as before every tune."""
MOST = 4000
"""Tokens of a tune that does not end."""
REDRAW = 8
"""How often a bar is drawn again, at most."""
_DRAWS = 1 << 20
"""More than a tune has: each draw has random numbers of its own, and so has each tune."""


@dataclass(frozen=True)
class Composed:
    """A tune, its header first."""

    text: str
    ended: bool
    """Whether the model ended it; otherwise it was cut."""
    redrawn: int
    """Bars that were drawn again, all times counted."""


@dataclass(frozen=True)
class _Bar:
    """What the model wrote on, to the first sign after a bar line or to the end of the tune."""

    text: str
    state: State
    tokens: int
    ended: bool


def compose(
    lm: LanguageModel, header: str, *, tokens: int = MOST, redraw: int = REDRAW, options: Writing | None = None
) -> Composed:
    """Go on from ``header`` (lines ``X:`` to ``K:``, or nothing) to the end of the tune, or for ``tokens`` tokens.

    A bar after which ``faults`` has more to say is drawn again from the state before it, up to ``redraw`` times; if
    none of them will do, the last one stands. So the model decides among what a player can read. ``options`` are those
    of ``LanguageModel.stream``. Raises ConfigError on a setting out of range.
    """
    if redraw < 0 or tokens < 1:
        raise ConfigError(f"redraw is {redraw}, tokens {tokens}; expected 0 or more, and 1 or more")
    options = {**(options or {})}
    first = options.pop("index", 0) * _DRAWS
    text, state, ended, drawn, bars = header, options.pop("state", None), False, 0, 0
    prompt = BLANK + header
    while tokens and not ended:
        known = len(faults(Tune(text), whole=False))
        for _ in range(redraw + 1):
            how: Writing = {**options, "index": first + drawn, "state": state, "stop": ["\n\n"]}
            bar = _bar(lm, prompt, text, tokens, how)
            drawn += 1
            if len(faults(Tune(text + bar.text), whole=bar.ended)) <= known:
                break
        text, state, ended, prompt = text + bar.text, bar.state, bar.ended, ""
        tokens -= bar.tokens
        bars += 1
    return Composed(text, ended, drawn - bars)


def _bar(lm: LanguageModel, prompt: str, before: str, tokens: int, how: Writing) -> _Bar:
    text, count = "", 0
    for token in lm.stream_tokens(prompt, tokens, **how):
        text, count, state = text + token.text, count + 1, token.state_after
        if any(len(before) < end < len(before + text) for end in bar_lines(Tune(before + text))):
            return _Bar(text, state(), count, ended=False)
    return _Bar(text, state(), count, ended=count < tokens)
