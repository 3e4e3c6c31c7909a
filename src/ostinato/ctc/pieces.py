"""Fusion at every label: a language model whose tokens are the labels, characters or pieces of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ostinato.config import check_range
from ostinato.ctc.fusion import Context, check_kind, checked
from ostinato.ctc.labels import Labels, LogProbs
from ostinato.errors import ConfigError
from ostinato.types import Floats, RecurrentModel, State, Tokenizer


@dataclass(frozen=True)
class _Read:
    """What the model makes of a prefix: its row of the states of all prefixes that were new together, and ``log p`` of
    each label ``(V,)`` and of the end."""

    batch: State
    row: int
    logprobs: LogProbs
    end: float


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
        """Raises ConfigError when a number is out of range, a label is no token of the model, or that is none."""
        check_kind("model", model, "step", "what reads tokens, as language_model.forward() gives it")
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
        """After a step of the model: ``logits (N, V)`` and the states of ``N`` prefixes."""
        scores = logits.astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        scores = checked(scores)
        logprobs, ends = scores[:, self._tokens], scores[:, self._end].tolist()
        gains = self._weight * logprobs + self._bonus
        return [
            Context(extra, gains[n], language, _Read(state, n, logprobs[n], ends[n]))
            for n, (extra, language) in enumerate(zip(extras, languages, strict=True))
        ]

    def follow(self, contexts: Sequence[Context], labels: Sequence[int]) -> list[Context]:
        """Of prefixes, each with a label more: one step of the model for all."""
        batches: dict[int, list[int]] = {}
        for n, each in enumerate(contexts):
            batches.setdefault(id(each.state.batch), []).append(n)
        order = [n for batch in batches.values() for n in batch]
        state = State.stack(
            [contexts[batch[0]].state.batch.rows([contexts[n].state.row for n in batch]) for batch in batches.values()]
        )
        logits, state = self._model.step(self._tokens[np.array([labels[n] for n in order])], state)
        extras = [contexts[n].extra + float(contexts[n].gains[labels[n]]) for n in order]
        languages = [contexts[n].language + float(contexts[n].state.logprobs[labels[n]]) for n in order]
        found = dict(zip(order, self._contexts(extras, languages, logits, state), strict=True))
        return [found[n] for n in range(len(contexts))]

    def finish(self, contexts: Sequence[Context]) -> list[Context]:
        """Of prefixes at which the text is over."""
        return [
            Context(each.extra + self._weight * each.state.end, np.zeros(0), each.language + each.state.end)
            for each in contexts
        ]


def _tokens(tokenizer: Tokenizer, labels: Labels) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The token of each label ``(V,)``; that of CTC's blank is never asked for."""
    known = {tokenizer.piece(token): token for token in reversed(range(tokenizer.vocab_size))}
    found = [known.get(text.encode(), -1) for text in labels.texts]
    found[labels.blank] = tokenizer.boundary_id
    if -1 in found:
        missing = ", ".join(repr(text) for text, token in zip(labels.texts, found, strict=True) if token < 0)
        raise ConfigError(
            f"the language model has no token {missing:.80} ({tokenizer.level} level), which the recogniser's labels "
            "have; train it on text that has them, or use a model of words"
        )
    return np.array(found, np.int64)
