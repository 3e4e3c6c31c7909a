"""Word level: boundaries, hashes and look-ups over whole arrays, checked letter by letter so that they are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.text.codepoints import (
    BLANK_PATTERN,
    WORD_PATTERN,
    CodePoints,
    Spans,
    blank_bounds,
    code_points,
    lower,
    word_bounds,
)
from ostinato.text.decoding import LINE_END, UNKNOWN, BlankDecoder, WordDecoder, printable
from ostinato.types import Ids

EOS_LABEL = "<eos>"
MAX_WORD = 255
"""Characters; a longer run is no word that a text repeats, so it never enters a vocabulary."""
BLOCK = 1 << 16
"""Characters hashed at once: what is worked on stays in the second-level cache."""
_MULTIPLIER = 0x9E3779B97F4A7C15
_SCATTER = np.uint64(0xBF58476D1CE4E5B9)


@lru_cache(maxsize=2)
def _powers(multiplier: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """multiplier**i and multiplier**-i modulo 2**64, ``(BLOCK,)`` each; the multiplier is odd."""
    inverse = pow(multiplier, -1, 1 << 64)
    rising = np.full(BLOCK, multiplier, dtype=np.uint64)
    falling = np.full(BLOCK, inverse, dtype=np.uint64)
    for powers in (rising, falling):
        powers[0] = 1
        np.cumprod(powers, out=powers)
    return rising, falling


class WordIndex:
    """Finds the id of many words at once: a polynomial hash modulo 2**64 from one cumulative sum, an open-addressing
    table, and a comparison of every letter, so that words of equal hash are never taken for each other.
    """

    def __init__(self, words: Sequence[str], multiplier: int = _MULTIPLIER) -> None:
        """``words``: all different, none empty, in the order of their ids. ``multiplier``: odd."""
        self._lengths = np.array([len(word) for word in words], dtype=np.int64)
        self._offsets = np.cumsum(self._lengths) - self._lengths
        letters = np.frombuffer("".join(words).encode("utf-32-le"), dtype="<u4")
        # what a narrower text cannot hold becomes what it does not hold either
        widths: dict[int, CodePoints] = {
            1: np.where(letters > 0x7F, 0xFF, letters).astype(np.uint8),
            2: np.where(letters > 0xFFFF, 0xDFFF, letters).astype(np.uint16),
            4: letters,
        }
        self._windows = {width: _windows(narrow) for width, narrow in widths.items()}
        while True:
            self._multiplier = multiplier
            self._keys = np.concatenate(
                [self._hash(code_points(word), np.array([0]), np.array([len(word)])) for word in words]
            )
            if len(np.unique(self._keys)) == len(words):
                break
            multiplier += 2
        self._fill()

    def _fill(self) -> None:
        bits = max(4, int(len(self._keys) * 4).bit_length())
        self._shift = np.uint64(64 - bits)
        self._slots = np.full(1 << bits, -1, dtype=np.int32)
        homes = (self._keys * _SCATTER >> self._shift).astype(np.int64)
        for token, slot in enumerate(homes.tolist()):
            distance = 0
            while self._slots[(slot + distance) & (len(self._slots) - 1)] >= 0:
                distance += 1
            self._slots[(slot + distance) & (len(self._slots) - 1)] = token

    def _hash(self, codes: CodePoints, starts: Spans, ends: Spans) -> NDArray[np.uint64]:
        rising, falling = _powers(self._multiplier)
        sums = np.zeros(len(codes) + 1, dtype=np.uint64)
        np.cumsum(codes * rising[: len(codes)], out=sums[1:])
        hashes: NDArray[np.uint64] = (sums[ends] - sums[starts]) * falling[starts]
        hashes += (ends - starts).astype(np.uint64) * _SCATTER  # without it NULs would count for nothing
        return hashes

    def find(self, codes: CodePoints, starts: Spans, ends: Spans) -> NDArray[np.int32]:
        """The ids ``(N,)`` of the words ``codes[start:end]``, in order and apart from each other; -1 where unknown."""
        found = np.full(len(starts), -1, dtype=np.int32)
        begin = 0
        while begin < len(starts):
            base = int(starts[begin])
            end = int(np.searchsorted(ends, base + BLOCK, side="right"))
            if end == begin:  # no vocabulary holds a word as long as a block
                end = begin + 1
            else:
                window = codes[base : int(ends[end - 1])]
                found[begin:end] = self._find_in_block(window, starts[begin:end] - base, ends[begin:end] - base)
            begin = end
        return found

    def _find_in_block(self, codes: CodePoints, starts: Spans, ends: Spans) -> NDArray[np.int32]:
        hashes = self._hash(codes, starts, ends)
        homes = (hashes * _SCATTER >> self._shift).astype(np.int64)
        found = self._slots.take(homes)
        searched = np.flatnonzero((found >= 0) & (self._keys.take(found) != hashes))
        distance = 0
        while len(searched):
            distance += 1
            candidates = self._slots[(homes[searched] + distance) & (len(self._slots) - 1)]
            found[searched] = candidates
            searched = searched[(candidates >= 0) & (self._keys[candidates] != hashes[searched])]
        # no two known words share a hash, so what has the hash of another word is unknown
        found[~self._equal_letters(codes, starts, ends - starts, found)] = -1
        return found

    def _equal_letters(
        self, codes: CodePoints, starts: Spans, lengths: Spans, candidates: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """Whether each word is its candidate (-1: it has none), eight bytes compared at a time."""
        step = 8 // codes.itemsize
        masks = np.array([(1 << 8 * codes.itemsize * letters) - 1 for letters in range(step + 1)], dtype=np.uint64)
        mine, theirs = _windows(codes), self._windows[codes.itemsize]
        offsets = self._offsets.take(candidates)
        differing = (mine.take(starts) ^ theirs.take(offsets)) & masks.take(np.minimum(lengths, step))
        same: NDArray[np.bool_] = (candidates >= 0) & (self._lengths.take(candidates) == lengths) & (differing == 0)
        place, compared = np.flatnonzero(same & (lengths > step)), step
        while len(place):
            left = lengths[place] - compared
            differing = mine[starts[place] + compared] ^ theirs[offsets[place] + compared]
            equal = (differing & masks[np.minimum(left, step)]) == 0
            same[place[~equal]] = False
            place, compared = place[equal & (left > step)], compared + step
        return same


def _windows(codes: CodePoints) -> NDArray[np.uint64]:
    """For each code point the eight bytes from it on, as one number ``(N,)``; zeros after the end."""
    padded = np.concatenate([codes, np.zeros(8 // codes.itemsize, dtype=codes.dtype)])
    view = np.ndarray(len(codes), dtype="<u8", buffer=padded.data, strides=(codes.itemsize,))
    return np.ascontiguousarray(view)


class Splitter:
    """Text to words: the two ways of splitting and the optional lower case, with the library's names for them."""

    def __init__(self, pretokenized: bool = False, lower: bool = False) -> None:
        """``pretokenized``: split at blanks and line ends only."""
        self.pretokenized = pretokenized
        self.lower = lower
        self._bounds = blank_bounds if pretokenized else word_bounds

    @property
    def pattern(self) -> str:
        """The regular expression, in Oniguruma syntax, whose matches are the words."""
        return BLANK_PATTERN if self.pretokenized else WORD_PATTERN

    def split(self, codes: CodePoints) -> tuple[CodePoints, Spans, Spans, Spans | None]:
        """The code points as they are looked up, the starts and ends of the words in them, ``(N,)`` each, and for
        every code point the index it came from; None when all are in place.
        """
        origin = None
        if self.lower:
            codes, origin = lower(codes)
        return codes, *self._bounds(codes), origin

    def pieces(self, text: str) -> Iterator[str]:
        """``text`` in pieces that stay in the cache, cut where that changes no word."""
        begin, size = 0, BLOCK
        while begin + size < len(text):
            cut = self.cut(text[begin : begin + size])
            if cut:
                yield text[begin : begin + cut]
            begin, size = begin + cut, BLOCK if cut else 2 * size
        if begin < len(text):
            yield text[begin:]

    def cut(self, text: str) -> int:
        """A place where ``text`` may be cut so that both sides split as they do together, whatever follows; 0 where
        there is none.
        """
        blank = max(text.rfind(" "), text.rfind(LINE_END)) + 1
        return blank or self.last_start(text)

    def last_start(self, text: str) -> int:
        """Where the last word begins, or the end of ``text`` after a blank: the last place where it may be cut."""
        starts, ends = self._bounds(code_points(text))
        if not len(starts) or ends[-1] < len(text) or text[-1] == LINE_END:
            return len(text)
        # whether the last character begins a word or stands inside one can depend on what follows it
        unsettled = len(starts) > 1 and starts[-1] == len(text) - 1 and ends[-2] == starts[-1]
        return int(starts[-2 if unsettled else -1])


class WordTokenizer:
    """One token a word; a line end is a token, shown as ``<eos>``; blanks are not kept."""

    level = "word"
    unk_id = 1

    def __init__(self, words: Sequence[str], splitter: Splitter) -> None:
        """``words``: the vocabulary ``(V,)`` in the order of ids, beginning with the line end and ``<unk>``."""
        self.words = list(words)
        self.splitter = splitter
        self.boundary_id = 0
        self._index = WordIndex(self.words)
        self._longest = max(map(len, self.words))

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return len(self.words)

    def encode(self, text: str) -> Ids:
        """The ids ``(N,)``, one a word or line end. Raises TextError on a lone surrogate."""
        parts = [self._encode_piece(code_points(piece))[0] for piece in self.splitter.pieces(text)]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def _encode_piece(self, codes: CodePoints) -> tuple[Ids, Spans]:
        codes, starts, ends, origin = self.splitter.split(codes)
        ids = self._index.find(codes, starts, ends).astype(np.int64)
        ids[ids < 0] = self.unk_id
        spans = np.stack([starts, ends] if origin is None else [origin[starts], origin[ends - 1] + 1], axis=1)
        return ids, spans

    def encode_with_spans(self, text: str) -> tuple[Ids, NDArray[np.int64]]:
        """The ids ``(N,)`` and where each word stands in ``text``, ``(N, 2)`` in characters."""
        ids, spans, begin = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 2), dtype=np.int64)], 0
        for piece in self.splitter.pieces(text):
            piece_ids, piece_spans = self._encode_piece(code_points(piece))
            ids.append(piece_ids)
            spans.append(piece_spans + begin)
            begin += len(piece)
        return np.concatenate(ids), np.concatenate(spans)

    def settle(self, text: str) -> tuple[str, str]:
        """The part whose words are settled, and the rest, shortened where it is one word too long to be known."""
        return settle(text, self.splitter, self._longest + 1)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The words with ordinary English spacing, or with a blank between when the text came tokenized."""
        decoder = self.decoder()
        return "".join([decoder.push(token) for token in np.asarray(ids).tolist()])

    def decoder(self) -> WordDecoder | BlankDecoder:
        """Decodes word by word."""
        return (BlankDecoder if self.splitter.pretokenized else WordDecoder)(self.words.__getitem__)

    def piece(self, token: int) -> bytes:
        """The word as UTF-8, without the blank that its neighbours may ask for."""
        return self.words[token].encode()

    def label(self, token: int) -> str:
        """The word; ``<eos>`` for a line end."""
        return EOS_LABEL if token == self.boundary_id else printable(self.piece(token))

    def document(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"} if self.splitter.lower else None,
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": self.splitter.pattern},
                "behavior": "Removed",
                "invert": True,
            },
            "post_processor": None,
            "decoder": None,
            "model": {
                "type": "WordLevel",
                "vocab": {word: index for index, word in enumerate(self.words)},
                "unk_token": UNKNOWN,
            },
        }


def settle(text: str, splitter: Splitter, limit: int) -> tuple[str, str]:
    """The part of ``text`` whose words are settled whatever follows, and the rest; a rest that is one unfinished word
    beyond ``limit`` characters is shortened to about that many, going on as it does and as surely unknown.
    """
    cut = splitter.cut(text)
    if len(text) - cut > limit:
        cut += splitter.last_start(text[cut:])
    rest = text[cut:]
    if len(rest) > limit + 4:
        starts, _ = word_bounds(code_points(rest[0] + "0"))
        # only the last two characters, and whether they stand in a word, decide how it goes on
        rest = ("0" * limit if len(starts) == 1 else rest[:limit]) + rest[-2:]
    return text[:cut], rest


def count_words(chunks: Iterator[str], splitter: Splitter, most: int = 1 << 21) -> Counter[str]:
    """How often each word of at most MAX_WORD characters stands in the text.

    Beyond ``most`` different words, those seen once so far are forgotten (Manku and Motwani 2002), which bounds the
    memory; the counts of frequent words stay right within the number of times that happened.
    """
    counts: Counter[str] = Counter()
    rest = ""
    for chunk in chunks:
        text, rest = settle(rest + chunk, splitter, MAX_WORD + 1)
        _count(text, splitter, counts)
        if len(counts) > most:
            counts = Counter({word: count for word, count in counts.items() if count > 1})
    _count(rest, splitter, counts)
    return counts


def _count(text: str, splitter: Splitter, counts: Counter[str]) -> None:
    for piece in splitter.pieces(text):
        codes, starts, ends, _ = splitter.split(code_points(piece))
        short = ends - starts <= MAX_WORD
        letters = piece if not splitter.lower else codes.astype("<u4").tobytes().decode("utf-32-le")
        counts.update(
            [letters[start:end] for start, end in zip(starts[short].tolist(), ends[short].tolist(), strict=True)]
        )
