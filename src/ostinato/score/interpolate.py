"""Several scorers as one: a mixture of their probabilities, or a product of powers of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError
from ostinato.score.scorer import LogProbs, Scorer
from ostinato.score.sentences import score_words

Weights = NDArray[np.float64]
States = tuple[Any, ...]


class _Several:
    """What both kinds share: a state is one of each scorer's."""

    def __init__(self, scorers: Sequence[Scorer[Any]], weights: Sequence[float]) -> None:
        if len(scorers) != len(weights) or not scorers:
            raise ConfigError(f"{len(weights)} weights for {len(scorers)} models; expected one each")
        self.scorers, self.weights = tuple(scorers), np.array(weights, np.float64)

    def begin(self) -> States:
        """The state at the beginning of a sentence."""
        return tuple(scorer.begin() for scorer in self.scorers)

    def __contains__(self, word: str) -> bool:
        """Whether one of the vocabularies has the word."""
        return any(word in scorer for scorer in self.scorers)

    def _extend(self, states: Sequence[States], words: Sequence[str]) -> tuple[LogProbs, list[States]]:
        """Log-probabilities ``(K, N)`` and the states after the words."""
        found = [scorer.extend([s[k] for s in states], words) for k, scorer in enumerate(self.scorers)]
        return np.stack([logprobs for logprobs, _ in found]), list(zip(*(after for _, after in found), strict=True))

    def _end(self, states: Sequence[States]) -> LogProbs:
        """Log-probabilities ``(K, N)`` of the end."""
        return np.stack([scorer.end([s[k] for s in states]) for k, scorer in enumerate(self.scorers)])


class LinearScorer(_Several):
    """``p = sum_k weight_k p_k``. Implements ``Scorer[States]``.

    It is a distribution where all vocabularies are the same; a word that only some know has the others' ``<unk>``.
    """

    def __init__(self, scorers: Sequence[Scorer[Any]], weights: Sequence[float]) -> None:
        """Raises ConfigError unless the weights are one for each scorer, not negative, and sum to 1."""
        super().__init__(scorers, weights)
        if not (self.weights >= 0).all() or abs(self.weights.sum() - 1) > 1e-6:
            raise ConfigError(f"weights are {', '.join(map(str, weights))}; expected numbers from 0 to 1 that sum to 1")

    def extend(self, states: Sequence[States], words: Sequence[str]) -> tuple[LogProbs, list[States]]:
        """``log p(words[n] | states[n])``, ``(N,)``, and the states after those words."""
        logprobs, after = self._extend(states, words)
        return self._mixed(logprobs), after

    def end(self, states: Sequence[States]) -> LogProbs:
        """``log p`` of the end of the sentence after each state, ``(N,)``."""
        return self._mixed(self._end(states))

    def _mixed(self, logprobs: LogProbs) -> LogProbs:
        with np.errstate(divide="ignore"):
            mixed: LogProbs = np.logaddexp.reduce(np.log(self.weights)[:, None] + logprobs, axis=0)
        return mixed


class LogLinearScorer(_Several):
    """``log p = sum_k weight_k log p_k - log Z``. Implements ``Scorer[States]``.

    ``Z`` can be known only over a vocabulary that is given, at the price of scoring all of it at each state: a
    distribution then. Without, ``Z`` is left out: right for ranking hypotheses, no probability, no perplexity.
    """

    def __init__(
        self, scorers: Sequence[Scorer[Any]], weights: Sequence[float], vocabulary: Sequence[str] | None = None
    ) -> None:
        """``vocabulary``: every word there is, each once, without the end of a sentence."""
        super().__init__(scorers, weights)
        if not np.isfinite(self.weights).all():
            raise ConfigError(f"weights are {', '.join(map(str, weights))}; expected finite numbers")
        self._vocabulary = None if vocabulary is None else list(vocabulary)

    def extend(self, states: Sequence[States], words: Sequence[str]) -> tuple[LogProbs, list[States]]:
        """The weighted sum for each word, ``(N,)``, and the states after those words."""
        logprobs, after = self._extend(states, words)
        return self.weights @ logprobs - self._log_mass(states), after

    def end(self, states: Sequence[States]) -> LogProbs:
        """The weighted sum for the end of the sentence after each state, ``(N,)``."""
        return np.asarray(self.weights @ self._end(states) - self._log_mass(states))

    def _log_mass(self, states: Sequence[States]) -> LogProbs:
        if self._vocabulary is None:
            return np.zeros(len(states))
        place = {state: index for index, state in enumerate(dict.fromkeys(states))}
        mass = [np.logaddexp.reduce(self.weights @ _everything(self, state, self._vocabulary)) for state in place]
        return np.array([mass[place[state]] for state in states], np.float64)


def _everything(several: _Several, state: States, vocabulary: Sequence[str]) -> LogProbs:
    """Log-probabilities ``(K, V + 1)`` of each word and of the end after a state."""
    words, _ = several._extend([state] * len(vocabulary), vocabulary)
    return np.concatenate([words, several._end([state])], axis=1)


def fit_linear(scorers: Sequence[Scorer[Any]], sentences: Sequence[Sequence[str]], *, rounds: int = 200) -> Weights:
    """The weights ``(K,)`` of the mixture under which held-out sentences are likeliest, by EM (Jelinek and Mercer 1980).

    The likelihood has one maximum and rises with every round. Raises ConfigError without a sentence.
    """
    _check_sentences(sentences)
    logprobs = np.stack([np.concatenate(score_words(scorer, sentences)) for scorer in scorers])
    probs = np.exp(logprobs - logprobs.max(axis=0))
    weights: Weights = np.full(len(scorers), 1 / len(scorers))
    for _ in range(rounds):
        joint = weights[:, None] * probs
        better: Weights = (joint / joint.sum(axis=0)).mean(axis=1)
        if np.abs(better - weights).max() < 1e-9:
            break
        weights = better
    return weights


def fit_log_linear(
    scorers: Sequence[Scorer[Any]], sentences: Sequence[Sequence[str]], vocabulary: Sequence[str], *, rounds: int = 50
) -> Weights:
    """The weights ``(K,)`` of the renormalised product under which held-out sentences are likeliest, by Newton's method.

    The log-likelihood is concave: its slope is what the scores are less what the model expects them to be, its curvature
    their covariance. Every state scores the whole vocabulary once. Without a vocabulary tune weights on word errors
    instead (``ostinato.score.tune``). Raises ConfigError without a sentence.
    """
    _check_sentences(sentences)
    several = _Several(scorers, [1.0] * len(scorers))
    place = {word: index for index, word in enumerate(vocabulary)}
    tables: list[LogProbs] = []
    targets: list[int] = []
    for sentence in sentences:
        state = several.begin()
        for word in [*sentence, None]:
            if word is not None and word not in place:
                raise ConfigError(f"the sentences have the word {word!r}, the vocabulary has not; expected all of them")
            tables.append(_everything(several, state, vocabulary))
            targets.append(len(vocabulary) if word is None else place[word])
            if word is not None:
                state = several._extend([state], [word])[1][0]
    weights: Weights = np.full(len(scorers), 1 / len(scorers))
    for _ in range(rounds):
        step = _newton(tables, targets, weights)
        while _likelihood(tables, targets, weights + step) < _likelihood(tables, targets, weights):
            step = step / 2
            if np.abs(step).max() < 1e-9:
                return weights
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def _likelihood(tables: Sequence[LogProbs], targets: Sequence[int], weights: Weights) -> float:
    sums = (weights @ table for table in tables)
    return float(sum(s[target] - np.logaddexp.reduce(s) for s, target in zip(sums, targets, strict=True)))


def _newton(tables: Sequence[LogProbs], targets: Sequence[int], weights: Weights) -> Weights:
    """The step to the maximum of the likelihood's quadratic approximation; a little damped where it is flat."""
    K = len(weights)
    slope, curvature = np.zeros(K), 1e-9 * np.eye(K)
    for table, target in zip(tables, targets, strict=True):
        scores = weights @ table
        probs = np.exp(scores - np.logaddexp.reduce(scores))
        mean = table @ probs
        slope += table[:, target] - mean
        curvature += (table * probs) @ table.T - np.outer(mean, mean)
    return np.asarray(np.linalg.solve(curvature, slope))


def _check_sentences(sentences: Sequence[Sequence[str]]) -> None:
    if not sentences:
        raise ConfigError("there is no sentence to fit weights on; expected held-out text, one sentence a line")
