"""distinct-1 and distinct-2: counted by hand."""

import math

import pytest

from ostinato.errors import ConfigError
from ostinato.score.distinct import distinct, words


def test_words_are_split_as_at_word_level_in_small_letters():
    assert words("I don't KNOW, do you?") == ["i", "don't", "know", ",", "do", "you", "?"]
    assert words("") == words("  ") == []


@pytest.mark.parametrize(
    ("replies", "one", "two"),
    [
        (["a b c d"], 4 / 4, 3 / 4),
        (["I do. I do."], 3 / 6, 3 / 6),  # i, do, . and i do, do ., . i
        (["a b", "A B", "b a"], 2 / 6, 2 / 6),
        (["a", "b"], 2 / 2, 0 / 2),  # no n-gram spans two replies
        (["yes"] * 50, 1 / 50, 0),
    ],
)
def test_distinct(replies, one, two):
    assert distinct(replies, 1) == pytest.approx(one)
    assert distinct(iter(replies), 2) == pytest.approx(two)


def test_nothing_said_has_no_figure():
    assert math.isnan(distinct([], 1))
    assert math.isnan(distinct(["", " "], 2))


def test_an_order_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="n is 0; expected 1 or more"):
        distinct(["a"], 0)
