"""Character and byte level: one table look-up a character, no look-up at all a byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import TextError
from ostinato.text.codepoints import MAX_CODE, code_points
from ostinato.text.decoding import LINE_END, REPLACEMENT, UNKNOWN, Utf8Decoder, byte_alphabet, printable
from ostinato.types import Ids

BLOCK = 1 << 14
"""Characters looked up at once: what is worked on stays in the cache."""


def utf8(text: str) -> bytes:
    """``text`` as UTF-8. Raises TextError on a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"the text holds the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}; "
            "expected Unicode text, give it as UTF-8"
        ) from None


def character_of_byte(data: bytes) -> NDArray[np.int64]:
    """For each byte of UTF-8 ``(T,)`` the index of the character it belongs to."""
    units = np.frombuffer(data, dtype=np.uint8)
    return np.cumsum((units & 0xC0) != 0x80, dtype=np.int64) - 1


def merge_free(vocab: dict[str, int], unk: str | None, pre_tokenizer: Any, decoder: Any) -> dict[str, Any]:
    """A tokenizer.json whose tokens are single characters: the library's BPE with no merges."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unk,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [],
        },
    }


class CharTokenizer:
    """One token a Unicode code point; a character outside the vocabulary is ``<unk>``."""

    level = "char"

    def __init__(self, characters: Sequence[str]) -> None:
        """``characters``: the vocabulary ``(V,)`` in the order of ids, with the line end and ``<unk>`` in it."""
        self.characters = list(characters)
        self.boundary_id = self.characters.index(LINE_END)
        self._unknown = self.characters.index(UNKNOWN)
        self._pieces = [REPLACEMENT if entry == UNKNOWN else entry for entry in self.characters]
        known = [index for index, entry in enumerate(self.characters) if entry != UNKNOWN]
        self._ids = np.full(MAX_CODE, self._unknown, dtype=np.int64)
        self._ids[[ord(self.characters[index]) for index in known]] = known
        ascii_ids = self._ids[:128]
        self._of_ascii = bytes(ascii_ids.tolist() + [0] * 128) if ascii_ids.max() < 256 else None

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return len(self.characters)

    @property
    def unk_id(self) -> int:
        """The id of ``<unk>``."""
        return self._unknown

    def encode(self, text: str) -> Ids:
        """The ids ``(T,)``, one a code point. Raises TextError on a lone surrogate."""
        ids = np.empty(len(text), dtype=np.int64)
        for begin in range(0, len(text), BLOCK):
            piece = text[begin : begin + BLOCK]
            if self._of_ascii is not None and piece.isascii():
                ids[begin : begin + BLOCK] = np.frombuffer(piece.encode().translate(self._of_ascii), dtype=np.uint8)
            else:
                np.take(self._ids, code_points(piece), out=ids[begin : begin + BLOCK], mode="clip")
        return ids

    def encode_with_spans(self, text: str) -> tuple[Ids, NDArray[np.int64]]:
        """The ids ``(T,)`` and where each stands in ``text``, ``(T, 2)`` in characters."""
        index = np.arange(len(text), dtype=np.int64)
        return self.encode(text), np.stack([index, index + 1], axis=1)

    def settle(self, text: str) -> tuple[str, str]:
        """Everything can be encoded whatever follows."""
        return text, ""

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text; ``<unk>`` becomes U+FFFD."""
        return "".join([self._pieces[token] for token in np.asarray(ids).tolist()])

    def decoder(self) -> Utf8Decoder:
        """Decodes token by token."""
        return Utf8Decoder(self.piece)

    def piece(self, token: int) -> bytes:
        """The character as UTF-8."""
        return self._pieces[token].encode()

    def label(self, token: int) -> str:
        """The character, visible."""
        return UNKNOWN if token == self._unknown else printable(self.piece(token))

    def document(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        vocab = {entry: index for index, entry in enumerate(self.characters)}
        return merge_free(vocab, UNKNOWN, None, {"type": "Fuse"})


class ByteTokenizer:
    """One token a byte of UTF-8; the id is the byte."""

    level = "byte"
    vocab_size = 256
    unk_id: int | None = None
    boundary_id = 0x0A

    def encode(self, text: str) -> Ids:
        """The ids ``(T,)``, one a byte. Raises TextError on a lone surrogate."""
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int64)

    def encode_with_spans(self, text: str) -> tuple[Ids, NDArray[np.int64]]:
        """The ids ``(T,)`` and for each the character ``(T, 2)`` of ``text`` that it is part of."""
        data = utf8(text)
        index = character_of_byte(data)
        return np.frombuffer(data, dtype=np.uint8).astype(np.int64), np.stack([index, index + 1], axis=1)

    def settle(self, text: str) -> tuple[str, str]:
        """Everything can be encoded whatever follows."""
        return text, ""

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text; bytes that are no UTF-8 become U+FFFD."""
        return np.asarray(ids).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> Utf8Decoder:
        """Decodes byte by byte, giving whole characters."""
        return Utf8Decoder(self.piece)

    def piece(self, token: int) -> bytes:
        """The byte."""
        return bytes([token])

    def label(self, token: int) -> str:
        """The character of an ASCII byte, two hexadecimal digits of another."""
        return printable(self.piece(token))

    def document(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        vocab = {character: byte for byte, character in enumerate(byte_alphabet())}
        return merge_free(vocab, None, byte_level, byte_level)
