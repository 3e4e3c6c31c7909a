"""Texts as arrays of code points, and where words begin and end in them.

The rule of word level, in one sentence: a word is a run of letters, marks and digits, with apostrophes inside words
and points and commas inside numbers kept (``don't``, ``3.14``); every Chinese or Japanese character and every other
symbol stands by itself with the marks that follow it; a line end is a token; blanks are dropped.

``WORD_PATTERN`` says the same to the ``tokenizers`` library. Which code points are letters, marks or digits is asked
of that library, once per process, so that both agree whatever Unicode version either was built with.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import TextError

CodePoints = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]
Spans = NDArray[np.int64]

MAX_CODE = 0x110000

_LETTER = r"[\p{L}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}]]"
_MARK = r"[\p{M}\x{200C}\x{200D}]"
_APOSTROPHE = "['\N{RIGHT SINGLE QUOTATION MARK}]"
_INSIDE = rf"{_APOSTROPHE}(?={_LETTER})|(?<=\p{{Nd}})[.,](?=\p{{Nd}})"
WORD_PATTERN = rf"\n|(?:{_MARK}+|{_LETTER}{_MARK}*)(?:{_LETTER}{_MARK}*|{_INSIDE})*|\S{_MARK}*"
"""Of plain text: Oniguruma syntax, every match a token."""
BLANK_PATTERN = r"\n|\S+"
"""Of text that is already tokenized."""

_BLANK, _NEWLINE, _SYMBOL, _MARKED, _QUOTE, _POINT, _WORD, _DIGIT = range(8)


def code_points(text: str) -> CodePoints:
    """``text`` as code points ``(T,)``, in as few bytes each as they need. Raises TextError on a lone surrogate."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    try:
        pairs = text.encode("utf-16-le")
        if len(pairs) == 2 * len(text):
            return np.frombuffer(pairs, dtype="<u2")
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        raise TextError(
            f"the text holds the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}; "
            "expected Unicode text, give it as UTF-8"
        ) from None


@cache
def _classes() -> NDArray[np.uint8]:
    """The class of every code point ``(MAX_CODE,)``, as the library's regular expressions see it."""
    from tokenizers import Regex, normalizers

    # beyond these stand Chinese characters, private use and nothing: symbols all
    codes = np.r_[0:0xD800, 0xE000:0x20000, 0xE0000:0xE1000].astype("<u4")
    everything = codes.tobytes().decode("utf-32-le")
    table = np.full(MAX_CODE, _SYMBOL, dtype=np.uint8)
    for kind, pattern in (
        (_BLANK, r"\s"),
        (_MARKED, _MARK),
        (_QUOTE, _APOSTROPHE),
        (_POINT, "[.,]"),
        (_WORD, _LETTER),
        (_DIGIT, r"\p{Nd}"),
        (_NEWLINE, r"\n"),
    ):
        shown = normalizers.Replace(Regex(pattern), "\N{REPLACEMENT CHARACTER}").normalize_str(everything)
        table[codes[code_points(shown) == ord("\N{REPLACEMENT CHARACTER}")]] = kind
    table[ord("\N{REPLACEMENT CHARACTER}")] = _SYMBOL
    table.setflags(write=False)
    return table


def _kinds(codes: CodePoints) -> NDArray[np.uint8]:
    """The class of each code point with a blank before and after ``(T+2,)``."""
    kinds = np.zeros(len(codes) + 2, dtype=np.uint8)
    np.take(_classes(), codes, out=kinds[1:-1], mode="clip")
    return kinds


def _inherit(kinds: NDArray[np.uint8], marks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mark belongs to what it follows; after a blank or at the beginning it begins a word."""
    base = np.maximum.accumulate(np.where(marks, 0, np.arange(len(kinds))))
    inherited = kinds[base]
    return np.where(marks, np.where(inherited <= _NEWLINE, _WORD, inherited), kinds).astype(np.uint8)


def word_bounds(codes: CodePoints) -> tuple[Spans, Spans]:
    """Start and end of every word of plain text, each ``(N,)``, in code points."""
    kinds = _kinds(codes)
    filled = kinds != _BLANK
    marks = kinds == _MARKED
    owners = _inherit(kinds, marks) if marks.any() else kinds
    word = owners >= _WORD
    quotes = np.flatnonzero(kinds == _QUOTE)
    points = np.flatnonzero(kinds == _POINT)
    inside = np.concatenate(
        [
            quotes[word[quotes - 1] & (kinds[quotes + 1] >= _WORD)],
            points[(kinds[points - 1] == _DIGIT) & (kinds[points + 1] == _DIGIT)],
        ]
    )
    trailing = marks & ~word
    word[inside] = True
    joined = word[1:] & word[:-1] | trailing[1:]
    starts = np.flatnonzero(filled[1:-1] & ~joined[:-1])
    ends = np.flatnonzero(filled[1:-1] & ~joined[1:]) + 1
    return starts, ends


def blank_bounds(codes: CodePoints) -> tuple[Spans, Spans]:
    """Start and end of everything between blanks, each ``(N,)``, in code points; a line end is a token."""
    kinds = _kinds(codes)
    inner = kinds > _NEWLINE
    joined = inner[1:] & inner[:-1]
    filled = kinds[1:-1] != _BLANK
    return np.flatnonzero(filled & ~joined[:-1]), np.flatnonzero(filled & ~joined[1:]) + 1


@cache
def _lower_table() -> tuple[NDArray[np.uint32], dict[int, tuple[int, ...]]]:
    """Lower case of each code point below 0x20000 (there is none above), and of those that become several."""
    from tokenizers import normalizers

    codes = [code for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    lowered = normalizers.Lowercase().normalize_str("\n".join(map(chr, codes))).split("\n")
    lowered[ord("\n") : ord("\n") + 2] = ["\n"]  # splitting at line ends made two empty texts of this one
    table = np.arange(MAX_CODE, dtype=np.uint32)
    several: dict[int, tuple[int, ...]] = {}
    for code, lower in zip(codes, lowered, strict=True):
        if len(lower) == 1:
            table[code] = ord(lower)
        else:
            several[code] = tuple(map(ord, lower))
    return table, several


def lower(codes: CodePoints) -> tuple[CodePoints, Spans | None]:
    """Lower case, code point by code point, and for each result the index it came from; None when all are in place."""
    table, several = _lower_table()
    if codes.dtype == np.uint8:
        return table[:128].astype(np.uint8).take(codes), None
    result = table.take(codes)
    if not any((codes == code).any() for code in several):
        return result, None
    parts = [several.get(code, (int(low),)) for code, low in zip(codes.tolist(), result, strict=True)]
    origin = np.repeat(np.arange(len(codes)), [len(part) for part in parts])
    return np.array([code for part in parts for code in part], dtype=np.uint32), origin
