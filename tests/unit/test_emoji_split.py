"""The recipe of emoji captions: no drawing on two sides, whatever its tone, gender or hair."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "emoji_captions"


def recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"emoji_{name}", RECIPE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


split = recipe("split")
MADE = [chr(0x13000 + number) for number in range(1000)]
TONES = ["", *map(chr, range(0x1F3FB, 0x1F400))]
SAME = [
    ["👍", "👍🏻", "👍🏿"],
    ["🧑‍💼", "👨‍💼", "👩🏽‍💼", "🧑🏿‍💼"],
    ["🏃", "🏃‍♀️", "🏃🏾‍♂️", "🏃‍➡️", "🏃🏻‍♀️‍➡️"],
    ["🕵️", "🕵🏻", "🕵️‍♀️", "🕵🏿‍♂️"],
    ["🧑", "👨", "👩🏼", "👨‍🦰", "👩🏽‍🦱", "🧑‍🦲", "👱", "👱‍♀️", "🧔", "🧔🏻‍♂️"],
    ["👦", "👧🏽", "🧒"],
    ["👴", "👵🏿", "🧓"],
    ["🤴", "👸🏻", "🫅🏾"],
    ["🎅", "🤶🏽", "🧑🏿‍🎄"],
    ["🤰", "🫃🏻", "🫄"],
    ["👫", "👬🏽", "👭", "🧑‍🤝‍🧑", "👩🏻‍🤝‍👨🏿"],
    ["🤝", "🤝🏻", "🫱🏻‍🫲🏿"],
    ["💏", "👩‍❤️‍💋‍👨", "👨🏻‍❤️‍💋‍👨🏿"],
    ["💑", "👩‍❤️‍👩", "🧑🏻‍❤️‍🧑🏼"],
    ["👪", "👨‍👩‍👧", "👩‍👦‍👦", "🧑‍🧑‍🧒"],
    ["💃", "🕺🏻"],
    ["☝️", "☝🏽"],
]
APART = (
    [variants[0] for variants in SAME]
    + ["🐀", "🐁", "🇫🇷", "🇬🇫", "🏳️‍🌈", "🏳️‍⚧️", "🏳️", "1️⃣", "2️⃣", "♀️", "♂️", "⚧️", "➡️", "⬅️", "👩‍🍳", "👩‍🌾", "🐕", "🐕‍🦺"]
    + ["❤️", "❤️‍🔥", "🦰", "🦱", "🏻", "🏿", "👥", "👤", "😮‍💨", "😵‍💫"]
)


@pytest.mark.parametrize("variants", SAME, ids=lambda variants: variants[0])
def test_variants_have_one_base(variants: list[str]) -> None:
    assert len({split.base(emoji) for emoji in variants}) == 1


def test_other_drawings_have_bases_of_their_own() -> None:
    bases = {emoji: split.base(emoji) for emoji in APART}
    assert len(set(bases.values())) == len(APART), [x for x, n in Counter(bases.values()).items() if n > 1]


def rows() -> list[list[str]]:
    """A thousand made-up drawings in all tones, beside those above."""
    made = [[drawing + tone for tone in TONES] for drawing in MADE]
    return [[f"{emoji}.png", f"{'x' * len(emoji)} {k}", emoji] for k, some in enumerate(made + SAME) for emoji in some]


def test_no_drawing_is_on_two_sides_and_the_shares_are_kept() -> None:
    """The bound on a share is five standard deviations of a binomial."""
    sides = split.split(rows())
    bases = {name: {split.base(row[2]) for row in some} for name, some in sides.items()}
    assert sum(map(len, bases.values())) == len(set.union(*bases.values())) == 1000 + len(SAME)
    for name, share in split.SHARES.items():
        assert abs(len(bases[name]) / 1000 - share) < 5 * np.sqrt(share * (1 - share) / 1000)
        assert len(sides[name]) == len(bases[name])
        assert all(len(row[2]) == 1 for row in sides[name] if row[2][0] in MADE)  # the plainest
    counts = Counter(split.base(row[2]) for row in sides["train"])
    assert max(counts.values()) == split.MOST
    assert all(count == split.MOST for drawing, count in counts.items() if drawing in MADE)


def test_the_side_of_a_drawing_does_not_depend_on_the_others() -> None:
    some = rows()
    whole, half = split.split(some), split.split(some[::-2])
    side = {row[2]: name for name, listed in whole.items() for row in listed}
    assert all(side.get(row[2], name) == name for name, listed in half.items() for row in listed)


def test_recall_counts_ties_as_likely_as_any_order() -> None:
    measure = recipe("measure")
    scores = np.array([[3.0, 1.0, 2.0], [5.0, 5.0, 0.0], [1.0, 2.0, 0.0]])
    found = measure.recall(scores)
    assert found["recall at 1"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["recall at 10"] == 1.0
    assert found["median rank"] == 1.5
    chance = measure.recall(np.zeros((50, 50)))
    assert chance == pytest.approx({"recall at 1": 0.02, "recall at 10": 0.2, "median rank": 25.5})


def test_overlap_is_of_words() -> None:
    measure = recipe("measure")
    assert measure.overlap("flag: France", "flag: Spain") == 0.5
    assert measure.overlap("a b", "A, b") == 1.0
    assert measure.overlap("a", "b") == 0.0
