"""A trained classifier in Python, without torch: labels with probabilities, and what each token contributes to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import bundle
from ostinato.architectures.classifier import ClassifierConfig
from ostinato.bundle import Bundle
from ostinato.engine.classifier import TOKENS, ClassifierEngine
from ostinato.score.calibration import softmax
from ostinato.text import tokenizer as tokenizers
from ostinato.types import Floats, Tokenizer

LINES = 1024
"""Texts that are read and sorted by length together."""


@dataclass(frozen=True)
class Classified:
    """A text's label."""

    label: str
    """The likeliest."""
    probability: float
    """Its own: calibrated on the texts that were held out in training."""
    probabilities: Mapping[str, float]
    """Of every label, in the order of the model's."""


@dataclass(frozen=True)
class Contribution:
    """What a token of a text does for the label that was predicted."""

    token: str
    start: int
    """Where it begins in the text, in characters."""
    end: int
    log_odds: float
    """By how much the log-odds ``log p / (1 - p)`` of the label fall when the token is left out: above zero it speaks
    for the label, below zero against it."""


class Classifier:
    """A classifier and its tokenizer."""

    def __init__(
        self,
        model: ClassifierConfig,
        tensors: Mapping[str, Floats],
        tokenizer: Tokenizer,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """``tensors`` as in a bundle. Raises BundleError when the tokenizer does not match the weights."""
        bundle.check_vocabulary(tokenizer.vocab_size, model.layers.vocab)
        self.engine = ClassifierEngine(model, tensors, tokenizer.boundary_id)
        self.model, self.tokenizer = model, tokenizer
        self.training: dict[str, Any] = dict(training or {})

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order of the scores."""
        return self.model.labels

    def classify(self, texts: str | Iterable[str]) -> list[Classified]:
        """The label of each of ``texts``, or of the only one."""
        return [*self.stream([texts] if isinstance(texts, str) else texts)]

    def stream(self, texts: Iterable[str]) -> Iterator[Classified]:
        """As ``classify``, of any number of texts, LINES of them in memory at once."""
        texts = iter(texts)
        while block := [*islice(texts, LINES)]:
            logits = self.engine.logits([self.tokenizer.encode(text) for text in block])
            for shares in softmax(logits, self.model.temperature):
                best = int(shares.argmax())
                probabilities = dict(zip(self.labels, shares.tolist(), strict=True))
                yield Classified(self.labels[best], float(shares[best]), probabilities)

    def contributions(self, text: str) -> list[Contribution]:
        """What each token of ``text`` contributes to the label that ``classify`` gives it, in their order.

        The text is read again without each token in turn (occlusion, Zeiler and Fergus 2014; Li et al. 2016): exact,
        whatever the model is made of, at the cost of as many readings as there are tokens. The figures need not add
        up: of two tokens that say the same, either can be left out.
        """
        ids, spans = self.tokenizer.encode_with_spans(text)
        whole = self.engine.logits([ids])
        label = int(whole[0].argmax())
        before = self._log_odds(whole, label)[0]
        without: list[float] = []
        count = max(1, TOKENS // (len(ids) + 1))  # so that memory does not grow with the square of the length
        for first in range(0, len(ids), count):
            some = range(first, min(first + count, len(ids)))
            without += self._log_odds(self.engine.logits([np.delete(ids, t) for t in some]), label).tolist()
        pieces = zip(spans.tolist(), without, strict=True)
        return [Contribution(text[start:end], start, end, float(before - after)) for (start, end), after in pieces]

    def _log_odds(self, logits: Floats, label: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """``log p / (1 - p)`` of a label, from scores ``(n, C)``: exact also where the others are next to nothing."""
        scores = logits.astype(np.float64) / self.model.temperature
        others = np.delete(scores, label, axis=1)
        top = others.max(axis=1, keepdims=True)
        rest: np.ndarray[Any, np.dtype[np.float64]] = top[:, 0] + np.log(np.exp(others - top).sum(axis=1))
        return scores[:, label] - rest


def load(folder: str | Path) -> Classifier:
    """The classifier in a folder that ``train`` or ``export`` made.

    Raises BundleError when it is missing, damaged or foreign, or a model for another task.
    """
    return classifier(bundle.load_kind(folder, ClassifierConfig))


def classifier(found: Bundle[ClassifierConfig]) -> Classifier:
    """The model of a folder as read."""
    return Classifier(found.model, found.tensors, tokenizers.load(found.tokenizer_paths[0]), found.training)
