"""Made-up sentences with a tone that hangs on the order of words: "not good" is bad, "good , not bad" is good."""

from __future__ import annotations

import random

THINGS = ("film", "play", "story", "actor", "song", "book", "scene", "ending")
GOOD = ("good", "fine", "lovely", "clever", "moving", "bright")
BAD = ("bad", "dull", "stale", "clumsy", "empty", "flat")


def sentence(rng: random.Random) -> tuple[str, str]:
    """A label, ``praise`` or ``blame``, and a sentence of three to twelve words.

    Every word stands in as many sentences of one label as of the other, so that no bag of words tells them apart.
    """
    positive = rng.random() < 0.5
    first, second = (GOOD, BAD) if positive else (BAD, GOOD)
    thing, other = rng.choice(THINGS), rng.choice(THINGS)
    label = "praise" if positive else "blame"
    if rng.random() < 0.5:
        return label, f"{rng.choice(first)} {thing} , not {rng.choice(second)}"
    if rng.random() < 0.5:
        return label, f"not {rng.choice(second)} , {rng.choice(first)} {thing}"
    return label, f"the {thing} and the {other} of it , they say , are not {rng.choice(second)} , {rng.choice(first)}"


def labelled(count: int, seed: int) -> str:
    """So many lines of ``label<TAB>text``."""
    rng = random.Random(seed)
    return "".join(f"{label}\t{text}\n" for label, text in (sentence(rng) for _ in range(count)))
