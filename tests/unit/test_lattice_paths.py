"""Best paths, posteriors, pruning and n-best lists, held to all paths one by one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import SEEDS, all_paths, path_score, random_lattice

from ostinato.errors import ConfigError, LatticeError
from ostinato.lattice import paths
from ostinato.lattice.lattice import LM, Lattice

FEW = settings(max_examples=40, deadline=None)
SIZES = st.integers(2, 9)


@FEW
@given(seed=SEEDS, nodes=SIZES, extra=st.integers(0, 14))
def test_the_best_path_is_the_best_of_all(seed, nodes, extra):
    lattice = random_lattice(seed, nodes, extra)
    scores = {arcs: path_score(lattice, arcs) for arcs in all_paths(lattice)}
    best = paths.best_path(lattice)
    assert best.score == pytest.approx(max(scores.values()), abs=1e-9)
    assert scores[best.arcs] == pytest.approx(best.score, abs=1e-9)
    assert best.words == tuple(w for w in (lattice.words[arc] for arc in best.arcs) if w not in ("", "<s>"))
    assert paths.best_to_end(lattice)[0] == pytest.approx(best.score, abs=1e-9)
    assert paths.best_from_start(lattice)[-1] == pytest.approx(best.score, abs=1e-9)


@FEW
@given(seed=SEEDS, nodes=SIZES, scale=st.floats(0.05, 2))
def test_posteriors_are_the_shares_of_the_paths(seed, nodes, scale):
    lattice = random_lattice(seed, nodes)
    weights = {arcs: math.exp(scale * path_score(lattice, arcs)) for arcs in all_paths(lattice)}
    expected = np.zeros(lattice.arcs)
    for arcs, weight in weights.items():
        expected[list(arcs)] += weight / sum(weights.values())
    np.testing.assert_allclose(paths.posteriors(lattice, scale), expected, atol=1e-9)


def test_posteriors_undo_the_scale_of_the_language_model_unless_told():
    lattice = random_lattice(3)
    np.testing.assert_array_equal(paths.posteriors(lattice), paths.posteriors(lattice, 1 / lattice.scales[LM]))
    unscaled = lattice.weighted({LM: 0.0})
    np.testing.assert_array_equal(paths.posteriors(unscaled), paths.posteriors(unscaled, 1.0))


def test_scores_of_thousands_do_not_overflow():
    lattice = Lattice("u", np.array([0, 0]), np.array([1, 1]), ("a", "b"), {"acoustic": np.array([-9e4, -9e4 - 1])})
    np.testing.assert_allclose(paths.posteriors(lattice), [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))], rtol=1e-9)


@FEW
@given(seed=SEEDS, nodes=SIZES, beam=st.floats(0, 12))
def test_a_beam_keeps_just_the_arcs_of_near_paths(seed, nodes, beam):
    lattice = random_lattice(seed, nodes)
    scores = {arcs: path_score(lattice, arcs) for arcs in all_paths(lattice)}
    top = max(scores.values())
    near = {arc for arcs, score in scores.items() if score >= top - beam + 1e-9 for arc in arcs}
    nearly = {arc for arcs, score in scores.items() if score >= top - beam - 1e-9 for arc in arcs}
    pruned = paths.prune(lattice, beam=beam / 1.7)
    kept = set(zip(*pruned.scores.values(), strict=True))
    found = {arc for arc, values in enumerate(zip(*lattice.scores.values(), strict=True)) if values in kept}
    assert near <= found <= nearly | set(paths.best_path(lattice).arcs)
    assert paths.best_path(pruned).score == pytest.approx(top, abs=1e-9)


@FEW
@given(seed=SEEDS, threshold=st.floats(0.01, 1))
def test_a_threshold_cuts_what_is_improbable_and_never_the_best_path(seed, threshold):
    lattice = random_lattice(seed)
    best = paths.best_path(lattice)
    pruned = paths.prune(lattice, posterior=threshold)
    assert paths.best_path(pruned).words == best.words
    kept = set(zip(*pruned.scores.values(), strict=True))
    for arc, values in enumerate(zip(*lattice.scores.values(), strict=True)):
        if values in kept:
            assert paths.posteriors(lattice)[arc] >= threshold or arc in best.arcs
    loose = paths.prune(lattice, posterior=0.0)
    assert loose.arcs == lattice.arcs


def test_a_probable_arc_stays():
    lattice = random_lattice(5)
    keep = paths.posteriors(lattice) >= 0.3
    assert 1 < keep.sum() < lattice.arcs
    assert paths.prune(lattice, posterior=0.3).arcs >= keep.sum()


@FEW
@given(seed=SEEDS, nodes=SIZES, n=st.integers(1, 40), penalty=st.sampled_from([-0.4, 3.0, 20.0]))
def test_n_best_paths_are_the_first_of_all_sorted(seed, nodes, n, penalty):
    """Where words are rewarded an arc may add to a score: what is best so far says nothing of the whole."""
    lattice = replace(random_lattice(seed, nodes), penalty=penalty)
    expected = sorted((path_score(lattice, arcs) for arcs in all_paths(lattice)), reverse=True)[:n]
    found = paths.n_best(lattice, n, distinct=False)
    np.testing.assert_allclose([path.score for path in found], expected, atol=1e-9)
    assert len({path.arcs for path in found}) == len(found)
    for path in found:
        assert path_score(lattice, path.arcs) == pytest.approx(path.score, abs=1e-9)


@FEW
@given(seed=SEEDS, nodes=SIZES, n=st.integers(1, 40), penalty=st.sampled_from([-0.4, 3.0, 20.0]))
def test_distinct_n_best_are_the_best_of_each_string(seed, nodes, n, penalty):
    lattice = replace(random_lattice(seed, nodes, words=("", "a", "b", "<s>")), penalty=penalty)
    best: dict[tuple[str, ...], float] = {}
    for arcs in all_paths(lattice):
        words = tuple(w for w in (lattice.words[arc] for arc in arcs) if w not in ("", "<s>"))
        best[words] = max(best.get(words, -math.inf), path_score(lattice, arcs))
    found = paths.n_best(lattice, n)
    np.testing.assert_allclose([path.score for path in found], sorted(best.values(), reverse=True)[:n], atol=1e-9)
    assert len({path.words for path in found}) == len(found) == min(n, len(best))
    for path in found:
        assert path.score == pytest.approx(best[path.words], abs=1e-9)
        assert path_score(lattice, path.arcs) == pytest.approx(path.score, abs=1e-9)


def test_a_hundred_strings_of_two_to_the_thousand_paths():
    """Each of a thousand places has two arcs of the same word: distinct strings differ at the last place alone."""
    starts = np.repeat(np.arange(1000), 2)
    words = [f"w{place}" for place in range(1000) for _ in range(2)]
    starts, ends = np.append(starts, np.full(100, 1000)), np.append(starts + 1, np.full(100, 1001))
    words += [f"end{number}" for number in range(100)]
    scores = {"acoustic": np.append(np.tile([-1.0, -1.5], 1000), -np.arange(100.0))}
    lattice = Lattice("u", starts, ends, tuple(words), scores)
    found = paths.n_best(lattice, 101)
    assert [path.score for path in found] == [-1000.0 - number for number in range(100)]
    assert [path.words[-1] for path in found] == [f"end{number}" for number in range(100)]


@pytest.mark.parametrize("score", [0.0, -0.1, 1 / 3])
def test_equals_are_not_gone_through_side_by_side(score):
    """Forty places with two words each, all paths as good: 2 ** 40 of them, whose sums are rounded as they come."""
    starts = np.repeat(np.arange(40), 2)
    words = tuple(f"{side}{place}" for place in range(40) for side in "ab")
    lattice = Lattice("u", starts, starts + 1, words, {"acoustic": np.full(80, score)})
    for distinct in (True, False):
        first, second, third = paths.n_best(lattice, 3, distinct=distinct)
        assert first == paths.best_path(lattice)
        assert first.words == tuple(f"a{place}" for place in range(40))
        assert [len(set(each.words) - set(first.words)) for each in (second, third)] == [1, 1]


def test_a_lattice_of_one_node_has_one_empty_path():
    lattice = Lattice("u", np.zeros(0), np.zeros(0), (), {"acoustic": np.zeros(0)})
    assert paths.best_path(lattice) == paths.Path((), 0.0, ())
    assert paths.n_best(lattice, 3) == paths.n_best(lattice, 3, distinct=False) == [paths.Path((), 0.0, ())]
    assert paths.prune(lattice, beam=1.0, posterior=0.5).nodes == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda one: paths.n_best(one, 0), "n is 0"),
        (lambda one: paths.prune(one, beam=-1), "beam is -1"),
        (lambda one: paths.prune(one, beam=math.nan), "beam is nan"),
        (lambda one: paths.prune(one, posterior=1.5), "posterior 1.5"),
        (lambda one: paths.posteriors(one, 0.0), "scale of posteriors is 0.0"),
        (lambda one: paths.posteriors(one, math.nan), "scale of posteriors is nan"),
        (lambda one: paths.posteriors(one, 1e308), r"scale of posteriors is 1e\+308"),
    ],
)
def test_settings_out_of_range_are_refused(call, says):
    with pytest.raises(ConfigError, match=says):
        call(random_lattice(1))


def arrays(**changes):
    whole = {
        "name": "u",
        "starts": np.array([0, 0, 1]),
        "ends": np.array([1, 2, 2]),
        "words": ("a", "b", "c"),
        "scores": {"acoustic": np.array([-1.0, -2.0, -3.0])},
    }
    return {**whole, **changes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"starts": np.array([0, 1, 0])}, "topological order"),
        ({"starts": np.array([0, 2, 2])}, "topological order"),
        ({"starts": np.array([1, 1, 1]), "ends": np.array([2, 2, 2])}, "topological order"),
        ({"ends": np.array([2, 2, 2])}, "not on a path"),
        ({"ends": np.array([1, 3, 3])}, "not on a path"),
        ({"words": ("a", "b")}, "expected one of each for every arc"),
        ({"notes": {"v": ("1", "2")}}, "expected one of each for every arc"),
        ({"times": np.zeros(4)}, "4 times for 3 nodes"),
        ({"scores": {"lm": np.array([0.0, np.nan, 0.0])}}, "lm score of arc 1 is nan"),
        ({"scores": {"lm": np.array([0.0, 0.0, -np.inf])}}, "lm score of arc 2 is -inf"),
        ({"scales": {"lm": np.nan}}, "scale of lm is nan"),
        ({"penalty": np.inf}, "scale of word penalty is inf"),
        ({"scores": {"lm": np.full(3, -1.5e308)}}, "too large to be added up"),
        ({"scores": {"lm": np.array([1e307, 0.0, 0.0])}, "scales": {"lm": 100.0}}, "too large to be added up"),
        (
            {"scores": {"lm": np.array([1e308, 0, 0]), "a": np.array([-1e308, 0, 0])}, "scales": {"lm": 9, "a": 9}},
            "large",
        ),
    ],
)
def test_a_lattice_that_is_none_is_refused(changes, says):
    Lattice(**arrays())
    with pytest.raises(LatticeError, match=says):
        Lattice(**arrays(**changes))


def test_a_lattice_cannot_be_changed():
    given = np.array([-1.0, -2.0, -3.0])
    lattice = Lattice(**arrays(scores={"acoustic": given}, times=np.zeros(3)))
    given[0] = 5.0
    assert lattice.scores["acoustic"][0] == -1.0
    for array in (lattice.starts, lattice.ends, lattice.scores["acoustic"], lattice.times):
        with pytest.raises(ValueError):
            array[0] = 1


def test_a_subset_leaves_out_what_is_cut_off_with_it():
    lattice = random_lattice(2, nodes=8, extra=12)
    arc = lattice.arcs // 2
    kept = np.arange(lattice.arcs) != arc
    expected = sorted(round(path_score(lattice, arcs), 9) for arcs in all_paths(lattice) if arc not in arcs)
    rest = lattice.subset(kept)
    assert sorted(round(path_score(rest, arcs), 9) for arcs in all_paths(rest)) == expected
    with pytest.raises(LatticeError, match="no path"):
        lattice.subset(np.zeros(lattice.arcs, np.bool_))
