"""Fusion at every label: a language model whose tokens are the labels, characters or pieces of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ostinato.config import check_range
from ostinato.ctc.fusion import Context, checked
from ostinato.ctc.labels import Labels, LogProbs
from ostinato.errors import ConfigError
from ostinato.types import Floats, RecurrentModel, State, Tokenizer


class LabelModel:
    """A language model that reads label after label: characters, or BPE pieces that both sides share.

    Every label adds ``weight * log p(label | those before) + bonus`` to the score of a prefix, the end of the text
    ``weight * log p(end)``. A model of other tokens than the labels is asked word by word: ``WordModel``.
    """

    def __init__(
        self,
        model: RecurrentModel,
        tokenizer: Tokenizer,
        labels: Labels,
        *,
        weight: float = 0.5,
        bonus: float = 0.5,
    ) -> None:
        """Raises ConfigError when a number is out of range, or a label is no token of the model."""
        check_range("weight", weight, 0.0, 100.0)
        check_range("bonus", bonus, -100.0, 100.0)
        self._model, self._weight, self._bonus = model, weight, bonus
        self._end = tokenizer.boundary_id
        self._tokens = _tokens(tokenizer, labels)

    def start(self) -> Context:
        """Of the empty prefix."""
        state = self._model.start(1)
        return self._contexts([0.0], [0.0], self._model.logits(state), state)[0]

    def _contexts(
        self, extras: Sequence[float], languages: Sequence[float], logits: Floats, state: State
    ) -> list[Context]:
        scores = logits.astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        scores = checked(scores)
        rows = zip(extras, languages, scores[:, self._tokens], scores[:, self._end].tolist(), strict=True)
        return [
            Context(extra, self._gains(row), language, (state, n, row, end))
            for n, (extra, language, row, end) in enumerate(rows)
        ]

    def _gains(self, row: LogProbs) -> LogProbs:
        return self._weight * row + self._bonus

    def follow(self, contexts: Sequence[Context], labels: Sequence[int]) -> list[Context]:
        """Of prefixes, each with a label more: one step of the model for all."""
        state = State.stack([state.rows([n]) for state, n, _, _ in (each.state for each in contexts)])
        logits, state = self._model.step(self._tokens[np.array(labels)], state)
        extras = [each.extra + float(each.gains[label]) for each, label in zip(contexts, labels, strict=True)]
        languages = [each.language + float(each.state[2][label]) for each, label in zip(contexts, labels, strict=True)]
        return self._contexts(extras, languages, logits, state)

    def finish(self, contexts: Sequence[Context]) -> list[Context]:
        """Of prefixes at which the text is over."""
        ends = [each.state[3] for each in contexts]
        return [
            Context(each.extra + self._weight * end, np.zeros(0), each.language + end)
            for each, end in zip(contexts, ends, strict=True)
        ]


def _tokens(tokenizer: Tokenizer, labels: Labels) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The token of each label ``(V,)``; that of CTC's blank is never asked for."""
    known = {tokenizer.piece(token): token for token in reversed(range(tokenizer.vocab_size))}
    found = [known.get(text.encode(), -1) for text in labels.texts]
    found[labels.blank] = tokenizer.boundary_id
    if -1 in found:
        missing = labels.texts[found.index(-1)]
        raise ConfigError(
            f"the language model has no token {missing!r} ({tokenizer.level} level); train it on text with all labels, "
            "or use it word by word (WordModel)"
        )
    return np.array(found, np.int64)
