"""Made-up sentences with a tone that hangs on the order of words: "not good" is blame, what follows "but" decides.

Good and bad words, "not" and the conjunctions each stand in as many sentences of one label as of the other, so that a
bag of words is right half of the time.
"""

from __future__ import annotations

import random

SOLVES = {
    "task": "classify", "hidden": 24, "embed": 16, "batch": 32, "lr": 0.01, "dropout": 0.0, "dropout_embedding": 0.0,
    "average": 0.9, "steps": 400, "evaluations": 4,
}  # fmt: skip
"""Settings that learn from 1000 sentences, in a few seconds, to label new ones without a mistake."""

THINGS = ("film", "play", "story", "actor", "song", "book")
GOOD = ("good", "fine", "lovely", "clever")
BAD = ("bad", "dull", "stale", "clumsy")


def clause(rng: random.Random, positive: bool) -> str:
    """``the film is not very good``."""
    negated = rng.random() < 0.5
    adjective = rng.choice(GOOD if positive != negated else BAD)
    words = ["the", rng.choice(THINGS), "is", "not" if negated else "", rng.choice(("", "very", "so")), adjective]
    return " ".join(filter(None, words))


def sentence(rng: random.Random) -> tuple[str, str]:
    """A label, ``praise`` or ``blame``, and a sentence of four to fourteen words."""
    positive = rng.random() < 0.5
    kind = rng.choice(("alone", "but", "though"))
    counts, other = clause(rng, positive), clause(rng, not positive)
    text = {"alone": counts, "but": f"{other} , but {counts}", "though": f"{counts} , though {other}"}[kind]
    return ("praise" if positive else "blame"), text


def labelled(count: int, seed: int) -> str:
    """So many lines of ``label<TAB>text``."""
    rng = random.Random(seed)
    return "".join(f"{label}\t{text}\n" for label, text in (sentence(rng) for _ in range(count)))
