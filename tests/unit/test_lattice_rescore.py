"""Rescoring, held to all paths scored one by one; merging, beams and limits."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import SEEDS, Sums, WholeHistory, all_paths, path_score, random_lattice

from ostinato.errors import ConfigError, LatticeError
from ostinato.lattice.lattice import ACOUSTIC, LM, Lattice
from ostinato.lattice.merging import MergeEqual, MergeNear, MergeWords
from ostinato.lattice.paths import best_path
from ostinato.lattice.rescore import rescore

FEW = settings(max_examples=30, deadline=None)
SIZES = st.integers(2, 8)
WORDS = ("", "to", "be", "to", "not", "<s>")


def expected(lattice, scorer, new=1.0, old=0.0, spell=str):
    """All paths with the words, old scores and the new one they must have."""
    found = []
    for arcs in all_paths(lattice):
        words = [w for w in (lattice.words[arc] for arc in arcs) if w not in ("", "<s>")]
        before = sum(lattice.scores[LM][arc] for arc in arcs)
        lm = new * scorer.sentence([spell(word) for word in words]) + old * before
        rest = path_score(lattice, arcs) - lattice.scales[LM] * before
        found.append((tuple(words), round(rest + lattice.scales[LM] * lm, 7)))
    return Counter(found)


def found(lattice):
    words = lambda arcs: tuple(w for w in (lattice.words[arc] for arc in arcs) if w not in ("", "<s>"))  # noqa: E731
    return Counter((words(arcs), round(path_score(lattice, arcs), 7)) for arcs in all_paths(lattice))


@FEW
@given(seed=SEEDS, nodes=SIZES, new=st.floats(0.2, 2), old=st.sampled_from([0.0, 0.0, 0.3, -1.0]))
def test_every_path_has_the_score_it_would_have_alone(seed, nodes, new, old):
    """No beam, no merging but of equal histories: the new lattice has the old one's paths, rescored exactly."""
    lattice = random_lattice(seed, nodes, words=WORDS)
    scorer = WholeHistory(seed)
    done = rescore(lattice, scorer, new=new, old=old)
    paths = expected(lattice, scorer, new, old)
    assert found(done.lattice) == paths
    assert done.best.score == pytest.approx(max(score for _, score in paths), abs=1e-6)
    assert done.best == best_path(done.lattice)


@FEW
@given(seed=SEEDS, nodes=SIZES, order=st.integers(1, 4), words=st.booleans())
def test_merging_by_words_is_exact_for_an_n_gram_model_of_that_order(seed, nodes, order, words):
    lattice = random_lattice(seed, nodes, words=WORDS)
    scorer = WholeHistory(seed, order)
    done = rescore(lattice, scorer, merge=MergeWords(order) if words else MergeEqual())
    assert found(done.lattice) == expected(lattice, scorer)


@FEW
@given(seed=SEEDS, order=st.integers(1, 3))
def test_merging_keeps_the_paths_and_scores_each_by_some_history(seed, order):
    """Under a model that forgets nothing: the words stay, the node count falls, the best is never above the exact."""
    lattice = random_lattice(seed, 8, words=WORDS)
    scorer = WholeHistory(seed)
    exact, merged = rescore(lattice, scorer), rescore(lattice, scorer, merge=MergeWords(order))
    assert Counter(w for w, _ in found(merged.lattice).elements()) == Counter(
        w for w, _ in found(exact.lattice).elements()
    )
    assert merged.hypotheses <= exact.hypotheses
    assert merged.read <= exact.read


def test_what_merging_by_words_looks_at():
    merge = MergeWords(3)
    assert merge.words == 2
    assert merge.groups([1, 2, 3, 4], [("a", "b"), ("c", "b"), ("a", "b"), ("b",)]) == [0, 1, 0, 3]
    assert MergeWords(1).groups([1, 2, 3], [(), (), ()]) == [0, 0, 0]
    one, other = (1, 2, 3), (4,)
    assert MergeEqual().groups([one, other, one, other], [()] * 4) == [0, 1, 0, 1]


def test_what_is_merged_takes_over_the_better_history():
    """x or y, then z: merged by the last word, z is scored after the one that is better so far, for both."""
    for best in (0, 1):
        acoustic = np.array([-1.0 - (best == 1), -1.0 - (best == 0), 0.0])
        lattice = Lattice("u", np.array([0, 0, 1]), np.array([1, 1, 2]), ("xx", "y", "zzz"), {ACOUSTIC: 100 * acoustic})
        scorer = WholeHistory(7)
        done = rescore(lattice, scorer, merge=MergeWords(1))
        assert (done.lattice.nodes, done.lattice.arcs) == (3, 3)
        history = ("^", ("xx", "y")[best])
        assert done.lattice.scores[LM][2] == scorer.one(history, "zzz") + scorer.one((*history, "zzz"), "$")
        assert done.lattice.scores[LM][:2].tolist() == [scorer.one(("^",), "xx"), scorer.one(("^",), "y")]


def test_near_states_are_merged_with_the_nearest_that_is_kept():
    states = [(0.0, 0.0), (3.0, 3.0), (0.9, 0.9), (2.2, 2.2), (9.0, 9.0)]
    merge = lambda distance: MergeNear(distance, np.array).groups(states, [()] * 5)  # noqa: E731
    assert merge(0.0) == [0, 1, 2, 3, 4]
    assert merge(0.85) == [0, 1, 2, 1, 4]
    assert merge(1.0) == [0, 1, 0, 1, 4]
    assert merge(9.0) == [0] * 5
    assert MergeNear(1.0, np.array).groups([(0.0, 0.0), (0.0, 1.4)], [()] * 2) == [0, 0]  # the mean over the axes


@FEW
@given(seed=SEEDS, distance=st.floats(0, 4))
def test_merging_by_distance(seed, distance):
    lattice = random_lattice(seed, 8, words=WORDS)
    exact = rescore(lattice, Sums())
    merged = rescore(lattice, Sums(), merge=MergeNear(distance, np.array))
    assert merged.hypotheses <= exact.hypotheses
    if distance == 0:
        assert found(merged.lattice) == found(exact.lattice)
    everything = rescore(lattice, Sums(), merge=MergeNear(1e9, np.array))
    assert everything.lattice.nodes == lattice.nodes


@FEW
@given(seed=SEEDS, beam=st.floats(0, 30), limit=st.none() | st.integers(1, 4))
def test_a_beam_drops_paths_and_changes_none(seed, beam, limit):
    lattice = random_lattice(seed, 8, words=WORDS)
    scorer = WholeHistory(seed)
    done = rescore(lattice, scorer, beam=beam, limit=limit)
    assert found(done.lattice) <= expected(lattice, scorer)
    assert done.best.score <= max(score for _, score in expected(lattice, scorer)) + 1e-6


@FEW
@given(seed=SEEDS, beam=st.floats(0.1, 10))
def test_a_beam_keeps_what_is_near_by_the_estimate(seed, beam):
    """Where old and new scores agree the estimate is exact: of the paths all near the best stay, at 0 that alone.

    What is further away stays only where something near says the same words: histories are of words.
    """
    lattice = random_lattice(seed, 8, words=("to", "be"))
    best = best_path(lattice)
    alone = rescore(lattice, WholeHistory(1), new=0.0, old=1.0, beam=1e-9)
    assert found(alone.lattice) == Counter([(best.words, round(best.score, 7))])
    within = found(rescore(lattice, WholeHistory(1), new=0.0, old=1.0, beam=beam / 1.7).lattice)
    scores = [(best.score - path_score(lattice, arcs), arcs) for arcs in all_paths(lattice)]
    near = Counter((lattice.text(arcs), round(best.score - below, 7)) for below, arcs in scores if below < beam - 1e-6)
    assert near <= within
    assert {words for words, _ in within} == {words for words, _ in near}


def test_a_limit_keeps_the_best_histories_of_each_node():
    scores = np.array([-3.0, -1.0, -2.0, 0.0])
    lattice = Lattice(
        "u", np.array([0, 0, 0, 1]), np.array([1, 1, 1, 2]), ("a", "b", "c", "d"), {ACOUSTIC: 50 * scores}
    )
    for limit, kept in ((1, {"b"}), (2, {"b", "c"}), (3, {"a", "b", "c"})):
        done = rescore(lattice, WholeHistory(), limit=limit)
        assert set(done.lattice.words) == kept | {"d"}
        assert done.hypotheses == 1 + limit + 1


def test_histories_are_compared_by_the_scaled_new_score():
    """By the sound alone, or with the new score counted once, ``a`` would stay; times the scale of 3 it is ``b``."""
    sound = {ACOUSTIC: np.array([-1.0, -2.0, 0.0]), LM: np.array([0.0, -9.0, 0.0])}
    lattice = Lattice("u", np.array([0, 0, 1]), np.array([1, 1, 2]), ("a", "b", "c"), sound, {LM: 3.0})
    scorer = Table({"a": -1.5, "b": -1.0, "c": -0.1})
    done = rescore(lattice, scorer, limit=1)
    assert done.best.words == ("b", "c")
    assert done.best.score == pytest.approx(-2.0 + 3.0 * (-1.0 - 0.1))
    assert rescore(lattice, scorer, limit=1, new=0.5).best.words == ("a", "c")


class Table:
    """Words by themselves; an end costs nothing."""

    def __init__(self, logprobs):
        self._logprobs = logprobs

    def begin(self):
        return ()

    def extend(self, states, words):
        after = [(*state, word) for state, word in zip(states, words, strict=True)]
        return np.array([self._logprobs[word] for word in words]), after

    def end(self, states):
        return np.zeros(len(states))

    def __contains__(self, word):
        return word in self._logprobs


def test_the_same_word_after_the_same_history_is_read_once():
    """Four ways in time to say the same: the model reads each word once, in as few calls as there are levels."""
    lattice = Lattice(
        "u",
        np.array([0, 0, 1, 1, 2, 2, 3, 4]),
        np.array([1, 2, 3, 4, 3, 4, 5, 5]),
        ("a", "a", "b", "b", "b", "b", "c", "c"),
        {ACOUSTIC: np.arange(8.0)},
    )
    scorer = WholeHistory()
    done = rescore(lattice, scorer)
    assert Counter(scorer.asked) == {(("^",), "a"): 1, (("^", "a"), "b"): 1, (("^", "a", "b"), "c"): 1}
    assert (scorer.calls, done.read) == (3, 3)
    assert len(all_paths(done.lattice)) == 4


def test_many_words_are_read_in_batches(monkeypatch):
    monkeypatch.setattr("ostinato.lattice.rescore.BATCH", 2)
    lattice = random_lattice(11, 8, 20, words=("to", "be", "or"))
    scorer = WholeHistory(2)
    assert found(rescore(lattice, scorer).lattice) == expected(lattice, scorer)
    assert scorer.calls > 5


def test_other_scores_times_and_notes_follow_the_arcs():
    lattice = random_lattice(6, 8, words=("to", "be"))
    done = rescore(lattice, WholeHistory(3)).lattice
    old = {values: arc for arc, values in enumerate(lattice.scores[ACOUSTIC].tolist())}
    assert (done.scales, done.penalty, done.name) == (lattice.scales, lattice.penalty, lattice.name)
    for arc, value in enumerate(done.scores[ACOUSTIC].tolist()):
        before = old[value]
        assert done.words[arc] == lattice.words[before]
        assert done.scores["pronunciation"][arc] == lattice.scores["pronunciation"][before]
        assert done.times[done.starts[arc]] == lattice.times[lattice.starts[before]]
        assert done.times[done.ends[arc]] == lattice.times[lattice.ends[before]]


def test_words_are_spelled_for_the_model_alone():
    lattice = random_lattice(8, words=("To", "BE", "<s>"))
    scorer = WholeHistory(3)
    done = rescore(lattice, scorer, spell=str.lower)
    assert found(done.lattice) == expected(lattice, scorer, spell=str.lower)
    assert {word for _, word in scorer.asked} <= {"to", "be"}
    assert "BE" in done.lattice.words


def test_a_lattice_without_a_language_model_gets_one():
    lattice = Lattice("u", np.array([0]), np.array([1]), ("a",), {ACOUSTIC: np.array([-1.0])})
    scorer = WholeHistory()
    assert rescore(lattice, scorer).lattice.scores[LM].tolist() == [scorer.sentence(["a"])]


def test_an_empty_hypothesis_is_scored_too():
    silent = Lattice("u", np.array([0, 1]), np.array([1, 2]), ("<s>", ""), {LM: np.array([-3.0, -4.0])})
    assert rescore(silent, WholeHistory()).lattice.scores[LM].tolist() == [0.0, WholeHistory().sentence([])]
    nothing = Lattice("u", np.zeros(0), np.zeros(0), (), {})
    assert rescore(nothing, WholeHistory()).best.words == ()


def test_impossible_words_are_left_out():
    lattice = Lattice("u", np.array([0, 0]), np.array([1, 1]), ("good", "bad"), {ACOUSTIC: np.array([-9.0, 0.0])})
    assert rescore(lattice, WholeHistory(impossible=["bad"])).lattice.words == ("good",)
    with pytest.raises(LatticeError, match="u: the model holds every path impossible"):
        rescore(lattice, WholeHistory(impossible=["bad", "good"]))
    with pytest.raises(LatticeError, match="impossible"):
        rescore(lattice, WholeHistory(impossible=["$"]))


class Broken(WholeHistory):
    def one(self, state, word):
        return math.nan


def test_a_model_that_says_no_number_is_refused():
    with pytest.raises(LatticeError, match="log-probability of 'to' is nan"):
        rescore(random_lattice(1, words=("to",)), Broken())


@pytest.mark.parametrize(
    "setting", [{"beam": -1.0}, {"beam": math.nan}, {"limit": 0}, {"new": math.inf}, {"old": math.nan}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match="expected 0 or more, 1 or more, and numbers"):
        rescore(random_lattice(1), WholeHistory(), **setting)


def test_merges_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="order of merging is 0"):
        MergeWords(0)
    with pytest.raises(ConfigError, match="distance of merging is -1"):
        MergeNear(-1, np.array)
