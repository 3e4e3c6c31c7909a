"""Words as a recogniser writes them and as they are compared: clitics split off, or joined."""

from __future__ import annotations

import re

_SPLIT = re.compile(r"(?<=\S)\s+(?=(?:n't|'(?:s|re|ve|m|ll|d)?)(?:\s|$))", re.IGNORECASE)
_JOINED = re.compile(r"(?<=[^\W\d_])(?=(?:n't|'(?:s|re|ve|m|ll|d)?)(?:\s|$))", re.IGNORECASE)


def join_clitics(text: str) -> str:
    """The words with their clitics joined, one blank between: ``was n't`` becomes ``wasn't``."""
    return " ".join(_SPLIT.sub("", text).split())


def split_clitics(text: str) -> str:
    """The words with their clitics split off, in the Penn Treebank's way: ``wasn't`` becomes ``was n't``."""
    return " ".join(_JOINED.sub(" ", text).split())


# As the Penn Treebank's text, read aloud, has it

UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_NUMBER = re.compile(r"(?<!\S)(\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.(\d{1,9}))?(?!\S)")


def treebank_text(text: str) -> str:
    """A text as models of the spoken Penn Treebank know it: lower case, clitics split off, numbers as words."""
    return split_clitics(_NUMBER.sub(_spoken_number, text.lower()))


def _spoken_number(match: re.Match[str]) -> str:
    whole = number_words(int(match[1].replace(",", "")))
    return whole if match[2] is None else " ".join([whole, "point", *(UNITS[int(digit)] for digit in match[2])])


def number_words(number: int) -> str:
    """A whole number below 10**15 as a count is read: 1987 is one thousand nine hundred eighty seven."""
    for size, name in _SCALES:
        if number >= size:
            rest = f" {number_words(number % size)}" if number % size else ""
            return f"{number_words(number // size)} {name}{rest}"
    if number >= 20:
        return TENS[number // 10 - 2] + (f" {UNITS[number % 10]}" if number % 10 else "")
    return UNITS[number]
