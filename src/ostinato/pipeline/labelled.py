"""Files of labelled texts to ids: tokenizer, labels, and the parts to train on, to validate and to test."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures.classifier import check_labels
from ostinato.data.ragged import Ragged
from ostinato.errors import ConfigError, TextError
from ostinato.pipeline.settings import TextSettings
from ostinato.text.labelled import Labelled, read_labelled
from ostinato.text.statistics import TextStatistics, measure_text
from ostinato.text.tokenizer import TokenizerOptions, build, to_json
from ostinato.training.classify import LabelledTexts
from ostinato.types import Tokenizer

NAME_WORDS = 2.5
"""Words of a text, in the mean, up to which it is a name or the like, which letters tell more about than words do."""


@dataclass(frozen=True)
class PreparedTexts:
    """Labelled texts ready to train on."""

    tokenizer: Tokenizer
    options: TokenizerOptions | None
    """What the tokenizer was made with; None where it came along."""
    reason: str
    """Why this level."""
    labels: tuple[str, ...]
    """In the order of their numbers, which is that of letters."""
    parts: dict[str, LabelledTexts]
    """``train``, ``valid`` and, when there is one, ``test``; each in an order that tells nothing about the labels."""
    counts: dict[str, int]
    """Texts to train on by label."""
    chars: dict[str, int]
    """By part."""
    fingerprint: str


def prepare_labelled(
    paths: Sequence[str], settings: TextSettings, given: dict[str, Any], tokenizer: Tokenizer | None = None
) -> PreparedTexts:
    """Read and tokenize labelled texts, with ``tokenizer`` or one made from those to train on.

    ``given`` holds the settings that the user made. Raises TextError when a file cannot be used or has labels that
    training does not have, ConfigError when a setting does not fit it.
    """
    seed = int(given.get("seed", 0))
    raw = _parts(read_labelled(paths), settings, seed)
    counts = dict(sorted(Counter(raw["train"].labels).items()))
    labels = tuple(counts)
    if len(labels) < 2:
        raise TextError(f"every text to train on has the label {labels[0]!r}; expected two labels or more")
    try:
        check_labels(labels)
    except ConfigError as error:
        raise TextError(str(error)) from None
    options, reason = None, "that of the language model"
    if tokenizer is None:
        options, reason = _options(settings, given, measure_text("\n".join(raw["train"].texts)), raw["train"])
        tokenizer = build(options, lambda: iter(["\n".join(raw["train"].texts)]))
    parts = {name: _encode(tokenizer, part, labels) for name, part in raw.items()}
    chars = {name: sum(map(len, part.texts)) for name, part in raw.items()}
    fingerprint = _fingerprint(tokenizer, parts, labels)
    return PreparedTexts(tokenizer, options, reason, labels, parts, counts, chars, fingerprint)


def _parts(data: Labelled, settings: TextSettings, seed: int) -> dict[str, Labelled]:
    share = settings.valid_share
    if share is None:
        parts = {"train": data, "valid": read_labelled([settings.valid])}
    else:
        held_out = _drawn(data.labels, share, seed)
        parts = {"train": _take(data, ~held_out), "valid": _take(data, held_out)}
    if settings.test is not None:
        parts["test"] = read_labelled([settings.test])
    for name in ("train", "valid"):
        if len(parts[name]) == 0:
            raise TextError(f"there are {len(data)} texts, too few to hold some out; give more, or --valid FILE")
    known = set(parts["train"].labels)
    for name, what in (("valid", "held-out"), ("test", "test")):
        strange = next((label for label in parts[name].labels if label not in known), None) if name in parts else None
        if strange is not None:
            named = ", ".join(sorted(known)[:8]) + (", ..." if len(known) > 8 else "")
            raise TextError(f"the {what} texts have the label {strange!r}, never seen in training; expected {named}")
    return {name: _shuffled(part, seed) for name, part in parts.items()}


def _drawn(labels: list[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which texts to hold out: of every label that share, at least one where it has two or more."""
    rng = np.random.default_rng((seed, 1))
    held_out = np.zeros(len(labels), np.bool_)
    every = np.array(labels)
    for label in sorted(set(labels)):
        (here,) = np.nonzero(every == label)
        count = max(round(share * len(here)), int(len(here) > 1))
        held_out[rng.permutation(here)[:count]] = True
    return held_out


def _take(data: Labelled, chosen: NDArray[np.bool_]) -> Labelled:
    pairs = zip(data.labels, data.texts, chosen.tolist(), strict=True)
    kept = [(label, text) for label, text, here in pairs if here]
    return Labelled([label for label, _ in kept], [text for _, text in kept])


def _shuffled(data: Labelled, seed: int) -> Labelled:
    order = np.random.default_rng((seed, 2)).permutation(len(data)).tolist()
    return Labelled([data.labels[i] for i in order], [data.texts[i] for i in order])


def _options(
    settings: TextSettings, given: dict[str, Any], text: TextStatistics, data: Labelled
) -> tuple[TokenizerOptions, str]:
    """The level asked for, or characters for names and words for what is longer."""
    words = sum(len(line.split()) for line in data.texts) / len(data)
    level, reason = settings.level, "as asked for"
    if level == "auto":
        level, reason = "word", f"{words:.1f} words in a text"
        if words <= NAME_WORDS or text.cjk > 0.2:
            level, reason = (
                "char",
                f"{words:.1f} words in a text: names" if text.cjk <= 0.2 else "no blanks between words",
            )
    if level != "word":
        return TokenizerOptions(
            level, settings.vocab, settings.min_count, settings.lower, bool(settings.pretokenized)
        ), reason
    lower = bool(given.get("lower", True))  # a capital letter begins a sentence, it does not make another word
    pretokenized = text.tokenized if settings.pretokenized is None else settings.pretokenized
    min_count = given.get("min_count", 2 if "vocab" not in given else 1)  # so that <unk> is learnt
    return TokenizerOptions(level, settings.vocab, min_count, lower, pretokenized), reason


def _encode(tokenizer: Tokenizer, data: Labelled, labels: tuple[str, ...]) -> LabelledTexts:
    """Every text between the line ends before and after it, which neighbours share."""
    ids = tokenizer.encode("\n" + "\n".join(data.texts) + "\n")
    ends = np.flatnonzero(ids == tokenizer.boundary_id)
    if len(ends) != len(data) + 1:
        raise TextError(f"{len(data)} texts gave {len(ends) - 1} lines of tokens; report this")
    numbers = {label: number for number, label in enumerate(labels)}
    bounds = np.stack([ends[:-1], ends[1:] + 1], axis=1)
    return LabelledTexts(Ragged(ids, bounds), np.array([numbers[label] for label in data.labels], np.int64))


def _fingerprint(tokenizer: Tokenizer, parts: dict[str, LabelledTexts], labels: tuple[str, ...]) -> str:
    digest = hashlib.blake2b(json.dumps([to_json(tokenizer), labels, sorted(parts)]).encode(), digest_size=16)
    for _, part in sorted(parts.items()):
        digest.update(part.texts.ids.tobytes())
        digest.update(part.labels.tobytes())
    return digest.hexdigest()
