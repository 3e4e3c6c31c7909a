"""What a token should be, from the kind and size of the text."""

from __future__ import annotations

from dataclasses import dataclass

from ostinato.pipeline.settings import TextSettings
from ostinato.text.statistics import TextStatistics
from ostinato.text.tokenizer import TokenizerOptions

CLOSED_VOCABULARY = 60_000  # words, of an already tokenized text, that one output layer can still hold
MANY_CHARACTERS = 1_000
CHARS_PER_MINUTE = 500_000  # from here on a model of pieces, which gets through the text sooner, is ahead
SHORT_TEXT, LONG_TEXT = 200_000, 2_000_000  # characters too few for pieces, and enough for them, whatever the time


@dataclass(frozen=True)
class Level:
    """The tokenizer to make, and why."""

    options: TokenizerOptions
    reason: str
    at_most: bool = False
    """Whether the size of the vocabulary is a wish of ours: a small text may give fewer tokens."""


def choose_level(settings: TextSettings, text: TextStatistics, minutes: float | None = None) -> Level:
    """The level asked for, or the one for this kind and size of text and the time to learn it in, where that is known.

    docs/plan.md says what that rests on.
    """
    level, reason = settings.level, "as asked for"
    if level == "auto":
        level, reason = _level(text, minutes)
    vocab = settings.vocab
    if vocab is None and level in ("bpe", "unigram"):
        vocab = _pieces(text)
    pretokenized = level == "word" and (text.tokenized if settings.pretokenized is None else settings.pretokenized)
    counts_nothing = settings.level == "auto" and level == "bpe"  # rare words are no question of pieces
    min_count = 1 if counts_nothing else settings.min_count
    options = TokenizerOptions(level, vocab, min_count, settings.lower, pretokenized)
    return Level(options, reason, at_most=settings.vocab is None)


def _level(text: TextStatistics, minutes: float | None) -> tuple[str, str]:
    if text.tokenized and text.distinct_words <= CLOSED_VOCABULARY and text.seen_once < 0.1:
        return "word", f"the text is tokenized already, with a closed vocabulary of {text.distinct_words:,} words"
    long = LONG_TEXT if minutes is None else min(LONG_TEXT, max(SHORT_TEXT, CHARS_PER_MINUTE * minutes))
    if text.cjk > 0.2 or text.distinct_chars > MANY_CHARACTERS:
        return "char", f"{text.chars:,} characters, {text.distinct_chars:,} of them distinct"
    if text.chars < long:
        return "char", f"{text.chars:,} characters; pieces of words pay from {long:,.0f} on, in this time"
    return "bpe", f"{text.chars:,} characters, much for the time: a piece of a word at once gets further"


def _pieces(text: TextStatistics) -> int:
    """More text supports more pieces; 512 to 8192."""
    return max(512, min(8192, 1 << (text.chars // 2000).bit_length()))
