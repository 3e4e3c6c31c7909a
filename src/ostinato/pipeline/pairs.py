"""Two aligned texts, line by line translations of each other, to pairs of ids on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.data.ragged import Ragged
from ostinato.data.store import Store, open_store, write_store
from ostinato.errors import BundleError, ConfigError, TextError
from ostinato.pipeline.level import Level, choose_level
from ostinato.pipeline.prepare import counted
from ostinato.pipeline.settings import TextSettings
from ostinato.text.corpus import Corpus
from ostinato.text.sources import cache_folder
from ostinato.text.statistics import measure
from ostinato.text.tokenizer import TokenizerOptions, build, encode_chunks, load, to_json
from ostinato.training.pairs import PairText
from ostinato.types import Tokenizer

_FORMAT = 1  # of what a fingerprint stands for; raise it when the same settings come to mean other ids
SIDES = ("source", "target")
_PIECES = 4  # times those of a language model: of two languages, and short lines want few steps
_MOST_PIECES = 8192
Files = tuple[str, str]
"""Of the sources, and of their translations."""


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs ready to train on."""

    tokenizers: tuple[Tokenizer, Tokenizer]
    """Of both sides; the same one where they share it."""
    parts: Mapping[str, PairText]
    """``train``, ``valid`` and, when there is one, ``test``."""
    level: Level
    fingerprint: str
    reused: bool
    chars: int
    """Of the targets that are trained on."""
    blank: int
    """Pairs that were left out because a side is empty."""


def prepare_pairs(
    texts: Sequence[str], settings: TextSettings, *, shared: bool, minutes: float | None
) -> PreparedPairs:
    """Read, tokenize and store two texts. Raises TextError or ConfigError when they cannot be used."""
    if len(texts) != 2:
        raise ConfigError(f"translate takes two files, a text and its translation line by line; {len(texts)} came")
    files = {"train": (texts[0], texts[1]), **_others(settings)}
    corpora = {part: tuple(Corpus([name]) for name in names) for part, names in files.items()}
    level = _level(settings, corpora["train"], minutes)
    fingerprint = _fingerprint(corpora, level.options, shared)
    folder = cache_folder() / "ids" / fingerprint
    kept = _kept(folder, shared)
    if kept is None:
        tokenizers = _learn(level, corpora["train"], shared)
        store = _write(folder, tokenizers, corpora)
    else:
        tokenizers, store = kept
    found = {part: _pairs(store, part, names, tokenizers) for part, names in files.items()}
    parts = {part: pairs for part, (pairs, _) in found.items()}
    if "valid" not in parts:
        parts |= _split(parts["train"], settings.valid_share or 0.1)
    for part, pairs in parts.items():
        if len(pairs) == 0:
            raise TextError(f"{files.get(part, files['train'])[0]} gives no pair of lines for {part}; give more text")
    chars = store.facts["train.target"]["chars"]
    return PreparedPairs(tokenizers, parts, level, fingerprint, kept is not None, chars, found["train"][1])


def _others(settings: TextSettings) -> dict[str, Files]:
    """The files of the parts that are not trained on, each named as ``SOURCE,TARGET``."""
    named = {"valid": settings.valid if settings.valid_share is None else None, "test": settings.test}
    files: dict[str, Files] = {}
    for part, names in named.items():
        if names is not None:
            source, comma, target = names.partition(",")
            if not (comma and source and target):
                raise ConfigError(f"{part} is {names!r}; for translate name both files: --{part} SOURCE,TARGET")
            files[part] = (source, target)
    return files


def _level(settings: TextSettings, corpora: Sequence[Corpus], minutes: float | None) -> Level:
    text = measure(Corpus([name for corpus in corpora for name in corpus.names]))
    level = choose_level(settings, text, minutes)
    if level.options.vocab is None or settings.vocab is not None:
        return level
    return replace(level, options=replace(level.options, vocab=min(_MOST_PIECES, _PIECES * level.options.vocab)))


def _learn(level: Level, corpora: Sequence[Corpus], shared: bool) -> tuple[Tokenizer, Tokenizer]:
    if not shared:
        source, target = (_build(level, [corpus]) for corpus in corpora)
        return source, target
    both = _build(level, corpora)
    return both, both


def _build(level: Level, corpora: Sequence[Corpus]) -> Tokenizer:
    def chunks() -> Iterator[str]:
        return (chunk for corpus in corpora for chunk in corpus.chunks())

    try:
        return build(level.options, chunks)
    except TextError:
        if not level.at_most:
            raise
        return build(replace(level.options, vocab=None), chunks)


def _write(folder: Path, tokenizers: Sequence[Tokenizer], corpora: Mapping[str, Sequence[Corpus]]) -> Store:
    streams, counts = {}, {}
    for part, texts in corpora.items():
        for side, tokenizer, corpus in zip(SIDES, tokenizers, texts, strict=True):
            name = f"{part}.{side}"
            counts[name] = {"chars": 0, "bytes": 0}
            streams[name] = encode_chunks(tokenizer, counted(corpus.chunks(), counts[name]))
    also = {f"{side}.json": to_json(tokenizer) for side, tokenizer in zip(SIDES, tokenizers, strict=True)}
    return write_store(folder, max(tokenizer.vocab_size for tokenizer in tokenizers), streams, counts, also)


def _kept(folder: Path, shared: bool) -> tuple[tuple[Tokenizer, Tokenizer], Store] | None:
    """What an earlier run left in ``folder``; None when it is not there or not whole."""
    store = open_store(folder)
    if store is None:
        return None
    try:
        source, target = (load(folder / f"{side}.json") for side in SIDES)
    except BundleError:  # damaged: it is made anew
        return None
    return (target if shared else source, target), store


def _pairs(store: Store, part: str, names: Files, tokenizers: Sequence[Tokenizer]) -> tuple[PairText, int]:
    """The pairs of a part, and how many were left out because a side is empty."""
    sides = [
        Ragged.lines(store.parts[f"{part}.{side}"], tokenizer.boundary_id)
        for side, tokenizer in zip(SIDES, tokenizers, strict=True)
    ]
    lines = [len(side) for side in sides]
    if lines[0] != lines[1]:
        raise TextError(
            f"{names[0]} has {lines[0]:,} lines, {names[1]} has {lines[1]:,}; expected line by line translations"
        )
    whole = np.flatnonzero((sides[0].lengths > 0) & (sides[1].lengths > 0))
    kept = PairText(sides[0].take(whole), sides[1].take(whole), tokenizers[1].boundary_id)
    return kept, lines[0] - len(whole)


def _split(pairs: PairText, share: float) -> dict[str, PairText]:
    """The last lines are held out."""
    cut = int(len(pairs) * (1.0 - share))
    return {"train": _range(pairs, np.arange(cut)), "valid": _range(pairs, np.arange(cut, len(pairs)))}


def _range(pairs: PairText, index: NDArray[np.intp]) -> PairText:
    return replace(pairs, sources=pairs.sources.take(index), targets=pairs.targets.take(index))


def _fingerprint(corpora: Mapping[str, Sequence[Corpus]], options: TokenizerOptions, shared: bool) -> str:
    what = {
        "format": _FORMAT,
        "pairs": {part: [corpus.fingerprint() for corpus in texts] for part, texts in corpora.items()},
        "tokenizer": asdict(options),
        "shared": shared,
    }
    return hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=16).hexdigest()
