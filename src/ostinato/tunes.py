"""Tunes in ABC from a language model, bar by bar: what breaks the metre, the repeats or a tie is drawn again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ostinato.config import check_range
from ostinato.decode.generate import Generated
from ostinato.errors import ConfigError
from ostinato.language_model import LanguageModel, Writing
from ostinato.text.abc import Tune, bar_lines
from ostinato.text.metre import faults
from ostinato.types import State

BLANK = "\n"
"""A text begins after a line end; with this there is a blank line before it, as before every tune."""
MOST_TOKENS = 4000
"""Tokens of a tune that does not end."""
REDRAW = 8
"""How often a bar is drawn again, at most."""
BAR_SIGNS = re.compile(r"[|:]")
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
    """The tune to the first sign after its next bar line, or to its end."""

    text: str
    state: State
    tokens: int
    ended: bool


def compose(
    lm: LanguageModel, header: str, *, tokens: int = MOST_TOKENS, redraw: int = REDRAW, options: Writing | None = None
) -> Composed:
    """Go on from ``header`` (lines ``X:`` to ``K:``, or nothing) to the end of the tune, or for ``tokens`` tokens.

    A bar after which ``faults`` has more to say is drawn again from the state before it, up to ``redraw`` times; if
    none of them will do, the last one stands. So the model decides among what a player can read. Where nothing is drawn
    (temperature 0) there is nothing to draw again. ``options`` are those of ``LanguageModel.stream``; a stop string
    ends the tune before it. Raises ConfigError on a setting out of range.
    """
    check_range("tokens", tokens, 1, 1 << 30)
    check_range("redraw", redraw, 0, 1000)
    options = {**(options or {})}
    stops = ["\n\n", *options.pop("stop", ())]
    if not all(stops):
        raise ConfigError("a stop string is empty; expected at least one character")
    first, state = options.pop("index", 0) * _DRAWS, options.pop("state", None)
    if options.get("temperature") == 0 or options.get("top_k") == 1:
        redraw = 0
    text, prompt, ended, drawn, bars = header, BLANK + header, False, 0, 0
    while tokens and not ended:
        known = len(faults(Tune(text), whole=False))
        for _ in range(redraw + 1):
            how: Writing = {**options, "index": first + drawn, "state": state}
            bar = _bar(lm.stream_tokens(prompt, tokens, **how), text, len(header), stops)
            drawn += 1
            if len(faults(Tune(bar.text), whole=bar.ended)) <= known:
                break
        text, state, ended, prompt = bar.text, bar.state, bar.ended, ""
        tokens -= bar.tokens
        bars += 1
    return Composed(text, ended, drawn - bars)


def _bar(made: Iterator[Generated], text: str, start: int, stops: Sequence[str]) -> _Bar:
    """Read on after ``text``. The tune ends before a stop string that begins at ``start`` or after it."""
    before, count = len(text), 0
    for token in made:
        text, count, state = text + token.text, count + 1, token.state_after
        found = [place for place in (text.find(stop, start) for stop in stops) if place >= 0]
        if found:
            return _Bar(text[: min(found)], state(), count, ended=True)
        closed = BAR_SIGNS.search(text, before) and bar_lines(Tune(text))
        if closed and before < closed[-1] < len(text):
            break
    return _Bar(text, state(), count, ended=False)
