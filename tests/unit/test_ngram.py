"""The baselines: they are distributions, and they are the ones of the literature."""

import math

import numpy as np
import pytest

from ostinato.errors import ConfigError
from ostinato.score.ngram import NgramModel, UnigramModel

V = 7


def draw(n, seed=0):
    """A text with grams of every frequency: a random walk on a skewed table."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(V - 1, 0.3), V - 1).cumsum(axis=1)
    ids = [0]
    for u in rng.random(n - 1):
        ids.append(min(int((table[ids[-1]] <= u).sum()), V - 2))
    return np.array(ids)


def test_the_unigram_adds_one_to_every_count():
    model = UnigramModel.fit(np.array([0, 0, 0, 2]), 4)
    np.testing.assert_allclose(np.exp(-model.token_nats(np.arange(4))), [4 / 8, 1 / 8, 2 / 8, 1 / 8])
    assert model.nats(np.array([0, 2])) == pytest.approx(math.log(2) + math.log(4))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [12, 3000])
def test_probabilities_sum_to_one(order, length):
    """After contexts that were seen, seen in part, never seen (token 6 never comes), and at the beginning."""
    ids = draw(length)
    model = NgramModel.fit(ids, order, V)
    contexts = [
        ids[:0],
        ids[:1],
        ids[5:9],
        ids[-4:],
        np.array([6, 6, 6, 6]),
        np.array([1, 6, 2]),
        np.array([0, 5, 0, 5]),
    ]
    for context in contexts:
        p = [math.exp(-model.token_nats(np.array([*context, token]))[-1]) for token in range(V)]
        assert sum(p) == pytest.approx(1, rel=1e-12)
        assert min(p) > 0


def test_interpolated_kneser_ney_by_hand():
    """0 1 0 1 0 2: too few grams to estimate discounts, so 0.5 from a count of 1 and 0.75 from more."""
    model = NgramModel.fit(np.array([0, 1, 0, 1, 0, 2]), 2, 3)
    # Different tokens before 0, 1, 2: one each (1, 0, 0); the first 0 of the text has none before it.
    unigram = [0.5 / 3 + 0.5 * (1 / 3)] * 3
    # After 0: 1 twice, 2 once. After 1: 0 twice.
    after_0 = [0, (2 - 0.75) / 3, (1 - 0.5) / 3]
    after_0 = [p + (0.75 + 0.5) / 3 * u for p, u in zip(after_0, unigram, strict=True)]
    after_1 = [(2 - 0.75) / 2 + 0.375 * unigram[0], 0.375 * unigram[1], 0.375 * unigram[2]]
    for context, expected in ((0, after_0), (1, after_1), (2, unigram)):
        got = [math.exp(-model.token_nats(np.array([context, token]))[-1]) for token in range(3)]
        assert got == pytest.approx(expected)


def test_of_sentences_that_end_alike_first_words_keep_their_counts():
    """0 is the boundary: five sentences "1 3" and one "2 3". Every bigram after it has the same token before."""
    ids = np.array([0, 1, 3] * 5 + [0, 2, 3, 0])
    model = NgramModel.fit(ids, 3, 4, boundary=0)
    # Different tokens before 0, 1, 2, 3: 3; 0; 0; 1 and 2. Counts of one and two are discounted by 0.5 and 0.75.
    unigram = [(n - d) / 5 + (3 * 0.5 + 0.75) / 5 / 4 for n, d in ((1, 0.5), (1, 0.5), (1, 0.5), (2, 0.75))]
    first = [p * (0.75 + 0.5) / 6 for p in unigram]
    first[1] += (5 - 0.75) / 6
    first[2] += (1 - 0.5) / 6
    got = [math.exp(-model.token_nats(np.array([0, token]))[-1]) for token in range(4)]
    assert got == pytest.approx(first)
    # Of three tokens there are 0 1 3, 0 2 3, 1 3 0 and 2 3 0, and none over the end of a sentence.
    assert len(model.levels[2].keys) == 4
    assert [len(level.keys) for level in NgramModel.fit(ids, 3, 4).levels] == [4, 5, 6]
    with pytest.raises(ConfigError, match="order is 5; expected 1 to 4: no sentence is longer, its ends counted"):
        NgramModel.fit(ids, 5, 4, boundary=0)


def test_discounts_are_chen_and_goodmans():
    """From counts of counts 4, 2, 1, 1: Y = 4 / (4 + 2 * 2)."""
    from ostinato.score.ngram import _discounts

    expected = [0, 1 - 2 * 0.5 * 2 / 4, 2 - 3 * 0.5 * 1 / 2, 3 - 4 * 0.5 * 1 / 1]
    np.testing.assert_allclose(_discounts(np.array([1, 1, 1, 1, 2, 2, 3, 4, 0, 9])), expected)


def test_a_longer_context_helps_where_there_is_structure():
    train, test = draw(20_000), draw(2000)[1000:]
    one, two = (NgramModel.fit(train, order, V).nats(test) for order in (1, 2))
    assert two < one - 100
    assert UnigramModel.fit(train, V).nats(test) == pytest.approx(one, rel=0.02)


def test_a_text_is_scored_as_its_tokens_one_by_one():
    model, ids = NgramModel.fit(draw(2000), 3, V), draw(50, seed=1)
    one_by_one = [model.token_nats(ids[max(0, t - 2) : t + 1])[-1] for t in range(50)]
    np.testing.assert_allclose(model.token_nats(ids), one_by_one)
    assert model.nats(ids) == pytest.approx(sum(one_by_one))


def test_an_order_that_the_text_cannot_give_is_refused():
    for order in (0, 5):
        with pytest.raises(ConfigError, match=f"order is {order}; expected 1 to"):
            NgramModel.fit(np.arange(4), order, V)
