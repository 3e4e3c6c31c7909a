"""Sampling: the distributions that are drawn from, and that they are drawn from."""

import math

import numpy as np
import pytest

from ostinato.decode.sampling import (
    distribution,
    draw,
    log_softmax,
    look_back,
    make_sampler,
    penalise,
    repeating,
)
from ostinato.errors import ConfigError
from ostinato.types import Sampling

LOGITS = np.log(np.array([[0.05, 0.4, 0.15, 0.3, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]], np.float32))
P = np.array([0.05, 0.4, 0.15, 0.3, 0.1])


def normalised(*weights):
    return np.array(weights) / sum(weights)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, P),
        ({"temperature": 2.0}, normalised(*np.sqrt(P))),
        ({"temperature": 0.5}, normalised(*P**2)),
        ({"temperature": 0}, [0, 1, 0, 0, 0]),
        ({"temperature": 1e-30}, [0, 1, 0, 0, 0]),
        ({"top_k": 1}, [0, 1, 0, 0, 0]),
        ({"top_k": 2}, normalised(0, 0.4, 0, 0.3, 0)),
        ({"top_k": 99}, P),
        ({"top_p": 0.39}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.41}, normalised(0, 0.4, 0, 0.3, 0)),
        ({"top_p": 0.71}, normalised(0, 0.4, 0.15, 0.3, 0)),
        ({"top_p": 1e-9}, [0, 1, 0, 0, 0]),
        ({"min_p": 0.3}, normalised(0, 0.4, 0.15, 0.3, 0)),
        ({"min_p": 1.0}, [0, 1, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.8}, normalised(0, 0.4, 0, 0.3, 0)),
        ({"top_k": 3, "top_p": 0.85}, normalised(0, 0.4, 0.15, 0.3, 0)),
        ({"temperature": 0.5, "min_p": 0.5}, normalised(0, 0.16, 0, 0.09, 0)),
    ],
)
def test_distributions(settings, expected):
    probs = distribution(LOGITS, **settings)
    np.testing.assert_allclose(probs[0], expected, atol=1e-6)
    np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_equal_scores_are_taken_in_order():
    np.testing.assert_allclose(distribution(LOGITS, top_k=2)[1], [0.5, 0.5, 0, 0, 0])
    np.testing.assert_allclose(distribution(LOGITS, temperature=0)[1], [1, 0, 0, 0, 0])


def test_a_banned_token_has_no_probability():
    logits = LOGITS.copy()
    logits[:, 1] = -np.inf
    np.testing.assert_allclose(distribution(logits)[0], normalised(0.05, 0, 0.15, 0.3, 0.1), atol=1e-6)
    np.testing.assert_allclose(distribution(logits, temperature=0)[0], [0, 0, 0, 1, 0])


def test_huge_scores_do_not_overflow():
    logits = np.array([[1e30, -1e30, 0]], np.float32)
    np.testing.assert_array_equal(distribution(logits, temperature=0.1), [[1, 0, 0]])
    assert log_softmax(logits)[0, 0] == 0
    np.testing.assert_allclose(np.exp(log_softmax(LOGITS)).sum(axis=1), 1, rtol=1e-12)


def test_entropy_grows_with_the_temperature():
    entropies = []
    for temperature in (0.1, 0.5, 1, 2, 10):
        p = distribution(LOGITS[:1], temperature=temperature)
        entropies.append(-(p * np.log(np.maximum(p, 1e-300))).sum())
    assert entropies == sorted(entropies)
    assert entropies[-1] < math.log(5)


def test_draws_invert_the_distribution_function():
    probs = np.tile(normalised(0, 1, 0, 3, 0), (5, 1))
    uniforms = np.array([0, 0.24, 0.26, 0.99, np.nextafter(1, 0)])
    assert draw(probs, uniforms).tolist() == [1, 1, 3, 3, 3]


def test_the_last_token_is_never_passed():
    """The largest uniform picks the last token that has any probability, however the sums round."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(1000), 200)
    probs[:, -3:] = 0
    ids = draw(probs, np.full(200, np.nextafter(1, 0)))
    assert (ids <= 996).all()


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.7}, {"top_k": 4, "temperature": 0.8}, {"top_p": 0.9}])
def test_samples_follow_the_distribution(settings):
    """Chi-square of 40,000 draws, one seed. A right sampler fails with probability 1e-4 at a new seed; the seed is
    fixed, so it fails always or never."""
    logits = np.random.default_rng(5).normal(0, 1, (1, 6)).astype(np.float32)
    expected = distribution(logits, **settings)[0] * 40_000
    ids = make_sampler(Sampling(**settings))(
        np.repeat(logits, 40_000, axis=0), np.random.default_rng(11).random(40_000)
    )
    counts = np.bincount(ids, minlength=6)
    live = expected > 0
    assert counts[~live].sum() == 0
    critical = {5: 25.74, 4: 23.51, 3: 21.11, 2: 18.42}[live.sum() - 1]
    assert chi_square(counts[live], expected[live]) < critical


def probabilities(logits):
    return np.exp(log_softmax(logits))


def hold_penalty(penalise):
    """Probabilities in closed form, with the uniform one, 1/5, as the zero of the scores: a likelier token's odds to
    it are raised to the power 1 / penalty, a less likely one's to the power penalty."""
    found = probabilities(penalise(LOGITS, [1, 0, 1], 1.5))
    weights = np.array([0.2 * 0.25**1.5, 0.2 * 2 ** (1 / 1.5), 0.15, 0.3, 0.1])
    np.testing.assert_allclose(found[0], weights / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(found[1], P[:1].repeat(5) * 4, rtol=1e-5)  # the uniform distribution stays
    np.testing.assert_allclose(penalise(LOGITS, [0, 1], 1), log_softmax(LOGITS) + math.log(5), atol=1e-6)


def test_the_penalty_in_closed_form():
    hold_penalty(penalise)


def test_the_penalty_does_not_depend_on_the_zero_of_the_scores():
    for shift in (-20, 7, 300):
        moved = probabilities(penalise(LOGITS + np.float32(shift), [0, 1], 1.3))
        np.testing.assert_allclose(moved, probabilities(penalise(LOGITS, [0, 1], 1.3)), rtol=1e-4)


def test_a_penalised_token_is_always_less_likely_and_the_others_keep_their_odds():
    logits = np.random.default_rng(0).normal(3, 4, (50, 9)).astype(np.float32)
    for penalty in (1.01, 1.2, 3):
        before, after = probabilities(logits), probabilities(penalise(logits, [4], penalty))
        assert (after[:, 4] < before[:, 4]).all()
        others = [0, 1, 2, 3, 5, 6, 7, 8]
        ratios = after[:, others] / before[:, others]
        np.testing.assert_allclose(ratios, ratios[:, :1].repeat(8, axis=1), rtol=1e-4)


def test_a_token_that_is_all_but_certain_loses_ground():
    """A loop, 0.999 of a thousand tokens: a power of p itself would leave 0.9985."""
    logits = np.full((1, 1000), math.log(0.001 / 999), np.float32)
    logits[0, 7] = math.log(0.999)
    weight = 0.001 * 999 ** (1 / 1.5)
    assert probabilities(penalise(logits, [7], 1.5))[0, 7] == pytest.approx(weight / (weight + 0.001), rel=1e-5)
    assert weight / (weight + 0.001) < 0.991


def hold_repeating(repeating):
    """The last token of every n-gram that was there before and begins as the text now ends."""
    text = [1, 2, 3, 1, 2, 4, 5, 1, 2]
    assert repeating(text, 3).tolist() == [3, 4]
    assert repeating(text, 2).tolist() == [3, 4]
    assert repeating(text, 4).tolist() == []
    assert repeating(text, 1).tolist() == [1, 2, 3, 4, 5]
    assert repeating([2, 2], 2).tolist() == [2]  # 2 2 is there, one token shorter than the text
    for n in (1, 2, 3):
        assert repeating([], n).tolist() == []
    assert repeating([1], 2).tolist() == []


def test_repeating_tokens():
    hold_repeating(repeating)


def test_both_controls_at_once():
    how = Sampling(repetition_penalty=1.5, no_repeat_ngram=2)
    found = probabilities(look_back(LOGITS, [3, 1, 3], how))[0]  # 3 1 is there, so 1 may not come
    expected = np.array([0.05, 0, 0.15, 0.2 * 1.5 ** (1 / 1.5), 0.1])
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(look_back(LOGITS, [3, 1, 3], Sampling()), LOGITS)


def test_spared_tokens_are_left_alone():
    how = Sampling(repetition_penalty=1.5, no_repeat_ngram=1)
    found = probabilities(look_back(LOGITS, [1, 2], how, spared=[1]))[0]
    np.testing.assert_allclose(found, normalised(0.05, 0.4, 0, 0.3, 0.1), rtol=1e-5)


def test_where_everything_would_repeat_nothing_is_forbidden():
    logits = LOGITS.copy()
    logits[0, [0, 4]] = -np.inf
    found = probabilities(look_back(logits, [1, 2, 3], Sampling(no_repeat_ngram=1)))
    np.testing.assert_allclose(found[0], normalised(0, 0.4, 0.15, 0.3, 0), rtol=1e-5)
    np.testing.assert_allclose(found[1], [0.5, 0, 0, 0, 0.5], rtol=1e-5)  # row by row


def test_samples_follow_the_penalised_distribution():
    """Chi-square of 40,000 draws, 4 degrees of freedom: a right one fails with probability 1e-4 at a new seed."""
    how = Sampling(temperature=0.8, repetition_penalty=1.4)
    scores = look_back(LOGITS[:1], [1, 0], how)
    weights = np.array([0.2 * 0.25**1.4, 0.2 * 2 ** (1 / 1.4), 0.15, 0.3, 0.1]) ** (1 / 0.8)
    ids = make_sampler(how)(scores.repeat(40_000, axis=0), np.random.default_rng(3).random(40_000))
    assert chi_square(np.bincount(ids, minlength=5), weights / weights.sum() * 40_000) < 23.51


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"repetition_penalty": 0.9}, r"repetition_penalty is 0.9; expected 1 \(off\) or more"),
        ({"repetition_penalty": math.nan}, "repetition_penalty is nan"),
        ({"repetition_penalty": math.inf}, "repetition_penalty is inf"),
        ({"no_repeat_ngram": -1}, r"no_repeat_ngram is -1; expected 0 \(off\) to 128 tokens"),
        ({"no_repeat_ngram": 129}, "no_repeat_ngram is 129"),
        ({"temperature": -1}, r"temperature is -1; expected 0 \(greedy\) or more"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0; expected 1 or more"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": -0.1}, "min_p is -0.1"),
        ({"min_p": 2}, "min_p is 2"),
    ],
)
def test_settings_out_of_range(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        make_sampler(Sampling(**settings))
