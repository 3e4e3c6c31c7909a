from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from table_models import Bigram, random_bigram

from ostinato.decode.beam import Hypothesis, beam_search
from ostinato.errors import ConfigError
from ostinato.types import State

END = 0


def every(model: Bigram, first: int, most: int, length_penalty: float, *, unfinished: bool = False) -> list[Hypothesis]:
    """All continuations of at most ``most`` tokens, best first."""
    found = []
    for length in range(1, most + 1):
        for ids in itertools.product(range(1, model.vocab_size), repeat=length - 1):
            chain = [first, *ids]
            logprob = sum(math.log(model.table[a, b]) for a, b in itertools.pairwise(chain))
            ended = logprob + math.log(model.table[chain[-1], END])
            found.append(Hypothesis(ids, ended, ended / length**length_penalty, True))
            if length == most and unfinished:
                found += [
                    Hypothesis((*ids, last), value, value / length**length_penalty, False)
                    for last in range(1, model.vocab_size)
                    for value in [logprob + math.log(model.table[chain[-1], last])]
                ]
    return sorted(found, key=lambda one: -one.score)


def states(model: Bigram, firsts: list[int]) -> State:
    return model.step(np.array(firsts), model.start(len(firsts)))[1]


@pytest.mark.parametrize("seed", range(8))
def test_a_beam_that_loses_nothing_finds_the_best_of_all(seed):
    """As wide as there are unfinished hypotheses, 3^3: nothing is dropped, and undivided scores only ever fall."""
    model = random_bigram(4, seed=seed)
    found = beam_search(model, states(model, [2]), end=END, width=27, most=4, length_penalty=0.0)[0]
    ended = [one for one in found if one.finished]
    for one, other in zip(ended[:5], every(model, 2, 4, 0.0)[:5], strict=True):
        assert one.ids == other.ids
        assert one.logprob == pytest.approx(other.logprob, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_log_probabilities_over_a_power_of_the_length(seed):
    model = random_bigram(4, seed=seed)
    found = beam_search(model, states(model, [2]), end=END, width=5, most=4, length_penalty=0.7)[0]
    known = {(one.ids, one.finished): one for one in every(model, 2, 4, 0.7, unfinished=True)}
    assert found
    for one in found:
        assert one.logprob == pytest.approx(known[one.ids, one.finished].logprob, rel=1e-5)
        assert one.score == pytest.approx(known[one.ids, one.finished].score, rel=1e-5)


def test_what_is_not_finished_counts_where_too_little_is():
    model = Bigram(np.array([[0.001, 0.999], [0.001, 0.999]]))
    found = beam_search(model, model.start(1), end=END, width=1, most=3)[0]
    assert [(one.ids, one.finished) for one in found] == [((1, 1, 1), False)]


def test_width_one_takes_the_likeliest_token_each_time():
    model = random_bigram(9, seed=3)
    found = beam_search(model, states(model, [4]), end=END, width=1, most=12)[0]
    ids, last = [], 4
    while len(ids) < 12:
        last = int(model.table[last].argmax())
        if last == END:
            break
        ids.append(last)
    assert len(found) == 1
    assert found[0].ids == tuple(ids)


def test_a_wider_beam_finds_what_a_greedy_search_misses():
    """Token 1 is the likelier beginning, but nothing after it is likely."""
    table = np.array([[0, 0.55, 0.45, 0], [0.2, 0.3, 0.25, 0.25], [0.05, 0.02, 0.03, 0.9], [0.97, 0.01, 0.01, 0.01]])
    model = Bigram(table)
    state = model.start(1)
    assert beam_search(model, state, end=END, width=1, most=5, length_penalty=0.0)[0][0].ids[0] == 1
    assert beam_search(model, state, end=END, width=2, most=5, length_penalty=0.0)[0][0].ids == (2, 3)


def test_searches_side_by_side_are_searches_alone():
    model, firsts, limits = random_bigram(7, seed=5), [3, 1, 6, 3], [9, 4, 7, 2]
    together = beam_search(model, states(model, firsts), end=END, width=3, most=limits)
    alone = [
        beam_search(model, states(model, [first]), end=END, width=3, most=limit)[0]
        for first, limit in zip(firsts, limits, strict=True)
    ]
    assert together == alone
    assert all(len(one.ids) <= limit for found, limit in zip(together, limits, strict=True) for one in found)
    assert together[0] != together[3]


def test_no_hypothesis_twice_and_no_banned_token():
    model = random_bigram(5, seed=1)
    found = beam_search(model, states(model, [2]), end=END, width=6, most=6, banned=[3])[0]
    assert len({one.ids for one in found}) == len(found) > 1
    assert all(3 not in one.ids for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_none_is_finished_before_the_least_length():
    model = random_bigram(5, seed=4)
    for least in (0, 1, 4):
        found = beam_search(model, states(model, [2, 3]), end=END, width=4, most=9, least=least)
        lengths = [len(one.ids) for each in found for one in each]
        assert min(lengths) >= least
    likely = Bigram(np.array([[0.9, 0.1], [0.6, 0.4]]))
    assert beam_search(likely, likely.start(1), end=END, width=2, most=5)[0][0].ids == ()
    assert beam_search(likely, likely.start(1), end=END, width=2, most=5, least=1)[0][0].ids[:1] == (1,)


def test_a_search_goes_on_while_something_unfinished_is_better():
    """After two steps there are two finished hypotheses, (1,) the better; each further token raises the mean."""
    model = Bigram(np.array([[0.3, 0.7], [0.35, 0.65]]))
    found = beam_search(model, model.start(1), end=END, width=2, most=8)[0]
    assert found[0].finished
    assert len(found[0].ids) > 1
    assert found[0].score > math.log(0.7 * 0.35) / 2


def test_length_penalty_decides_between_short_and_long():
    table = np.array([[0.02, 0.98, 0.0], [0.25, 0.05, 0.7], [0.3, 0.0, 0.7]])
    model = Bigram(table)
    short, long = (
        beam_search(model, model.start(1), end=END, width=4, most=9, length_penalty=power)[0][0].ids
        for power in (0.0, 1.0)
    )
    assert len(short) < len(long)


@pytest.mark.parametrize("options", [{"width": 0}, {"most": 0}, {"most": [3, 3]}, {"length_penalty": math.nan}])
def test_a_setting_out_of_range_is_refused(options):
    model = random_bigram(4)
    with pytest.raises(ConfigError, match="expected 1 or more"):
        beam_search(model, model.start(1), end=END, **options)
