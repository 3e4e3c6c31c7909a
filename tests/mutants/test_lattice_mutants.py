# ruff: noqa: E501 - a mutation stands on one line
"""Lattices, broken in one place on purpose: all paths, one by one, must notice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from lattices import WholeHistory, all_paths, path_score, random_lattice
from mutants.mutate import mutant, rows
from unit import test_lattice_rescore as rescoring

from ostinato.errors import LatticeError
from ostinato.lattice.lattice import ACOUSTIC, LM, Lattice
from ostinato.lattice.merging import MergeEqual, MergeWords

PATHS, RESCORE = "ostinato.lattice.paths", "ostinato.lattice.rescore"
FEW = range(12)


def lattices():
    for seed in FEW:
        lattice = replace(random_lattice(seed, 8, 12), penalty=-0.4 if seed % 2 else 20.0)
        yield lattice, {arcs: path_score(lattice, arcs) for arcs in all_paths(lattice)}


def hold_best(paths):
    for lattice, scores in lattices():
        best = paths.best_path(lattice)
        assert scores[best.arcs] == pytest.approx(max(scores.values()))
        assert best.words == tuple(w for w in (lattice.words[arc] for arc in best.arcs) if w not in ("", "<s>"))
        assert paths.best_to_end(lattice)[0] == pytest.approx(max(scores.values()))


def hold_all(paths):
    for lattice, scores in lattices():
        found = [path.score for path in paths.n_best(lattice, 9, distinct=False)]
        np.testing.assert_allclose(found, sorted(scores.values(), reverse=True)[:9])


def hold_strings(paths):
    for lattice, scores in lattices():
        best = {}
        for arcs, score in scores.items():
            words = lattice.text(arcs)
            best[words] = max(best.get(words, -math.inf), score)
        found = [path.score for path in paths.n_best(lattice, 9)]
        np.testing.assert_allclose(found, sorted(best.values(), reverse=True)[:9])


def hold_shares(paths):
    for lattice, scores in lattices():
        weights = {arcs: math.exp(score / lattice.unit) for arcs, score in scores.items()}
        expected = np.zeros(lattice.arcs)
        for arcs, weight in weights.items():
            expected[list(arcs)] += weight / sum(weights.values())
        np.testing.assert_allclose(paths.posteriors(lattice), expected, atol=1e-9)


def hold_pruned(paths):
    for lattice, scores in lattices():
        top = max(scores.values())
        near = {arc for arcs, score in scores.items() if score >= top - 5.0 * lattice.unit for arc in arcs}
        pruned = paths.prune(lattice, beam=5.0)
        kept = set(zip(*pruned.scores.values(), strict=True))
        assert {n for n, each in enumerate(zip(*lattice.scores.values(), strict=True)) if each in kept} == near
        likely = paths.prune(lattice, posterior=0.97)
        assert set(paths.best_path(lattice).words) <= set(likely.words)
        assert likely.arcs < lattice.arcs


def hold_rescored(module):
    for seed in FEW:
        lattice, scorer = random_lattice(seed, words=rescoring.WORDS), WholeHistory(seed)
        done = module.rescore(lattice, scorer, new=0.7, old=0.3)
        expected = rescoring.expected(lattice, scorer, 0.7, 0.3)
        assert rescoring.found(done.lattice) == expected
        assert done.best.score == pytest.approx(max(score for _, score in expected), abs=1e-6)
        assert len(scorer.asked) == len(set(scorer.asked)) == done.read


def hold_merged(module):
    for seed in FEW:
        lattice, scorer = random_lattice(seed, words=rescoring.WORDS), WholeHistory(seed, 2)
        for merge in (MergeWords(2), MergeEqual()):
            assert rescoring.found(module.rescore(lattice, scorer, merge=merge).lattice) == rescoring.expected(
                lattice, scorer
            )


def hold_beam(module):
    """Where old and new scores agree the estimate is exact."""
    for seed in FEW:
        lattice = random_lattice(seed, 8, words=("to", "be"))
        scores = {arcs: path_score(lattice, arcs) for arcs in all_paths(lattice)}
        best = max(scores.values())
        alone = module.rescore(lattice, WholeHistory(1), new=0.0, old=1.0, beam=1e-9)
        assert [score for _, score in rescoring.found(alone.lattice)] == [pytest.approx(best)]
        within = rescoring.found(module.rescore(lattice, WholeHistory(1), new=0.0, old=1.0, beam=4.0).lattice)
        near = {lattice.text(arcs) for arcs, score in scores.items() if score > best - 4.0 * lattice.unit}
        assert near == {words for words, _ in within}


def hold_limit(module):
    """By the sound alone, by the old score, or with the new one counted once, ``a`` would stay; it is ``b``."""
    sound = {ACOUSTIC: np.array([-1.0, -2.0, 0.0]), LM: np.array([0.0, -9.0, 0.0])}
    lattice = Lattice("u", np.array([0, 0, 1]), np.array([1, 1, 2]), ("a", "b", "c"), sound, {LM: 3.0})
    done = module.rescore(lattice, rescoring.Table({"a": -1.5, "b": -1.0, "c": -0.1}), limit=1)
    assert done.lattice.words == ("b", "c")
    for seed in FEW:
        lattice = random_lattice(seed, 8)
        assert module.rescore(lattice, WholeHistory(1), limit=2).hypotheses <= 2 * lattice.nodes - 2


# What is wrong, in which class or function, and which source becomes which.
MUTANTS = {
    (PATHS, hold_best): [
        ("the worst path", "_forward", "if score > best[end]", "if score < best[end] or best[end] == -math.inf"),
        ("the last arc to a node", "_forward", "if score > best[end]", "if True"),
        ("scores do not add up", "_forward", "score = best[start] + total", "score = total"),
        ("the arcs backwards", "best_path", "arcs[::-1]", "arcs"),
        ("scores to the end do not add up", "best_to_end", "score = total + best[end]", "score = total"),
    ],
    (PATHS, hold_all): [
        ("no look ahead", "_losses", " + after[lattice.ends]", ""),
        ("the way so far is forgotten", "_all_paths", "lost + losses[arc]", "losses[arc]"),
        ("an arc of each node is left out", "_all_paths", "range(firsts[node], firsts[node + 1])", "range(firsts[node], firsts[node + 1] - (firsts[node + 1] - firsts[node] > 2))"),
    ],
    (PATHS, hold_strings): [
        ("silence is a word", "_through_silence", "if not lattice.spoken[arc]", "if False"),
        ("the end is never reached by silence", "_distinct", "front = _through_silence(lattice, losses, front)", "front = dict(front)"),
        ("one word leads to one node", "_reach", "if end not in front or lost < front[end][0]", "if not front"),
        ("the first way to a node", "_reach", "if end not in front or lost < front[end][0]", "if end not in front"),
        ("the way so far is forgotten", "_next_words", "lost + float", "float"),
        ("silence loses nothing", "_through_silence", "lost + float(losses[arc])", "lost"),
        ("as good as the worst way on", "_distinct", "min(lost for", "max(lost for"),
    ],
    (PATHS, hold_shares): [
        ("the best instead of the sum", "_log_add", "high + math.log1p(math.exp(low - high)) if low > -math.inf else high", "high"),
        ("an arc's own score is left out", "posteriors", "+ totals + np.array(after)", "+ np.array(after)"),
        ("not of one", "posteriors", " - after[0]", ""),
        ("unscaled", "posteriors", "scaled = scale * lattice.totals", "scaled = lattice.totals"),
    ],
    (PATHS, hold_pruned): [
        ("a beam of totals", "prune", "beam * lattice.unit", "beam"),
        ("what comes after does not count", "prune", " + after[lattice.ends]", ""),
        ("thresholds upside down", "prune", "posteriors(lattice, scale) >= posterior", "posteriors(lattice, scale) < posterior"),
        ("the best path may go", "prune", "    kept[list(best_path(lattice).arcs)] = True\n", ""),
    ],
    (RESCORE, hold_rescored): [
        ("no part of the old score", "rescore", "limit, new, old)", "limit, new, 0.0)"),
        ("no weight", "_Search", "self._new * lm[picked]", "lm[picked]"),
        ("no end of the sentence", "_Search", "lm += next(closing)", "next(closing)"),
        ("an end after every word", "_Search", "if self._ends[arc] == last and lm > -math.inf", "if lm > -math.inf"),
        ("silence is read", "_Search", "if self._spoken[arc]])", "])"),
        ("the state before the word", "_Reader", "self._number(state)", "pair[0]"),
        ("read again and again", "_Reader", " if pair not in self._known", ""),
        ("two nodes as one", "_levels", "max(depth[end], depth[start] + 1)", "max(depth[end], depth[start])"),
    ],
    (RESCORE, hold_merged): [
        ("histories of other lengths", "_Search", "[-self.merge.words :]", "[: self.merge.words]"),
        ("histories are not kept", "_Search", "history = (*history, words[arc])", "history = (*history, 'x')"),
        ("arcs of what is merged are lost", "_Search", "            if one.arc >= 0:\n", "            if one.arc >= 0 and one.score == made[leader].score:\n"),
    ],
    (RESCORE, hold_beam): [
        ("no beam", "rescore", "beam * lattice.unit", "math.inf"),
        ("a beam of totals", "rescore", "beam * lattice.unit", "beam"),
        ("no look ahead", "_Search", "if one.score + self._after[node] >= best", "if one.score >= best"),
        ("what waits further on does not count", "_Search", "score + self._after[node] for node, score in self._highest.items()", "score + self._after[node] - 1e9 for node, score in self._highest.items()"),
    ],
    (RESCORE, hold_limit): [
        ("the old score stays", "_Search", "lattice.totals - scale * before + scale * old * before", "lattice.totals"),
        ("the new score counts once", "_Search", "self._weight = scale * new", "self._weight = new"),
        ("the worst history leads", "_Search", "key=lambda one: -one.score", "key=lambda one: one.score"),
        ("no limit", "_Search", "self.limit is not None and len(made) == self.limit", "False"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("module", "hold", "inside", "old", "new"), rows(MUTANTS))
def test_broken_lattices_die(module, hold, inside, old, new):
    with pytest.raises((AssertionError, KeyError, IndexError, RuntimeError, StopIteration, ValueError, LatticeError)):
        hold(mutant(module, old, new, inside))


@pytest.mark.parametrize(("module", "hold"), MUTANTS, ids=lambda each: getattr(each, "__name__", each))
def test_sound_lattices_live(module, hold):
    """Without a mutation the same checks pass."""
    hold(mutant(module, "from __future__ import annotations\n", "from __future__ import annotations\n"))
