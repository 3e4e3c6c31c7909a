"""Word errors, weights tuned on them, mixtures of models, clitics."""

import itertools
import math

import numpy as np
import pytest

from ostinato.errors import ConfigError
from ostinato.score.interpolate import LinearScorer, LogLinearScorer, fit_linear, fit_log_linear
from ostinato.score.sentences import score_sentences, score_words
from ostinato.score.tune import Candidates, Table, folds, line_search, tune
from ostinato.score.wer import Errors, confidence_interval, word_errors
from ostinato.text.spoken import join_clitics, number_words, split_clitics, treebank_text

jiwer = pytest.importorskip("jiwer")


# Word errors


def test_word_errors_are_jiwers():
    rng = np.random.default_rng(0)
    for _ in range(200):
        reference, hypothesis = (list(rng.choice(list("abcd"), rng.integers(n, 9))) for n in (1, 0))
        got = word_errors(reference, hypothesis)
        theirs = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        assert got.total == theirs.substitutions + theirs.deletions + theirs.insertions
        assert got.insertions - got.deletions == len(hypothesis) - len(reference)
        assert got.rate == pytest.approx(theirs.wer)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c", "a b c", (0, 0, 0)),
        ("a b c", "a x c", (1, 0, 0)),
        ("a b c", "a c", (0, 1, 0)),
        ("a b", "x a b y", (0, 0, 2)),
        ("", "a b", (0, 0, 2)),
        ("a b", "", (0, 2, 0)),
        ("a b c d", "b c d e", (0, 1, 1)),
    ],
)
def test_word_errors_by_hand(reference, hypothesis, expected):
    assert word_errors(reference.split(), hypothesis.split()) == Errors(*expected, len(reference.split()))


def test_errors_add_up():
    total = Errors.total_of([Errors(1, 2, 3, 10), Errors(0, 1, 0, 5)])
    assert total == Errors(1, 3, 3, 15)
    assert total.rate == pytest.approx(7 / 15)
    assert math.isnan(Errors().rate)


def test_the_interval_is_that_of_the_mean():
    """Utterances of one word each: the bootstrap of a share, whose spread is known."""
    errors = [1] * 60 + [0] * 140
    low, high = confidence_interval(errors, [1] * 200, seed=1)
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert (low, high) == (pytest.approx(0.3 - spread, abs=0.01), pytest.approx(0.3 + spread, abs=0.01))
    assert confidence_interval([2, 2], [4, 4]) == (0.5, 0.5)
    assert confidence_interval(errors, [1] * 200, seed=1) == (low, high)


# Weights


def random_lists(seed, count=12, K=3):
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(count):
        M = int(rng.integers(1, 8))
        lists.append(Candidates(rng.normal(size=(M, K)).round(2), rng.integers(0, 9, M)))
    return lists


def errors_of(lists, weights):
    return sum(int(one.errors[(one.features @ weights).argmax()]) for one in lists)


@pytest.mark.parametrize("seed", range(6))
def test_a_line_search_finds_the_fewest_errors_on_the_line(seed):
    """Against every place between and beyond the crossings of all pairs."""
    lists = random_lists(seed)
    rng = np.random.default_rng(100 + seed)
    weights, direction = rng.normal(size=(2, 3))
    crossings = {0.0}
    for one in lists:
        heights, slopes = one.features @ weights, one.features @ direction
        for a, b in itertools.combinations(range(len(heights)), 2):
            if slopes[a] != slopes[b]:
                crossings.add(float((heights[a] - heights[b]) / (slopes[b] - slopes[a])))
    ends = np.sort([*crossings])
    places = [ends[0] - 1, *((ends[1:] + ends[:-1]) / 2), ends[-1] + 1]
    fewest = min(errors_of(lists, weights + place * direction) for place in places)
    step, found = line_search(Table(lists), weights, direction)
    assert found == fewest
    assert errors_of(lists, weights + step * direction) == fewest


def test_a_line_search_takes_the_middle_of_the_widest_stretch():
    """One list of two hypotheses that change places at 0, another that does at 10 and is right before."""
    lists = [
        Candidates(np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([5, 0])),
        Candidates(np.array([[10.0, 0.0], [0.0, 1.0]]), np.array([0, 5])),
    ]
    step, errors = line_search(Table(lists), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert errors == 0
    assert step == pytest.approx(5)


@pytest.mark.parametrize("far", [1.0, 1e9, 1e12, 1e17])
def test_a_line_search_goes_as_far_as_it_must(far):
    """To where a step is lost in rounding."""
    one = Candidates(np.array([[far, 0.0], [0.0, 1.0]]), np.array([5, 0]))
    assert line_search(Table([one]), np.array([1.0, 0.0]), np.array([0.0, 1.0]))[1] == 0
    two = Candidates(np.array([[far, 0.0], [0.0, 1.0]]), np.array([0, 5]))
    assert line_search(Table([two]), np.array([1.0, 0.0]), np.array([0.0, 1.0]))[1] == 0


def test_of_equal_scores_the_first_hypothesis_counts():
    table = Table([Candidates(np.zeros((3, 2)), np.array([4, 0, 1]))])
    assert table.count_errors(np.ones(2)) == 4
    assert line_search(table, np.ones(2), np.ones(2)) == (0.0, 4)


def test_padding_is_never_chosen():
    """A list of one beside a list of three, all of its scores below what padding holds."""
    lists = [Candidates(np.full((1, 1), -9.0), np.array([2])), Candidates(-np.ones((3, 1)), np.array([1, 7, 7]))]
    assert Table(lists).count_errors(np.ones(1)) == 3


def test_tuning_recovers_weights_that_make_no_errors():
    """The right hypothesis is the one that hidden weights like best; scores have very different sizes."""
    rng = np.random.default_rng(5)
    hidden, sizes = np.array([1.0, -0.6, 0.3]), np.array([1.0, 1000.0, 0.01])
    lists = []
    for _ in range(60):
        features = rng.normal(size=(6, 3))
        errors = np.full(6, 3)
        errors[(features @ hidden).argmax()] = 0
        lists.append(Candidates(features * sizes, errors))
    weights = tune(lists[:40], starts=5, seed=1)
    assert errors_of(lists[:40], weights) == 0
    assert errors_of(lists[40:], weights) <= 9  # of 60 when drawn
    np.testing.assert_array_equal(weights, tune(lists[:40], starts=5, seed=1))
    direction = weights * sizes / np.linalg.norm(weights * sizes)
    assert direction @ (hidden / np.linalg.norm(hidden)) > 0.97


def test_tuning_is_never_worse_than_the_weights_it_begins_from():
    for seed in range(5):
        lists = random_lists(seed, count=20)
        spread = np.sqrt(np.mean([one.features.var(axis=0) for one in lists if len(one.errors) > 1], axis=0))
        assert errors_of(lists, tune(lists, starts=2)) <= errors_of(lists, 1 / spread)


@pytest.mark.parametrize("constant", [0, 1, 2])
def test_scores_that_are_the_same_for_a_list_have_no_weight(constant):
    """Whatever they are: their spread within a list is nothing but rounding."""
    rng, lists = np.random.default_rng(7), random_lists(3, count=20)
    same = [np.full(len(one.errors), rng.normal() * 0.1) for one in lists]
    more = [
        Candidates(np.insert(one.features, constant, x, axis=1), one.errors) for one, x in zip(lists, same, strict=True)
    ]
    weights = tune(more, starts=3)
    assert weights[constant] == 0
    np.testing.assert_array_equal(np.delete(weights, constant), tune(lists, starts=3))
    nothing = [Candidates(np.full((3, 2), 0.1), np.array([2, 0, 1]))]
    np.testing.assert_array_equal(tune(nothing, starts=3), [0, 0])


def test_one_score_that_differs_is_weighed_by_its_sign():
    """Beside a count of words that never does."""
    rng = np.random.default_rng(8)
    for sign in (1, -1):
        lists = []
        for _ in range(12):
            score = rng.normal(size=4)
            features = np.stack([score, np.full(4, rng.integers(3, 9))], axis=1)
            lists.append(Candidates(features, (sign * score < (sign * score).max()).astype(int)))
        weights = tune(lists, starts=3)
        assert errors_of(lists, weights) == 0
        assert (np.sign(weights[0]), weights[1]) == (sign, 0)
        assert abs(weights[0]) > 0.3


def test_there_must_be_something_to_choose():
    with pytest.raises(ConfigError, match="no list has two hypotheses"):
        tune([Candidates(np.ones((1, 2)), np.array([3]))])


def test_folds_cover_everything_once():
    parts = folds(23, 5, seed=3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(23))
    assert {len(part) for part in parts} == {4, 5}
    assert [part.tolist() for part in parts] != [part.tolist() for part in folds(23, 5, seed=4)]
    with pytest.raises(ConfigError, match=r"folds is 6; expected 2 to .*, 5"):
        folds(5, 6)


# Mixtures


class Chain:
    """A word given the one before, by a table; the last column is the end."""

    words = "abc"

    def __init__(self, seed):
        self.table = np.random.default_rng(seed).dirichlet(np.full(4, 0.7), 4)

    def begin(self):
        return 3

    def extend(self, states, words):
        after = ["abc".index(word) for word in words]
        return np.log(self.table[list(states), after]), after

    def end(self, states):
        return np.log(self.table[list(states), 3])

    def __contains__(self, word):
        return word in self.words


def draw(chain, count, seed):
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        sentence, state = [], chain.begin()
        while (n := int(rng.choice(4, p=chain.table[state]))) != 3 and len(sentence) < 30:
            sentence.append("abc"[n])
            state = n
        found.append(sentence)
    return found


SENTENCES = [list("abca"), list("ab"), [], list("ccb")]


def test_a_mixture_adds_probabilities():
    one, two = Chain(0), Chain(1)
    mixed = score_words(LinearScorer([one, two], [0.3, 0.7]), SENTENCES)
    for got, a, b in zip(mixed, score_words(one, SENTENCES), score_words(two, SENTENCES), strict=True):
        np.testing.assert_allclose(np.exp(got), 0.3 * np.exp(a) + 0.7 * np.exp(b))
    np.testing.assert_allclose(
        score_sentences(LinearScorer([one, two], [1, 0]), SENTENCES), score_sentences(one, SENTENCES)
    )


@pytest.mark.parametrize("weights", [[0.5], [0.5, 0.6], [-0.1, 1.1], [math.nan, 1]])
def test_shares_are_checked(weights):
    with pytest.raises(ConfigError):
        LinearScorer([Chain(0), Chain(1)], weights)


def test_a_product_adds_logarithms_and_is_a_distribution_over_a_vocabulary():
    one, two = Chain(0), Chain(1)
    plain = score_words(LogLinearScorer([one, two], [0.4, 0.9]), SENTENCES)
    for got, a, b in zip(plain, score_words(one, SENTENCES), score_words(two, SENTENCES), strict=True):
        np.testing.assert_allclose(got, 0.4 * a + 0.9 * b)
    whole = LogLinearScorer([one, two], [0.4, 0.9], "abc")
    state = whole.extend([whole.begin()], ["b"])[1][0]
    for here in (whole.begin(), state):
        logs = [*whole.extend([here] * 3, "abc")[0], whole.end([here])[0]]
        assert np.exp(logs).sum() == pytest.approx(1)
    many = whole.extend([state, whole.begin(), state], "aab")[0]
    np.testing.assert_allclose(
        many, [whole.extend([s], [w])[0][0] for s, w in zip((state, whole.begin(), state), "aab", strict=True)]
    )


def test_em_finds_the_likeliest_shares():
    one, two = Chain(0), Chain(1)
    text = draw(one, 80, 1) + draw(two, 40, 2)
    weights = fit_linear([one, two], text)
    assert weights.sum() == pytest.approx(1)

    def nats(share):
        return -score_sentences(LinearScorer([one, two], [share, 1 - share]), text).sum()

    grid = np.linspace(0.001, 0.999, 999)
    best = grid[int(np.argmin([nats(share) for share in grid]))]
    assert weights[0] == pytest.approx(best, abs=0.002)
    assert 0.1 < weights[0] < 0.9
    with pytest.raises(ConfigError, match="no sentence"):
        fit_linear([one, two], [])


def test_newton_finds_the_likeliest_exponents():
    one, two = Chain(0), Chain(1)
    text = draw(one, 40, 1) + draw(two, 30, 2)
    weights = fit_log_linear([one, two], text, "abc")

    def nats(w):
        return -score_sentences(LogLinearScorer([one, two], w, "abc"), text).sum()

    least = nats(weights)
    for step in ((0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02), (0.02, -0.02), (-0.02, 0.02)):
        assert nats(weights + step) > least
    with pytest.raises(ConfigError, match="the word 'c', the vocabulary has not"):
        fit_log_linear([one, two], [list("ac")], "ab")


def test_a_mixture_knows_what_one_of_its_models_knows():
    mixed = LinearScorer([Chain(0), Chain(1)], [0.5, 0.5])
    assert "a" in mixed
    assert "z" not in mixed


# Texts


@pytest.mark.parametrize(
    ("split", "joined"),
    [
        ("it was n't", "it wasn't"),
        ("the survey 's end", "the survey's end"),
        ("banks ' plans", "banks' plans"),
        ("they 've said we 'll", "they've said we'll"),
        ("i 'd say i 'm", "i'd say i'm"),
        ("nothing here", "nothing here"),
        ("do n't you 're", "don't you're"),
    ],
)
def test_clitics_are_joined_and_split(split, joined):
    assert join_clitics(split) == joined
    assert join_clitics(joined) == joined
    assert split_clitics(joined) == split
    assert split_clitics(split) == split


def test_what_only_looks_like_a_clitic_stays():
    assert join_clitics("he said 'twas so") == "he said 'twas so"
    assert join_clitics("  two   blanks ") == "two blanks"
    assert split_clitics("o'donnell's") == "o'donnell 's"
    assert split_clitics("n't") == "n't"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (42, "forty two"),
        (100, "one hundred"),
        (1987, "one thousand nine hundred eighty seven"),
        (2_000_001, "two million one"),
        (80_000_000_000, "eighty billion"),
    ],
)
def test_numbers_in_words(number, words):
    assert number_words(number) == words


def test_text_as_the_treebank_has_it():
    assert treebank_text("It wasn't 1,200 or 3.05 but B2 5") == (
        "it was n't one thousand two hundred or three point zero five but b2 five"
    )
