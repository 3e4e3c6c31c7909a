"""What kind of text it is: the figures that level, vocabulary and sizes are chosen from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ostinato.text.codepoints import MAX_CODE, code_points
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


class Readable(Protocol):
    """A text that can be read in a stream: a ``Corpus``, or ``Conversations``."""

    @property
    def chars(self) -> int:
        """Its length in characters."""
        ...

    def chunks(self) -> Iterator[str]:
        """The text from its beginning."""
        ...


def measure(corpus: Readable, sample: int = SAMPLE) -> TextStatistics:
    """Look closely at the first ``sample`` characters. Raises TextError as reading the corpus does."""
    return measure_text(_beginning(corpus.chunks(), sample), corpus.chars)


def measure_text(text: str, chars: int | None = None) -> TextStatistics:
    """Of the beginning ``text`` of a text with ``chars`` characters, or of all of it."""
    seen = np.bincount(code_points(text), minlength=MAX_CODE)
    tokenized = _looks_tokenized(text)
    words = _words(text, tokenized)
    return TextStatistics(
        chars=len(text) if chars is None else chars,
        distinct_chars=int(np.count_nonzero(seen)),
        distinct_words=len(words),
        seen_once=sum(count == 1 for count in words.values()) / max(len(words), 1),
        tokenized=tokenized,
        cjk=sum(int(seen[low : high + 1].sum()) for low, high in _CJK) / max(len(text), 1),
    )


def _beginning(chunks: Iterator[str], sample: int) -> str:
    pieces, size = [], 0
    for piece in chunks:
        pieces.append(piece)
        size += len(piece)
        if size >= sample:
            break
    return "".join(pieces)[:sample]


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
