"""Fusion at the level of words: language models of words, and hot words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np

from ostinato.config import check_range
from ostinato.ctc.fusion import Context, check_kind, checked
from ostinato.ctc.labels import Labels, LogProbs
from ostinato.ctc.lexicon import Lexicon
from ostinato.errors import ConfigError
from ostinato.score.scorer import Scorer

S = TypeVar("S")
Hope = Callable[[str], float | None]
Trie = dict[str, tuple[list[int], "Trie"]]
"""By letter: the labels that end with it, and how others go on."""

BYTES = 1 << 26
"""Of the gains that are kept at hand, by the beginnings of words that they are for."""


class _Ahead:
    """What a label adds to hopes of the word that it goes on with, begins or ends.

    ``hope(part)`` is what is hoped of a word of which ``part`` is said, None where no word that is listed begins so,
    which is worth ``nowhere``; ``done(word)`` is what a word is worth when it is over, as far as is known without a
    model. As a word goes on, one hope takes the place of another, so that together they come to what its end is worth.
    """

    def __init__(self, labels: Labels, hope: Hope, nowhere: float, done: Callable[[str], float]) -> None:
        """Raises ConfigError where no label has a blank: then there are no words."""
        texts = labels.texts
        if not any(text.startswith(" ") for text in texts):
            raise ConfigError("no label begins a word, so there is no end of one; expected a label for the blank")
        self.begins = tuple(text.startswith(" ") for text in texts)
        self.rest = tuple(text.removeprefix(" ") for text in texts)
        self._hope, self._nowhere, self._done = hope, nowhere, done
        self._first = np.array(
            [self.begun(rest) if begins else 0.0 for rest, begins in zip(self.rest, self.begins, strict=True)]
        )
        self._trie = _trie(texts)  # no part of a word has a blank, so labels that begin one lead nowhere in it
        self.gains = lru_cache(max(1, BYTES // (8 * len(texts))))(self._gains)

    def begun(self, part: str) -> float:
        """What is hoped of a word of which ``part`` is said; nothing where none has begun."""
        if not part:
            return 0.0
        hope = self._hope(part)
        return self._nowhere if hope is None else hope

    def _gains(self, part: str) -> LogProbs:
        """``(V,)``, after the word that has begun with ``part``; empty: none has."""
        over = (self._done(part) if part else 0.0) + self._first
        return np.where(self.begins, over, self._on(part)) - self.begun(part)

    def _on(self, part: str) -> LogProbs:
        """What is hoped when a label goes on, ``(V,)``: only those that lead to a listed word are looked at."""
        hopes = np.full(len(self.rest), self._nowhere)
        waiting = [(part, self._trie)]
        while waiting:
            said, trie = waiting.pop()
            for letter, (labels, below) in trie.items():
                hope = self._hope(said + letter)
                if hope is not None:
                    hopes[labels] = hope
                    waiting.append((said + letter, below))
        return hopes

    def step(self, part: str, label: int) -> tuple[str, str]:
        """The word that ``label`` ends, empty for none, and what it leaves begun."""
        return (part, self.rest[label]) if self.begins[label] else ("", part + self.rest[label])


def _trie(texts: Iterable[str]) -> Trie:
    """Of the texts of labels."""
    root: Trie = {}
    for label, text in enumerate(texts):
        node, labels = root, list[int]()
        for letter in text:
            labels, node = node.setdefault(letter, ([], {}))
        labels.append(label)
    return root


@dataclass(frozen=True)
class _Said(Generic[S]):
    """Up to the last word that is over, and what is said of the next."""

    extra: float
    language: float
    model: S
    part: str = ""


class WordModel(Generic[S]):
    """A language model of words, asked when a word ends.

    To the score of a prefix every word adds ``weight * log p(word | those before)``, plus ``bonus`` (without it a
    model favours few and long words), plus ``unknown`` where the model does not know it; the end of the sentence adds
    ``weight * log p``. With a ``lexicon`` a word that has only begun already adds what the likeliest word with this
    beginning would add by its frequency alone: so a beam does not fill with beginnings that lead nowhere, and the
    model's judgement does not come as a shock.
    """

    def __init__(
        self,
        scorer: Scorer[S],
        labels: Labels,
        *,
        lexicon: Lexicon | None = None,
        weight: float = 0.5,
        bonus: float = 1.0,
        unknown: float = -10.0,
    ) -> None:
        """Raises ConfigError when a number is out of range, no label ends a word, or the labels can spell hardly any
        word of the lexicon."""
        check_kind("scorer", scorer, "extend", "a scorer of words, as rescoring.load_scorer gives it")
        check_range("weight", weight, 0.0, 100.0)
        check_range("bonus", bonus, -100.0, 100.0)
        check_range("unknown", unknown, -1000.0, 0.0)
        if lexicon is not None:
            lexicon.check_letters({*"".join(labels.texts)})
        self._scorer, self._lexicon = scorer, lexicon
        self._weight, self._bonus, self._unknown = weight, bonus, unknown
        nowhere = 0.0 if lexicon is None else self._worth(None)
        self._ahead = _Ahead(labels, self._hope, nowhere, self._done)

    def _hope(self, part: str) -> float | None:
        best = None if self._lexicon is None else self._lexicon.below(part).best
        return None if best is None else self._worth(best)

    def _done(self, word: str) -> float:
        return self._bonus if self._lexicon is None else self._worth(self._lexicon.below(word).own)

    def _worth(self, logprob: float | None) -> float:
        """Of a word with that frequency; None: of one that is not in the lexicon."""
        if logprob is not None:
            return self._weight * logprob + self._bonus
        assert self._lexicon is not None
        return self._weight * self._lexicon.least + self._bonus + self._unknown

    def start(self) -> Context:
        """Of the empty prefix."""
        return self._context(_Said(0.0, 0.0, self._scorer.begin()))

    def _context(self, said: _Said[S]) -> Context:
        part = said.part
        return Context(said.extra + self._ahead.begun(part), self._ahead.gains(part), said.language, said)

    def follow(self, contexts: Sequence[Context], labels: Sequence[int]) -> list[Context]:
        """Of prefixes, each with a label more."""
        steps = [self._ahead.step(each.state.part, label) for each, label in zip(contexts, labels, strict=True)]
        said = self._hear([each.state for each in contexts], [word for word, _ in steps])
        return [
            self._context(_Said(each.extra, each.language, each.model, part))
            for each, (_, part) in zip(said, steps, strict=True)
        ]

    def _hear(self, said: Sequence[_Said[S]], words: Sequence[str]) -> list[_Said[S]]:
        """After a word each; an empty one changes nothing."""
        heard = list(said)
        ends = [n for n, word in enumerate(words) if word]
        if ends:
            logprobs, models = self._scorer.extend([said[n].model for n in ends], [words[n] for n in ends])
            for n, logprob, model in zip(ends, checked(logprobs).tolist(), models, strict=True):
                extra = self._weight * logprob + self._bonus + (0.0 if words[n] in self._scorer else self._unknown)
                heard[n] = _Said(said[n].extra + extra, said[n].language + logprob, model)
        return heard

    def finish(self, contexts: Sequence[Context]) -> list[Context]:
        """Of prefixes at which the sentence is over."""
        said = self._hear([each.state for each in contexts], [each.state.part for each in contexts])
        ends = checked(self._scorer.end([each.model for each in said])).tolist()
        return [
            Context(each.extra + self._weight * end, np.zeros(0), each.language + end)
            for each, end in zip(said, ends, strict=True)
        ]


class HotWords:
    """Words that are likely to be said here: names, terms, commands. Each adds its boost, in nats, whenever it is said.

    Of a word that has begun as a hot one does, the share of its letters that is said already counts; where it goes on
    in another way, that is taken back.
    """

    def __init__(self, boosts: Mapping[str, float], labels: Labels) -> None:
        """``boosts`` from 0 to 100. Raises ConfigError on another, on a blank in a word, on a letter that no label has,
        and as WordModel does."""
        check_kind("boosts", boosts, "items", "a mapping of words to nats")
        letters = set("".join(labels.texts))
        for word, boost in boosts.items():
            if not word or word.split() != [word]:
                raise ConfigError(f"the hot word {word!r} is not one word; give the words of a phrase one by one")
            if odd := [letter for letter in word if letter not in letters]:
                raise ConfigError(f"no label has the {odd[0]!r} of the hot word {word!r}; spell it as the labels do")
            check_range(f"boost of {word!r}", boost, 0.0, 100.0)
        self._boosts = dict(boosts)
        shares: dict[str, float] = {}
        for word, boost in boosts.items():
            for size in range(1, len(word) + 1):
                shares[word[:size]] = max(shares.get(word[:size], 0.0), boost * size / len(word))
        self._ahead = _Ahead(labels, shares.get, 0.0, self._done)

    def _done(self, word: str) -> float:
        return self._boosts.get(word, 0.0)

    def start(self) -> Context:
        """Of the empty prefix."""
        return self._context(0.0, "")

    def _context(self, extra: float, part: str) -> Context:
        return Context(extra + self._ahead.begun(part), self._ahead.gains(part), 0.0, (extra, part))

    def follow(self, contexts: Sequence[Context], labels: Sequence[int]) -> list[Context]:
        """Of prefixes, each with a label more."""
        found = []
        for (extra, part), label in zip((each.state for each in contexts), labels, strict=True):
            word, part = self._ahead.step(part, label)
            found.append(self._context(extra + self._done(word), part))
        return found

    def finish(self, contexts: Sequence[Context]) -> list[Context]:
        """Of prefixes at which the last word is over."""
        return [Context(extra + self._done(part), np.zeros(0)) for extra, part in (each.state for each in contexts)]
