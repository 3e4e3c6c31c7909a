"""The manners of the ``kenlm`` module, so that code written for it runs on our models.

    import ostinato.kenlm as kenlm
    model = kenlm.Model("model")          # a model folder, or an ARPA file

All logarithms are to base 10. A recurrent model has no longest gram: its ``order`` is 0, and the length that
``full_scores`` gives is the number of words since the beginning of the sentence, all of which it has read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import total_ordering
from math import log
from pathlib import Path
from typing import Any, NamedTuple

from ostinato.errors import ConfigError
from ostinato.rescoring import load_scorer
from ostinato.score.arpa import BEGIN, ArpaModel, columns
from ostinato.score.recurrent import RecurrentScorer

LN10 = log(10)


def _text(given: str | bytes) -> str:
    """``kenlm`` takes bytes as well, in UTF-8. Raises ConfigError on others."""
    try:
        return given.decode() if isinstance(given, bytes) else given
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start + 1} of {given[:40]!r} is not UTF-8; expected text") from None


class Config:
    """What ``kenlm`` can be told of how a file is loaded; nothing hangs on it here, so anything may be set."""


class FullScoreReturn(NamedTuple):
    """One word's score."""

    log_prob: float
    """log10."""
    ngram_length: int
    """Words of the gram that gave it."""
    oov: bool
    """Whether the vocabulary lacks the word."""


@total_ordering
class State:
    """A place in a sentence, written to by ``Model``. Copy it to keep it."""

    __slots__ = ("_length", "_place")

    def __init__(self) -> None:
        self._place: Any = None
        self._length = 0

    def copy(self) -> State:
        """Another of the same value."""
        state = State()
        state._place, state._length = self._place, self._length
        return state

    __copy__ = copy

    def __deepcopy__(self, _memo: object) -> State:
        return self.copy()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and bool(self._place == other._place)

    def __lt__(self, other: State) -> bool:
        """An order without a meaning, so that states can be sorted."""
        return self != other and (hash(self), repr(self._place)) < (hash(other), repr(other._place))

    def __hash__(self) -> int:
        return hash(self._place)


class Model:
    """A language model of words. ``path`` is text, where ``kenlm`` has bytes. Words and sentences may be both."""

    def __init__(self, path: str | bytes | Path, config: Config | None = None) -> None:  # noqa: ARG002 - kenlm's own
        """``path``: a model folder, or an ARPA file, plain or .gz; ``config`` is taken and not looked at.

        Raises BundleError or TextError when it is missing or damaged, ConfigError for a bidirectional model.
        """
        self.path = str(Path(os.fsdecode(path)).absolute())
        self._scorer = load_scorer(os.fsdecode(path))

    @property
    def order(self) -> int:
        """Words of the longest grams; 0 for a recurrent model."""
        return self._scorer.order if isinstance(self._scorer, ArpaModel) else 0

    def score(self, sentence: str | bytes, bos: bool = True, eos: bool = True) -> float:
        """log10 of the sentence's probability, its words parted by blanks; ``bos`` and ``eos``: that it begins and ends
        there."""
        return sum(word.log_prob for word in self._full_scores(sentence, bos, eos))

    def perplexity(self, sentence: str | bytes) -> float:
        """Of the sentence, per word, its end counted as one."""
        words = len(columns(_text(sentence))) + 1
        return float(10.0 ** (-self.score(sentence) / words))

    def full_scores(
        self, sentence: str | bytes, bos: bool = True, eos: bool = True
    ) -> Iterator[tuple[float, int, bool]]:
        """log10 p, length of the gram, and whether it is unknown, of each word and of the end."""
        return ((word.log_prob, word.ngram_length, word.oov) for word in self._full_scores(sentence, bos, eos))

    def _full_scores(self, sentence: str | bytes, bos: bool, eos: bool) -> Iterator[FullScoreReturn]:
        state, after = State(), State()
        (self.BeginSentenceWrite if bos else self.NullContextWrite)(state)
        for word in columns(_text(sentence)):
            yield self.BaseFullScore(state, word, after)
            state, after = after, state
        if eos:
            yield self.BaseFullScore(state, "</s>", after)

    def BeginSentenceWrite(self, state: State) -> None:  # noqa: N802 - kenlm's names
        """Make ``state`` the beginning of a sentence."""
        state._place, state._length = self._scorer.begin(), 1

    def NullContextWrite(self, state: State) -> None:  # noqa: N802
        """Make ``state`` one that has read nothing; a recurrent model always begins after a line end."""
        state._place = () if isinstance(self._scorer, ArpaModel) else self._scorer.begin()
        state._length = 0

    def BaseScore(self, in_state: State, word: str | bytes, out_state: State) -> float:  # noqa: N802
        """log10 p of ``word`` after ``in_state``; ``out_state`` becomes the state after it."""
        return self.BaseFullScore(in_state, word, out_state).log_prob

    def BaseFullScore(  # noqa: N802
        self, in_state: State, word: str | bytes, out_state: State
    ) -> FullScoreReturn:
        """As ``BaseScore``, with the length of the gram and whether the word is unknown."""
        if in_state._place is None:
            raise ConfigError("the state was never written; call BeginSentenceWrite or NullContextWrite first")
        scorer, place, length = self._scorer, in_state._place, in_state._length
        word = _text(word)
        if isinstance(scorer, ArpaModel):
            logs, lengths, codes = scorer.log10(scorer.pack([place]), scorer.encode([word]))
            out_state._place, out_state._length = scorer.unpack(codes)[0], length + 1
            return FullScoreReturn(float(logs[0]), int(lengths[0]), word not in scorer)
        if word == "</s>":
            logprob, out_state._place = float(scorer.end([place])[0]), scorer.begin()
            out_state._length = 1
            return FullScoreReturn(logprob / LN10, length + 1, False)
        logprobs, (out_state._place,) = scorer.extend([place], [word])
        out_state._length = length + 1
        return FullScoreReturn(float(logprobs[0]) / LN10, length + 1, word not in scorer)

    def __contains__(self, given: str | bytes) -> bool:
        """Whether the vocabulary has the word."""
        word = _text(given)
        return word in self._scorer or (isinstance(self._scorer, RecurrentScorer) and word in (BEGIN, "</s>"))

    def __repr__(self) -> str:
        return f"<Model from {Path(self.path).name}>"


LanguageModel = Model
