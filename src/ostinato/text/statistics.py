"""What kind of text it is: the figures that level, vocabulary and sizes are chosen from."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ostinato.text.codepoints import MAX_CODE, code_points
from ostinato.text.corpus import Corpus
from ostinato.text.words import Splitter, count_words

SAMPLE = 4_000_000
"""Characters looked at."""
_SPACED_MARK = re.compile(r"(?<=\S) [.,;:!?](?=\s)")
_MARK = re.compile(r"(?<=\S)[.,;:!?](?=\s)")
_CJK = ((0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


@dataclass(frozen=True)
class TextStatistics:
    """Its length, and what its first characters are like."""

    chars: int
    """Of the whole text."""
    distinct_chars: int
    distinct_words: int
    """Words and symbols as word level splits them, line ends left out."""
    seen_once: float
    """Share of the distinct words that stand in the text once."""
    tokenized: bool
    """Looks already tokenized: holds ``<unk>``, or a blank before most punctuation."""
    cjk: float
    """Share of Chinese, Japanese and such characters."""


def measure(corpus: Corpus, sample: int = SAMPLE) -> TextStatistics:
    """Look closely at the first ``sample`` characters. Raises TextError as reading the corpus does."""
    return measure_text("".join(corpus.slice_chars(0, sample)), corpus.chars)


def measure_text(text: str, chars: int) -> TextStatistics:
    """The figures of a text of so many ``chars`` that begins with ``text``."""
    seen = np.bincount(code_points(text), minlength=MAX_CODE)
    tokenized = _looks_tokenized(text)
    words = _words(text, tokenized)
    return TextStatistics(
        chars=chars,
        distinct_chars=int(np.count_nonzero(seen)),
        distinct_words=len(words),
        seen_once=sum(count == 1 for count in words.values()) / max(len(words), 1),
        tokenized=tokenized,
        cjk=sum(int(seen[low : high + 1].sum()) for low, high in _CJK) / max(len(text), 1),
    )


def _looks_tokenized(text: str) -> bool:
    if "<unk>" in text:
        return True
    spaced = len(_SPACED_MARK.findall(text))
    attached = len(_MARK.findall(text))
    return spaced > 20 and spaced > 9 * attached


def _words(text: str, tokenized: bool) -> Counter[str]:
    words = count_words(iter([text]), Splitter(pretokenized=tokenized))
    words.pop("\n", None)
    return words
