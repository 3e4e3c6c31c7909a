"""Text files to ids on disk: choose the level, make the tokenizer, encode, keep it all under a fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ostinato.data.store import Store, open_store, write_store
from ostinato.errors import BundleError, TextError
from ostinato.pipeline.level import Level, choose_level
from ostinato.pipeline.settings import TextSettings
from ostinato.text.conversations import Conversations
from ostinato.text.corpus import Corpus
from ostinato.text.sources import cache_folder
from ostinato.text.statistics import measure
from ostinato.text.tokenizer import Chunks, TokenizerOptions, build, encode_chunks, load, to_json
from ostinato.types import Tokenizer

_FORMAT = 1  # of what a fingerprint stands for; raise it when the same settings come to mean other ids


@dataclass(frozen=True)
class Prepared:
    """A text ready to train on."""

    tokenizer: Tokenizer
    store: Store
    """Ids of ``train``, ``valid`` and, when there is one, ``test``."""
    level: Level
    fingerprint: str
    reused: bool
    """Whether the ids were there from an earlier run."""

    def facts(self, part: str) -> dict[str, int]:
        """Of a part: its ``chars`` and ``bytes``."""
        facts: dict[str, int] = self.store.facts[part]
        return facts


def prepare(
    texts: Sequence[str | Path], settings: TextSettings, minutes: float | None = None, *, conversations: bool = False
) -> Prepared:
    """Read, tokenize and store ``texts``, to be learned in so many minutes where that is known.

    ``conversations`` are read as ``Conversations`` says, and held out whole. Raises TextError or ConfigError when they
    cannot be used.
    """
    corpus: Corpus | Conversations = Conversations(texts) if conversations else Corpus(texts)
    level = choose_level(settings, measure(corpus), minutes)
    parts = _parts(corpus, settings, whole_words=level.options.level == "word")
    fingerprint = _fingerprint(parts, level.options)
    folder = cache_folder() / "ids" / fingerprint
    kept = _kept(folder)
    if kept is not None:
        return Prepared(*kept, level, fingerprint, reused=True)
    tokenizer = _learn(level, parts["train"].chunks)
    counts = {name: {"chars": 0, "bytes": 0} for name in parts}
    streams = {name: encode_chunks(tokenizer, counted(part.chunks(), counts[name])) for name, part in parts.items()}
    store = write_store(folder, tokenizer.vocab_size, streams, counts, {"tokenizer.json": to_json(tokenizer)})
    for name, ids in store.parts.items():
        if len(ids) == 0:
            what = {"train": "text to train on", "valid": "held-out text", "test": "test text"}[name]
            raise TextError(f"the {what} holds no {level.options.level} tokens; give more text")
    return Prepared(tokenizer, store, level, fingerprint, reused=False)


def _learn(level: Level, chunks: Chunks) -> Tokenizer:
    try:
        return build(level.options, chunks)
    except TextError:
        if not level.at_most:
            raise
        return build(replace(level.options, vocab=None), chunks)


def _kept(folder: Path) -> tuple[Tokenizer, Store] | None:
    """What an earlier run left in ``folder``; None when it is not there or not whole."""
    store = open_store(folder)
    if store is None or not all(len(ids) for ids in store.parts.values()):
        return None
    try:
        return load(folder / "tokenizer.json"), store
    except BundleError:  # damaged: it is made anew
        return None


class _Part(Protocol):
    """A part of the data, read in a stream."""

    @property
    def chars(self) -> int: ...

    def chunks(self) -> Iterator[str]: ...

    def fingerprint(self) -> Any: ...


@dataclass(frozen=True)
class _Slice:
    """Characters ``start`` to ``stop`` of a corpus."""

    corpus: Corpus
    start: int
    stop: int

    @property
    def chars(self) -> int:
        return self.stop - self.start

    def chunks(self) -> Iterator[str]:
        return self.corpus.slice_chars(self.start, self.stop)

    def fingerprint(self) -> tuple[str, int, int]:
        return self.corpus.fingerprint(), self.start, self.stop


def _parts(corpus: Corpus | Conversations, settings: TextSettings, *, whole_words: bool) -> dict[str, _Part]:
    share = settings.valid_share
    parts: dict[str, _Part] = {"train": _whole(corpus)}
    if share is None:
        parts["valid"] = _other(corpus, settings.valid)
    elif isinstance(corpus, Conversations):
        parts["train"], parts["valid"] = corpus.split(share)
    else:
        cut = int(corpus.chars * (1.0 - share))
        cut = _after_word(corpus, cut) if whole_words else cut
        parts = {"train": _Slice(corpus, 0, cut), "valid": _Slice(corpus, cut, corpus.chars)}
    if settings.test is not None:
        parts["test"] = _other(corpus, settings.test)
    if parts["train"].chars == 0 or parts["valid"].chars == 0:
        raise TextError(
            f"the text has {corpus.chars} characters, too few to hold some out; give more text or --valid FILE"
        )
    return parts


def _after_word(corpus: Corpus, place: int) -> int:
    """The first place from ``place`` on that lies within no word; ``place`` where none does."""
    before = max(0, place - 1)
    for piece in corpus.slice_chars(before, corpus.chars):
        if blank := re.search(r"\s", piece):
            return max(place, before + blank.start())
        before += len(piece)
    return place


def _whole(corpus: Corpus | Conversations) -> _Part:
    return corpus if isinstance(corpus, Conversations) else _Slice(corpus, 0, corpus.chars)


def _other(corpus: Corpus | Conversations, name: str) -> _Part:
    """Another file, read as the corpus is."""
    return _whole(type(corpus)([name]))


def _fingerprint(parts: dict[str, _Part], options: TokenizerOptions) -> str:
    what = {
        "format": _FORMAT,
        "parts": {name: part.fingerprint() for name, part in parts.items()},
        "tokenizer": asdict(options),
    }
    return hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=16).hexdigest()


def counted(chunks: Iterator[str], counts: dict[str, int]) -> Iterator[str]:
    """``chunks``, adding up what goes by."""
    for chunk in chunks:
        counts["chars"] += len(chunk)
        counts["bytes"] += len(chunk.encode())
        yield chunk
