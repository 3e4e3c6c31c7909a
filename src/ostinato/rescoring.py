"""Rescoring n-best lists with language models: which hypothesis is best once they have had their say, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato import language_model
from ostinato.config import check_choice, check_range, did_you_mean
from ostinato.errors import ConfigError
from ostinato.score.arpa import ArpaModel, read_arpa
from ostinato.score.recurrent import RecurrentScorer
from ostinato.score.scorer import Scorer
from ostinato.score.sentences import score_sentences
from ostinato.score.tune import STARTS, Candidates, folds, tune
from ostinato.score.wer import Errors, confidence_interval, word_errors
from ostinato.text.nbest import TEXT, TOTAL, NBest
from ostinato.text.spoken import join_clitics, treebank_text

TOGETHER = 512
"""Hypotheses that are scored at once; a list stays whole."""
WORDS = "words"
"""The score that counts words: its weight is what a word is worth beside what it costs."""
UNKNOWN = " unknown"
"""After a model's name: the score that counts words which it does not know."""
WER_TEXTS = ("as-is", "join")
MODEL_TEXTS = ("as-is", "treebank")


@dataclass(frozen=True)
class RescoreOptions:
    """How lists are rescored."""

    weights: Mapping[str, float] | None = None
    """Of the scores, by name; those left out are 0. None: tuned on the references, by cross-validation."""
    folds: int = 10
    """Each part of so many, or of as many as there are lists, is chosen by weights that were tuned on the others."""
    starts: int = STARTS
    """Places that the search for weights begins from."""
    seed: int = 0
    """Of folds, starts and the bootstrap."""
    wer_text: str = "join"
    """What is compared: ``as-is``, or ``join``: in lower case, with clitics joined (``was n't`` is ``wasn't``)."""
    model_text: str = "as-is"
    """What a model reads: ``as-is``, or ``treebank``: in lower case, clitics split off, numbers in digits as words."""

    def __post_init__(self) -> None:
        check_choice("wer_text", self.wer_text, WER_TEXTS)
        check_choice("model_text", self.model_text, MODEL_TEXTS)
        check_range("folds", self.folds, 2, 1 << 20)
        check_range("starts", self.starts, 1, 1 << 20)
        check_range("seed", self.seed, 0, 1 << 32)


@dataclass(frozen=True)
class Choice:
    """One list, rescored."""

    source: NBest
    scores: NDArray[np.float64]
    """``(M, K)``: every score of every hypothesis, those of the models among them."""
    totals: NDArray[np.float64]
    """``(M,)``: their weighted sums."""
    errors: tuple[Errors, ...] = ()
    """Of each hypothesis; empty without a reference."""

    @property
    def order(self) -> list[int]:
        """The hypotheses, the best first."""
        return [int(n) for n in np.argsort(-self.totals, kind="stable")]

    @property
    def best(self) -> str:
        """The text of the best hypothesis."""
        return self.source.hypotheses[self.order[0]].text


@dataclass(frozen=True)
class System:
    """How well one way of choosing does."""

    errors: Errors
    interval: tuple[float, float]
    """Of its word error rate: 95%, by the bootstrap over utterances."""


@dataclass(frozen=True)
class Rescored:
    """What came of it."""

    names: tuple[str, ...]
    """Of the scores."""
    weights: Mapping[str, float]
    """Those given, or tuned on all lists: for other lists than these."""
    tuned: bool
    """Whether each list was chosen by weights that other lists gave."""
    choices: tuple[Choice, ...]
    systems: Mapping[str, System] = field(default_factory=dict)
    """``first`` (the order the lists came in), ``rescored``, ``oracle``; empty without references."""
    gain: tuple[float, float, float] | None = None
    """Word error rate of ``first`` less that of ``rescored``, and the 95% interval of it, paired."""

    @property
    def changed(self) -> Iterator[Choice]:
        """The lists whose best hypothesis is not the one that came first."""
        return (choice for choice in self.choices if choice.best != choice.source.hypotheses[0].text)


def load_scorer(path: str | Path) -> ArpaModel | RecurrentScorer:
    """The scorer of a model folder, or of an ARPA file, plain or .gz.

    Raises BundleError, TextError, and ConfigError for a bidirectional model.
    """
    if not Path(path).is_file():
        model = language_model.load(path)
        return RecurrentScorer(model.forward(), model.tokenizer)
    return read_arpa(path)


def rescore(
    scorers: Mapping[str, Scorer[Any]], lists: Sequence[NBest], options: RescoreOptions | None = None
) -> Rescored:
    """Score every hypothesis by every one of ``scorers``, and choose by the weighted sum of these and its own scores.

    Beside them stand the number of words, and of words that a model does not know where there are any. Raises
    ConfigError on weights of scores that there are not, on a score ``words`` that is another, and when there is neither
    a weight nor a reference.
    """
    options = options or RescoreOptions()
    names, features = _features(scorers, lists, options)
    errors = [_errors(one, options.wer_text) for one in lists]
    referred = [n for n, found in enumerate(errors) if found]
    if options.weights is not None:
        weights = _given(options.weights, names)
        by_list = [weights] * len(lists)
    elif len(referred) < 2:
        found = "one list has a reference" if referred else "the lists have no references"
        raise ConfigError(
            f"{found}, and weights are tuned on some and tried on others; "
            f"give references, or a weight for some of {', '.join(names)}"
        )
    else:
        weights, by_list = _tuned(features, errors, referred, options)
    choices = tuple(
        Choice(one, scores, scores @ own, tuple(found))
        for one, scores, own, found in zip(lists, features, by_list, errors, strict=True)
    )
    judged = [choices[n] for n in referred]
    return Rescored(
        names,
        dict(zip(names, weights.tolist(), strict=True)),
        options.weights is None,
        choices,
        _systems(judged, options.seed),
        _gain(judged, options.seed),
    )


# Scores


def _features(
    scorers: Mapping[str, Scorer[Any]], lists: Sequence[NBest], options: RescoreOptions
) -> tuple[tuple[str, ...], list[NDArray[np.float64]]]:
    """The names ``(K,)`` and of each list the scores ``(M, K)``."""
    own = list(lists[0].hypotheses[0].scores)
    texts = [[_for_model(h.text, options).split() for h in one.hypotheses] for one in lists]
    columns = {name: [np.array([h.scores[name] for h in one.hypotheses]) for one in lists] for name in own}
    for name, scorer in scorers.items():
        shown = name if name not in (*columns, WORDS, TEXT, TOTAL) else f"model {name}"
        columns[shown] = _scored(scorer, texts)
        unknown = [np.array([sum(word not in scorer for word in text) for text in one], float) for one in texts]
        if shown + UNKNOWN in (options.weights or {}) or any(each.any() for each in unknown):
            columns[shown + UNKNOWN] = unknown
    counts = [np.array([len(h.text.split()) for h in one.hypotheses], float) for one in lists]
    for one, given, count in zip(lists, columns.get(WORDS, counts), counts, strict=True):
        if (given != count).any():
            raise ConfigError(f"{one.where} has a score {WORDS} that is not the number of words; give it another name")
    columns[WORDS] = counts
    features = [np.stack([columns[name][n] for name in columns], axis=1) for n in range(len(lists))]
    return tuple(columns), features


def _for_model(text: str, options: RescoreOptions) -> str:
    return treebank_text(text) if options.model_text == "treebank" else text


def _scored(scorer: Scorer[Any], texts: Sequence[Sequence[Sequence[str]]]) -> list[NDArray[np.float64]]:
    """Log-probabilities of the hypotheses of each list."""
    found: list[NDArray[np.float64]] = []
    for block in _blocks(texts):
        flat = score_sentences(scorer, [text for one in block for text in one])
        found += np.split(flat, np.cumsum([len(one) for one in block])[:-1])
    return found


def _blocks(texts: Sequence[Sequence[Sequence[str]]]) -> Iterator[list[Sequence[Sequence[str]]]]:
    """Lists in groups of about TOGETHER hypotheses."""
    block: list[Sequence[Sequence[str]]] = []
    for one in texts:
        if block and sum(map(len, block)) + len(one) > TOGETHER:
            yield block
            block = []
        block.append(one)
    if block:
        yield block


# Errors


def for_comparison(text: str, wer_text: str) -> list[str]:
    """The words that are compared."""
    return join_clitics(text.lower()).split() if wer_text == "join" else text.split()


def _errors(one: NBest, wer_text: str) -> list[Errors]:
    if one.reference is None:
        return []
    reference = for_comparison(one.reference, wer_text)
    return [word_errors(reference, for_comparison(h.text, wer_text)) for h in one.hypotheses]


def _systems(choices: Sequence[Choice], seed: int) -> dict[str, System]:
    if not choices:
        return {}
    picked = {
        "first": [c.errors[0] for c in choices],
        "rescored": [c.errors[c.order[0]] for c in choices],
        "oracle": [min(c.errors, key=lambda errors: errors.total) for c in choices],
    }
    return {name: _system(errors, seed) for name, errors in picked.items()}


def _system(errors: Sequence[Errors], seed: int) -> System:
    interval = confidence_interval([one.total for one in errors], [one.words for one in errors], seed=seed)
    return System(Errors.total_of(errors), interval)


def _gain(choices: Sequence[Choice], seed: int) -> tuple[float, float, float] | None:
    if not choices:
        return None
    words = [c.errors[0].words for c in choices]
    fewer = [c.errors[0].total - c.errors[c.order[0]].total for c in choices]
    return sum(fewer) / max(1, sum(words)), *confidence_interval(fewer, words, seed=seed)


# Weights


def _given(weights: Mapping[str, float], names: Sequence[str]) -> NDArray[np.float64]:
    for name, weight in weights.items():
        if name not in names:
            raise ConfigError(f"no score {name!r}; expected one of {', '.join(names)}{did_you_mean(name, names)}")
        if not np.isfinite(weight):
            raise ConfigError(f"the weight of {name} is {weight}; expected a finite number")
    return np.array([weights.get(name, 0.0) for name in names], np.float64)


def _tuned(
    features: Sequence[NDArray[np.float64]],
    errors: Sequence[Sequence[Errors]],
    referred: Sequence[int],
    options: RescoreOptions,
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """The weights tuned on all lists with a reference, and for each list those tuned without its own part."""
    cases = [Candidates(features[n], np.array([one.total for one in errors[n]], np.int64)) for n in referred]
    weights = tune(cases, starts=options.starts, seed=options.seed)
    by_list = [weights] * len(features)
    for part in folds(len(cases), min(options.folds, len(cases)), seed=options.seed):
        out = {*part.tolist()}
        rest = [case for n, case in enumerate(cases) if n not in out]
        own = tune(rest, starts=options.starts, seed=options.seed)
        for n in out:
            by_list[referred[n]] = own
    return weights, by_list
