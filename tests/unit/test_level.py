from dataclasses import replace

import pytest

from ostinato.pipeline.level import choose_level
from ostinato.pipeline.settings import TextSettings
from ostinato.text.statistics import TextStatistics

PROSE = TextStatistics(1_000_000, 80, 20_000, 0.4, tokenized=False, cjk=0.0)


def level(text: TextStatistics, minutes: float | None = None, **settings) -> str:
    return choose_level(TextSettings(**settings), text, minutes).options.level


@pytest.mark.parametrize(
    ("chars", "minutes", "expected"),
    [
        (400_000, 1.0, "char"),
        (150_000, 0.1, "char"),
        (250_000, 0.1, "bpe"),
        (600_000, 1.0, "bpe"),
        (600_000, 2.0, "char"),
        (1_900_000, 60.0, "char"),
        (2_100_000, 60.0, "bpe"),
        (1_900_000, None, "char"),
        (2_100_000, None, "bpe"),
    ],
)
def test_pieces_are_for_more_text_than_can_be_learned_in_the_time(chars, minutes, expected):
    assert level(replace(PROSE, chars=chars), minutes) == expected


def test_a_text_of_many_characters_is_read_by_them():
    assert level(replace(PROSE, chars=50_000_000, cjk=0.5)) == "char"
    assert level(replace(PROSE, chars=50_000_000, distinct_chars=5_000)) == "char"


def test_a_closed_vocabulary_is_read_by_words():
    closed = replace(PROSE, tokenized=True, seen_once=0.0)
    assert level(closed) == "word"
    assert level(replace(closed, distinct_words=100_000)) == "char"
    assert level(replace(closed, seen_once=0.5)) == "char"


def test_what_is_asked_for_is_done():
    assert level(PROSE, 0.1, level="byte") == "byte"


@pytest.mark.parametrize(("chars", "pieces"), [(10_000, 512), (1_100_000, 1024), (10_000_000, 8192), (10**9, 8192)])
def test_more_text_gets_more_pieces(chars, pieces):
    assert choose_level(TextSettings(level="bpe"), replace(PROSE, chars=chars)).options.vocab == pieces


def test_every_choice_has_a_reason():
    for minutes in (0.5, 30.0, None):
        assert f"{PROSE.chars:,}" in choose_level(TextSettings(), PROSE, minutes).reason
