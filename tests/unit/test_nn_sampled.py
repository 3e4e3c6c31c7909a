"""The sampled output layer: who the candidates are, what the correction is, and where it leads."""

import math

import pytest
import torch
import torch.nn.functional as F
from modelling import close, draw, draw_ids, draw_state, randomise, small

from ostinato.config import Regularisers
from ostinato.errors import ConfigError
from ostinato.kernels.autograd import linear_cross_entropy
from ostinato.models.build import build
from ostinato.nn.sampled import SampledSoftmax

V = 12
COUNTS = torch.tensor([400, 0, 3, 250, 90, 60, 1, 30, 20, 8, 130, 7])
SHARE = (COUNTS + 1.0).double() / (COUNTS + 1.0).double().sum()
DRAWS = 4000


def held(draws):
    """Of each token, the probability that so many draws from the text hold it."""
    return 1 - (1 - SHARE) ** draws


def draws_that_hold(wanted):
    """How many draws hold so many different tokens on average: the curve is concave, so tangents meet it from below."""
    draws = float(wanted)
    for _ in range(50):
        missed = (1 - SHARE) ** draws
        draws += (wanted - V + missed.sum().item()) / -(missed * (1 - SHARE).log()).sum().item()
    return draws


def assert_frequencies(counted, expected, trials):
    """Of independent trials; five standard deviations, false alarm one in a million and a half a token."""
    spread = (expected * (1 - expected) / trials).sqrt()
    assert ((counted / trials - expected).abs() <= 5 * spread + 1e-9).all()


def arguments(targets, seed=1):
    """Readout, weight and bias of a layer, as leaves, and the targets."""
    leaves = draw(len(targets), 3, seed=seed), draw(V, 3, seed=seed + 1), draw(V, seed=seed + 2)
    return *(leaf.requires_grad_() for leaf in leaves), targets


def gradients(loss, leaves):
    return torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("drawn", [1, 4, 11])
def test_so_many_join_on_average_each_as_often_as_so_many_draws_hold_it(drawn):
    torch.manual_seed(0)
    sampled, target = SampledSoftmax(COUNTS, drawn), torch.tensor([0])
    joined = torch.zeros(V)
    for _ in range(DRAWS):
        joined[sampled.candidates(target)[0]] += 1
    expected = held(draws_that_hold(drawn))
    assert expected.sum().item() == pytest.approx(drawn)
    assert_frequencies(joined[1:], expected[1:], DRAWS)
    assert joined[0] == DRAWS


def test_inclusion_is_how_often_noise_and_the_other_targets_bring_a_token():
    """The other targets are drawn from the text here, as the equation takes them to be."""
    torch.manual_seed(1)
    sampled, others = SampledSoftmax(COUNTS, 4), 5
    joined, said = torch.zeros(V), torch.zeros(V)
    for _ in range(DRAWS):
        targets = torch.multinomial(SHARE, others, replacement=True)
        joined[sampled.candidates(targets)[0]] += 1
        found, log_inclusion, _ = sampled.candidates(torch.cat([targets, torch.tensor([1])]))
        said[found] = log_inclusion.exp()
    assert_frequencies(joined, said, DRAWS)


def test_candidates_ascend_and_hold_the_targets_where_it_says():
    sampled, targets = SampledSoftmax(COUNTS, 3), torch.tensor([6, 1, 6, 11])
    for seed in range(20):
        torch.manual_seed(seed)
        found, _, places = sampled.candidates(targets)
        assert torch.equal(found[places], targets)
        assert torch.equal(found, found.unique())


def test_a_saved_generator_state_repeats_the_candidates():
    sampled, targets = SampledSoftmax(COUNTS, 4), torch.tensor([3])
    saved = torch.get_rng_state()
    first = [sampled.candidates(targets)[0].tolist() for _ in range(9)]
    torch.set_rng_state(saved)
    assert [sampled.candidates(targets)[0].tolist() for _ in range(9)] == first
    assert len(set(map(tuple, first))) > 1


def test_the_loss_is_cross_entropy_among_the_candidates_corrected():
    sampled = SampledSoftmax(COUNTS, 3)
    x, weight, bias, targets = arguments(torch.tensor([6, 0, 6, 11, 3]))
    torch.manual_seed(2)
    found, _, places = sampled.candidates(targets)
    assert 4 <= len(found) < V
    correction = held(draws_that_hold(3) + len(targets) - 1).log().float()
    scores = (x @ weight.T + bias - correction)[:, found]
    expected = F.cross_entropy(scores, places, reduction="sum")
    torch.manual_seed(2)
    actual = sampled.cross_entropy(x, weight, bias, targets)
    close(actual, expected)
    for a, b in zip(gradients(actual, (x, weight, bias)), gradients(expected, (x, weight, bias)), strict=True):
        close(a, b)


def test_with_all_tokens_certain_it_is_the_full_softmax():
    """Of 30,000 targets from 12 tokens every one is a candidate, and would be without being the target."""
    x, weight, bias, targets = arguments(draw_ids(30_000, vocab=V))
    full = linear_cross_entropy(x, weight, bias, targets)
    sampled = SampledSoftmax(COUNTS, 1).cross_entropy(x, weight, bias, targets)
    torch.testing.assert_close(sampled, full, rtol=1e-6, atol=0)
    for a, b in zip(gradients(sampled, (x, weight, bias)), gradients(full, (x, weight, bias)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-2)  # float32 sums of 30,000


def mean_gradient(draw_targets, leaf, loss, rounds):
    """Of ``loss(targets)`` with respect to ``leaf``, over draws of targets and candidates, and its standard error."""
    total, squares = torch.zeros_like(leaf), torch.zeros_like(leaf)
    for _ in range(rounds):
        (d,) = gradients(loss(draw_targets()), (leaf,))
        total, squares = total + d, squares + d * d
    mean = total / rounds
    return mean, ((squares / rounds - mean * mean) / rounds).sqrt()


def test_the_expected_gradient_is_zero_at_the_distribution_of_the_text():
    """One target a window, scores that say how likely each token is: only the drawn ones are random beside it."""
    torch.manual_seed(3)
    truth = torch.softmax(draw(V), 0)
    bias, sampled = truth.log().requires_grad_(), SampledSoftmax(COUNTS, 4)
    x, weight = torch.zeros(1, 3), torch.zeros(V, 3)

    def target():
        return torch.multinomial(truth, 1)

    def uncorrected(targets):
        found, _, places = sampled.candidates(targets)
        return linear_cross_entropy(x, weight[found], bias[found], places)

    mean, error = mean_gradient(target, bias, lambda t: sampled.cross_entropy(x, weight, bias, t), DRAWS)
    assert (mean.abs() <= 5 * error + 1e-6).all()
    wrong, error = mean_gradient(target, bias, uncorrected, DRAWS // 4)
    assert (wrong.abs() > 5 * error).sum() > V / 2


def test_the_expected_gradient_nears_the_full_one_the_more_are_drawn():
    torch.manual_seed(4)
    x, weight, bias, targets = arguments(torch.tensor([0, 9, 1]))
    (full,) = gradients(linear_cross_entropy(x, weight, bias, targets), (weight,))
    apart = []
    for drawn in (2, 6, 11):
        sampled = SampledSoftmax(COUNTS, drawn)
        mean, _ = mean_gradient(
            lambda: targets, weight, lambda t, by=sampled: by.cross_entropy(x, weight, bias, t), DRAWS // 4
        )
        apart.append(((mean - full).norm() / full.norm()).item())
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.05


@pytest.mark.parametrize("drawn", [0, -1, 12, 13, 2.5])
def test_what_cannot_be_drawn_is_refused(drawn):
    with pytest.raises(ConfigError, match=rf"sampled_softmax is {drawn}; expected a whole number from 1 to 11"):
        SampledSoftmax(COUNTS, drawn)


MODELS = {
    "free": {},
    "tied": {"hidden": (5, 6), "tied": True},
    "two sides": {"bidirectional": True},
    "two sides tied": {"bidirectional": True, "hidden": (5, 3), "tied": True},
}


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_a_model_learns_from_the_candidates_and_is_measured_with_all(changes):
    T, B = 5, 2
    model = randomise(build(small(vocab=V, **changes), Regularisers()))
    ids = draw_ids(T + 1 + model.lookahead, B, vocab=V)
    state, sampled, targets = draw_state(model, B), SampledSoftmax(COUNTS, 3), ids[1 : T + 1].flatten()
    measured, _ = model.nats(ids, state)

    torch.manual_seed(5)
    found, log_inclusion, places = sampled.candidates(targets)
    assert len(found) < V
    readout, _ = model.read_window(model.embed(ids), state)
    scores = model.logits(readout).flatten(0, 1)[:, found] - log_inclusion
    expected = F.cross_entropy(scores, places, reduction="sum")
    torch.manual_seed(5)
    actual, _, _ = model.loss(ids, state, sampled.cross_entropy)
    close(actual, expected)
    weights = list(model.parameters())
    for a, b in zip(gradients(actual, weights), gradients(expected, weights), strict=True):
        close(a, b)

    close(model.loss(ids, state)[0], measured.sum())
    assert not math.isclose(actual.item(), measured.sum().item(), rel_tol=1e-3)
