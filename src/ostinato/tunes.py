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
RETURNS = 64
"""How often, in a tune, the bar before a bar is drawn again."""
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
class _Place:
    """The tune to the first sign after one of its bar lines, or to its end."""

    text: str
    state: State | None
    tokens: int
    """Written so far."""
    faults: int
    ended: bool


def compose(
    lm: LanguageModel, header: str, *, tokens: int = MOST_TOKENS, redraw: int = REDRAW, options: Writing | None = None
) -> Composed:
    """Go on from ``header`` (lines ``X:`` to ``K:``, or nothing) to the end of the tune, or for ``tokens`` tokens.

    A bar after which ``faults`` has more to say is drawn again from the state before it, up to ``redraw`` times; where
    none of them will do the bar before it is drawn again, too, and in the end the last one stands. So the model decides
    among what a player can read. Where nothing is drawn (temperature 0) there is nothing to draw again. ``options`` are
    those of ``LanguageModel.stream``; a stop string ends the tune before it. Raises ConfigError on a setting out of
    range.
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
    places = [_Place(header, state, 0, len(faults(Tune(header), whole=False)), ended=False)]
    drawn, returns = 0, RETURNS if redraw else 0
    while not places[-1].ended and places[-1].tokens < tokens:
        here, sound = places[-1], False
        for _ in range(redraw + 1):
            how: Writing = {**options, "index": first + drawn, "state": here.state}
            prompt = BLANK + header if here is places[0] else ""
            bar = _bar(lm.stream_tokens(prompt, tokens - here.tokens, **how), here, len(header), stops)
            drawn += 1
            sound = bar.faults <= here.faults
            if sound:
                break
        if sound or not returns or here is places[0]:
            places.append(bar)
        else:
            places.pop()
            returns -= 1
    return Composed(places[-1].text, places[-1].ended, drawn - len(places) + 1)


def _bar(made: Iterator[Generated], before: _Place, start: int, stops: Sequence[str]) -> _Place:
    """Read on from a place. The tune ends before a stop string that begins at ``start`` or after it."""
    text, count, ended = before.text, before.tokens, False
    for token in made:
        text, count, state = text + token.text, count + 1, token.state_after
        found = [place for place in (text.find(stop, start) for stop in stops) if place >= 0]
        if found:
            text, ended = text[: min(found)], True
            break
        closed = BAR_SIGNS.search(text, len(before.text)) and bar_lines(Tune(text))
        if closed and len(before.text) < closed[-1] < len(text):
            break
    return _Place(text, state(), count, len(faults(Tune(text), whole=ended)), ended)
