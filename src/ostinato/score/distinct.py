"""How varied some replies are: distinct-1 and distinct-2."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ostinato.errors import ConfigError
from ostinato.text.codepoints import code_points
from ostinato.text.words import Splitter

_SPLITTER = Splitter(lower=True)


def words(reply: str) -> list[str]:
    """The words and symbols of ``reply`` in small letters, split as at word level."""
    codes, starts, ends, _ = _SPLITTER.split(code_points(reply))
    letters = codes.astype("<u4").tobytes().decode("utf-32-le")
    return [letters[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def distinct(replies: Iterable[str], n: int) -> float:
    """Different n-grams of words in ``replies`` over the number of their words (Li et al. 2016); NaN of no words.

    An n-gram lies within one reply. The figure falls as replies grow in number, because a language has its common
    words: hold only lists of as many words against each other. Raises ConfigError when ``n`` is less than 1.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; expected 1 or more words")
    grams: set[tuple[str, ...]] = set()
    total = 0
    for reply in replies:
        said = words(reply)
        total += len(said)
        grams.update(tuple(said[at : at + n]) for at in range(len(said) - n + 1))
    return len(grams) / total if total else math.nan
