"""Tokens back to text, one at a time, so that it can be shown while it is made."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import cache

LINE_END = "\n"
UNKNOWN = "<unk>"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@cache
def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in tokenizer.json, ``(256,)`` (Radford et al. 2019)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


@cache
def _byte_of() -> dict[str, int]:
    return {character: byte for byte, character in enumerate(byte_alphabet())}


def bytes_of(entry: str) -> bytes:
    """The bytes that an entry in the byte alphabet stands for. Raises KeyError where it is not one."""
    return bytes(_byte_of()[character] for character in entry)


def printable(piece: bytes) -> str:
    """A token's bytes as something to read in a report: blanks visible, escapes for what cannot be shown."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return piece.hex(" ")
    return "".join(
        "␣" if character == " " else character if character.isprintable() else ascii(character)[1:-1]
        for character in text
    )


class Utf8Decoder:
    """Shows complete characters only; bytes that are no character become U+FFFD."""

    def __init__(self, piece: Callable[[int], bytes]) -> None:
        self._piece = piece
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that can be shown now that ``token`` has come."""
        return self._utf8.decode(self._piece(token))

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that was begun."""
        return self._utf8.decode(b"", final=True)


class BlankDecoder:
    """Words with a blank between: text that was already tokenized stays so."""

    def __init__(self, word: Callable[[int], str]) -> None:
        self._word = word
        self._line_begins = True

    def push(self, token: int) -> str:
        """The text that ``token`` adds, with the blank before it."""
        word = self._word(token)
        shown = word if self._line_begins or word == LINE_END else " " + word
        self._line_begins = word == LINE_END
        return shown

    def finish(self) -> str:
        """Nothing is ever held back."""
        return ""


_OPENING = frozenset("([{¿¡«\u201c\u2018")
_CLOSING = frozenset(")]},.;:!?»…%、。」』\u201d\u2019\uff0c\uff1b\uff1a\uff1f\uff01\uff09")
_TIGHT = frozenset("-/_@\\~—\u2010\u2011\u2013")
_CURRENCY = frozenset("$£€¥#")
_CLITIC = re.compile("n['\u2019]t|['\u2019](?:s|m|d|re|ve|ll|t)", re.IGNORECASE)
_CJK = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


class WordDecoder:
    """Words with the spacing of ordinary English, decided by what stands to the left.

    No blank before ``, . ; : ! ?`` and closing brackets, after opening ones, around hyphens and dashes, between
    Chinese or Japanese characters, before ``n't`` and ``'s``; straight quotes open and close in turn on a line.
    """

    def __init__(self, word: Callable[[int], str]) -> None:
        self._word = word
        self._begin_line()

    def _begin_line(self) -> None:
        self._tight = True
        self._last = ""
        self._time = False
        self._open: set[str] = set()

    def push(self, token: int) -> str:
        """The text that ``token`` adds, with the blank before it where one belongs."""
        word = self._word(token)
        if word == LINE_END:
            self._begin_line()
            return word
        if word in ('"', "'"):
            return self._quote(word)
        tight = self._tight or self._leans_left(word)
        self._time = word == ":" and self._last[-1:].isdigit()
        self._tight = word in _OPENING or word in _TIGHT or word in _CURRENCY
        self._last = word
        return word if tight else " " + word

    def _quote(self, mark: str) -> str:
        closes = mark in self._open
        follows_letter = mark == "'" and not closes and self._last[-1:].lower() == "s" and not self._tight
        blank = "" if self._tight or closes or follows_letter else " "
        if not follows_letter:
            self._open ^= {mark}
        self._tight = not (closes or follows_letter)
        self._last, self._time = mark, False
        return blank + mark

    def _leans_left(self, word: str) -> bool:
        if word in _CLOSING or word in _TIGHT or _CLITIC.fullmatch(word) or (self._time and word[:1].isdigit()):
            return True
        return bool(_CJK.match(word) and (_CJK.match(self._last) or not self._last))

    def finish(self) -> str:
        """Nothing is ever held back."""
        return ""
