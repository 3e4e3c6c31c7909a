"""The levels behind one protocol and one file format: make, load, save, and encode a stream.

Every text begins after a line end, so every vocabulary holds the line end. Nothing else is special except ``<unk>``,
which exists at char and word level only. tokenizer.json is the file of the ``tokenizers`` library, which gives the
same ids.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.config import check_choice, check_range
from ostinato.errors import BundleError, ConfigError, TextError
from ostinato.text.chars import ByteTokenizer, CharTokenizer
from ostinato.text.decoding import LINE_END, UNKNOWN
from ostinato.text.subwords import SubwordTokenizer, learn, pre_tokenizer
from ostinato.text.words import MAX_WORD, Splitter, WordTokenizer, count_words
from ostinato.types import Ids, Tokenizer

LEVELS = ("char", "byte", "word", "bpe", "unigram")

Chunks = Callable[[], Iterator[str]]
"""Gives the text from its beginning, in pieces; may be called more than once."""


@dataclass(frozen=True)
class TokenizerOptions:
    """How text becomes tokens."""

    level: str = "char"
    """One of LEVELS."""
    vocab: int | None = None
    """Number of tokens, the line end and ``<unk>`` among them; None: all that the text gives, at bpe and unigram
    level up to 8192."""
    min_count: int = 1
    """Char and word level: rarer tokens become ``<unk>``."""
    lower: bool = False
    """Word level: lower case."""
    pretokenized: bool = False
    """Word level: the text is already tokenized; split at blanks and line ends only."""

    def __post_init__(self) -> None:
        check_choice("level", self.level, LEVELS)
        check_range("min_count", self.min_count, 1, 1 << 40)
        if self.vocab is not None:
            check_range("vocab", self.vocab, 256 if self.level in ("byte", "bpe", "unigram") else 3, 1 << 24)
        if self.level == "byte" and self.vocab not in (None, 256):
            raise ConfigError(f"vocab is {self.vocab}; byte level has 256 tokens, leave it out")
        for name, off in (("lower", False), ("pretokenized", False)):
            if getattr(self, name) != off and self.level != "word":
                raise ConfigError(f"{name} is for level word; level is {self.level}")
        if self.min_count != 1 and self.level not in ("char", "word"):
            raise ConfigError(f"min_count is for levels char and word; level is {self.level}")


def build(options: TokenizerOptions, chunks: Chunks) -> Tokenizer:
    """Make a tokenizer from a text read in a stream. Raises TextError when it gives fewer tokens than asked for."""
    if options.level == "byte":
        return ByteTokenizer()
    if options.level == "char":
        counts = Counter[str]()
        for chunk in chunks():
            counts.update(chunk)
        return CharTokenizer([*_special(), *sorted(_most_frequent(counts, options))])
    if options.level == "word":
        splitter = Splitter(options.pretokenized, options.lower)
        return WordTokenizer([*_special(), *_most_frequent(count_words(chunks(), splitter), options)], splitter)
    return learn(options.level, options.vocab, chunks)


def _special() -> list[str]:
    return [LINE_END, UNKNOWN]


def _most_frequent(counts: Counter[str], options: TokenizerOptions) -> list[str]:
    """The entries beside the special ones, the most frequent first, equally frequent ones in the order of letters."""
    enough = [
        entry for entry, count in counts.items() if count >= options.min_count and entry not in (LINE_END, UNKNOWN)
    ]
    given = len(enough) + len(_special())
    if options.vocab is not None and options.vocab > given:
        kind = "characters" if options.level == "char" else "words"
        often = f" seen {options.min_count} times or more" if options.min_count > 1 else ""
        raise TextError(
            f"vocab is {options.vocab}, but the text gives {given} {options.level} tokens: "
            f"{len(enough)} {kind}{often}, the line end and {UNKNOWN}; use --vocab {given} or less"
        )
    ordered = sorted(enough, key=lambda entry: (-counts[entry], entry))
    return ordered if options.vocab is None else ordered[: options.vocab - len(_special())]


def encode_chunks(tokenizer: Tokenizer, chunks: Iterator[str]) -> Iterator[Ids]:
    """The ids of a text that comes in pieces: together exactly those of the whole, in bounded memory."""
    rest = ""
    for chunk in chunks:
        settled, rest = tokenizer.settle(rest + chunk)
        if settled:
            yield tokenizer.encode(settled)
    if rest:
        yield tokenizer.encode(rest)


def to_json(tokenizer: Tokenizer) -> str:
    """The content of tokenizer.json."""
    return json.dumps(tokenizer.document(), ensure_ascii=False, indent=1) + "\n"


def load(path: str | Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json. Raises BundleError when it is missing, damaged, or not one of ours."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BundleError(f"cannot read {path}: {reason}; expected a tokenizer.json") from None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged: {error}; expected JSON, restore the file from a copy") from None
    try:
        return _from_document(document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BundleError(
            f"{path} is not a tokenizer that ostinato made: {_reason(error)}; expected level {', '.join(LEVELS)}"
        ) from None


def _reason(error: Exception) -> str:
    return f"no {error} in it" if isinstance(error, KeyError) else str(error).splitlines()[0]


def _from_document(document: Any) -> Tokenizer:
    model = document["model"]
    if document["added_tokens"] or document["post_processor"]:
        raise ValueError("it adds tokens of its own")
    if model["type"] == "WordLevel":
        return WordTokenizer(_of_words(_in_order(model["vocab"])), _splitter(document))
    if document["normalizer"] is not None:
        raise ValueError("it changes characters")
    if model["type"] == "BPE" and not model["merges"]:
        entries = _in_order(model["vocab"])
        if document["pre_tokenizer"] is None:
            return _character_level(entries)
        if ByteTokenizer().document() == document:
            return ByteTokenizer()
    return _subword_level(document)


def _in_order(vocab: Any) -> list[str]:
    """The entries by id; the ids must be 0, 1, 2 ..."""
    entries = sorted(vocab, key=vocab.__getitem__)
    if [vocab[entry] for entry in entries] != list(range(len(entries))) or not all(entries):
        raise ValueError("the ids of its vocabulary are not 0, 1, 2 and so on, each once")
    return entries


def _of_words(entries: list[str]) -> list[str]:
    if entries[:2] != _special():
        raise ValueError(f"its vocabulary does not begin with the line end and {UNKNOWN}")
    longest = max(map(len, entries))
    if longest > MAX_WORD:  # words of a thousand letters can be made to have equal hashes under every multiplier
        raise ValueError(f"it has a word of {longest} characters, more than {MAX_WORD}")
    return entries


def _splitter(document: Any) -> Splitter:
    for pretokenized in (False, True):
        for lower in (False, True):
            splitter = Splitter(pretokenized, lower)
            ours = WordTokenizer(_special(), splitter).document()
            if all(ours[part] == document[part] for part in ("normalizer", "pre_tokenizer")):
                return splitter
    raise ValueError("it splits words in another way")


def _character_level(entries: list[str]) -> CharTokenizer:
    if any(len(entry) != 1 for entry in entries if entry != UNKNOWN) or not {*_special()} <= {*entries}:
        raise ValueError("its entries are not single characters, the line end and <unk>")
    return CharTokenizer(entries)


def _subword_level(document: Any) -> SubwordTokenizer:
    from tokenizers import Tokenizer as Library

    levels = {"BPE": "bpe", "Unigram": "unigram"}
    if document["model"]["type"] not in levels or document["pre_tokenizer"] != pre_tokenizer():
        raise ValueError("it splits text in another way")
    try:
        library = Library.from_str(json.dumps(document))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(str(error)) from None
    return SubwordTokenizer(levels[document["model"]["type"]], library)
