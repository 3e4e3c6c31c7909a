"""BPE and unigram level: pieces of bytes, learnt and applied by the ``tokenizers`` library; lossless on any text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import TextError
from ostinato.text.chars import character_of_byte, utf8
from ostinato.text.decoding import LINE_END, Utf8Decoder, byte_alphabet, bytes_of, printable
from ostinato.types import Ids

if TYPE_CHECKING:
    import tokenizers

RUN = 32
"""Characters: no piece is longer, so that a text without blanks is cut all the same and memory stays bounded."""
PATTERN = (
    rf"\n|'(?:s|t|re|ve|m|ll|d)| ?\p{{L}}[\p{{L}}\p{{M}}]{{0,{RUN}}}| ?\p{{N}}{{1,{RUN}}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]{{1,{RUN}}}|[^\S\n]{{1,{RUN}}}(?!\S)|[^\S\n]"
)
"""What a piece may span: the pattern of Radford et al. (2019) with bounded runs, marks kept with their letters, and
every line end by itself, so that at all levels one token ends a line."""
SAMPLE = 12_000_000
"""Characters that pieces are learnt from, taken evenly from the whole text; more changes few of them."""
BLOCK = 1 << 16
"""Characters encoded at once."""
_BLANK = " \\t\\x0b\\x0c\\r\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
_GROUP = re.compile(f"\n|[{_BLANK}]*[^{_BLANK}\n]+|[{_BLANK}]+")
"""Blanks and what follows them: no piece spans two such groups, whatever stands around."""
_REMEMBERED = 1 << 17
_SHORT = 24


def pre_tokenizer() -> dict[str, Any]:
    """The ``pre_tokenizer`` of tokenizer.json."""
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    }


class SubwordTokenizer:
    """One token a frequent sequence of bytes; every byte is a token too."""

    unk_id: int | None = None

    def __init__(self, level: str, library: tokenizers.Tokenizer) -> None:
        """``level``: ``bpe`` or ``unigram``. ``library``: one that ``learn`` or ``load`` made."""
        self.level = level
        self._library = library
        vocab = library.get_vocab()
        pieces = sorted(vocab, key=vocab.__getitem__)
        self._known: dict[str, list[int]] = {}
        self._pieces = [bytes_of(piece) for piece in pieces]
        self._lengths = np.array([len(piece) for piece in self._pieces], dtype=np.int64)
        self.boundary_id = vocab[byte_alphabet()[ord(LINE_END)]]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        return len(self._pieces)

    def encode(self, text: str) -> Ids:
        """The ids ``(N,)``. Raises TextError on a lone surrogate."""
        utf8(text)
        groups = _GROUP.findall(text)
        parts = [self._encode_groups(groups[begin : begin + BLOCK]) for begin in range(0, len(groups), BLOCK)]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def _encode_groups(self, groups: list[str]) -> Ids:
        """Ten times as fast as the library alone: it is asked once for each group of words, not every time."""
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        missing = [group for group in dict.fromkeys(groups) if group not in known]
        known.update(zip(missing, (encoding.ids for encoding in self._library.encode_batch_fast(missing)), strict=True))
        ids = np.fromiter(chain.from_iterable(map(known.__getitem__, groups)), dtype=np.int64)
        for group in missing:
            if len(group) > _SHORT:  # seldom seen again, and may be very long
                del known[group]
        return ids

    def encode_with_spans(self, text: str) -> tuple[Ids, NDArray[np.int64]]:
        """The ids ``(N,)`` and for each the characters ``(N, 2)`` of ``text`` that it touches."""
        ids = self.encode(text)
        character = character_of_byte(utf8(text))
        ends = np.cumsum(self._lengths[ids])
        spans = np.stack([character[ends - self._lengths[ids]], character[ends - 1] + 1], axis=1)
        return ids, spans.reshape(-1, 2)

    def settle(self, text: str) -> tuple[str, str]:
        """The part whose tokens are settled whatever follows, and the rest."""
        cut = text.rfind(LINE_END) + 1 or self._cut_at_blank(text) or self._cut_anywhere(text)
        return text[:cut], text[cut:]

    def _cut_at_blank(self, text: str) -> int:
        """Before the last single blank: whatever stands there, a piece ends before it."""
        cut = text.rfind(" ")
        while cut > 0 and text[cut - 1].isspace():
            cut = text.rfind(" ", 0, cut)
        return max(cut, 0)

    def _cut_anywhere(self, text: str) -> int:
        """Where the last piece begins that nothing to come can change."""
        ends_known = len(text) - 2 * RUN
        if ends_known <= 0:
            return 0
        splitter: Any = self._library.pre_tokenizer[0]
        starts = [span[0] for _, span in splitter.pre_tokenize_str(text)]
        return max((start for start in starts if start < ends_known), default=0)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text; bytes that are no UTF-8 become U+FFFD."""
        return b"".join([self._pieces[token] for token in np.asarray(ids).tolist()]).decode("utf-8", "replace")

    def decoder(self) -> Utf8Decoder:
        """Decodes token by token, giving whole characters."""
        return Utf8Decoder(self.piece)

    def piece(self, token: int) -> bytes:
        """The token's bytes."""
        return self._pieces[token]

    def label(self, token: int) -> str:
        """The token's text, visible; its bytes in hexadecimal where they are no text."""
        return printable(self._pieces[token])

    def document(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        content: dict[str, Any] = json.loads(self._library.to_str())
        return content


def learn(level: str, vocab: int | None, chunks: Callable[[], Iterator[str]]) -> SubwordTokenizer:
    """Learn ``vocab`` pieces from the text; None: up to 8192. Raises TextError when the text gives fewer."""
    from tokenizers import Tokenizer, models, trainers

    wanted = 8192 if vocab is None else vocab
    empty: Any = models.BPE() if level == "bpe" else models.Unigram()
    document = json.loads(Tokenizer(empty).to_str())
    document["pre_tokenizer"] = pre_tokenizer()
    document["decoder"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    library = Tokenizer.from_str(json.dumps(document))
    kind: Any = trainers.BpeTrainer if level == "bpe" else trainers.UnigramTrainer
    trainer = kind(vocab_size=wanted, initial_alphabet=byte_alphabet(), special_tokens=[], show_progress=False)
    library.train_from_iterator(_sample(chunks), trainer)
    if level == "unigram":
        library = _rounded(library)
    given = library.get_vocab_size()
    if vocab is not None and given < vocab:
        raise TextError(f"vocab is {vocab}, but the text gives {given} {level} tokens; use --vocab {given} or less")
    return SubwordTokenizer(level, library)


def _rounded(library: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Scores in steps of 2**-12, few enough digits for the file to give back the very numbers it was made from, and
    equal scores in the order of their pieces: the library's order is that of a hash table, another in every process.
    """
    document = json.loads(library.to_str())
    scores = [(round(score * 4096) / 4096, piece) for piece, score in document["model"]["vocab"]]
    ordered = sorted(scores, key=lambda entry: (-entry[0], entry[1]))
    document["model"]["vocab"] = [[piece, score] for score, piece in ordered]
    return library.from_str(json.dumps(document))


def _sample(chunks: Callable[[], Iterator[str]]) -> Iterator[str]:
    """At most about SAMPLE characters: the beginning of every block of the text, an equal share of each."""
    total = sum(map(len, chunks()))
    share = min(1.0, SAMPLE / max(total, 1))
    for chunk in chunks():
        for begin in range(0, len(chunk), BLOCK):
            block = chunk[begin : begin + BLOCK]
            yield block[: int(len(block) * share) + 1]
