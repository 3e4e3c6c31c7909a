"""The composer is what its equations say: brute force over the keys, ragged batches, causality, gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from composing import LENGTHS, batch, draw_rolls, small
from modelling import PLAIN, close, draw, randomise
from torch.nn import functional

from ostinato.architectures import expected_tensors
from ostinato.config import CELLS, Regularisers
from ostinato.data.rolls import KEYS
from ostinato.models.composer import RecurrentComposer, below
from ostinato.nn.chain import Chain

OUTPUTS, MELODIES = ("chain", "bernoulli"), ("none", "past", "whole")


def model_of(regularisers=PLAIN, layers=None, **changes):
    return randomise(RecurrentComposer(small(layers, **changes), regularisers))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("melody", MELODIES)
def test_tensors_are_those_of_the_architecture(cell, output, melody):
    model = RecurrentComposer(small({"cell": cell}, output=output, melody=melody), PLAIN)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected_tensors(model.config)


def test_a_fresh_model_expects_a_few_keys():
    torch.manual_seed(0)
    model = RecurrentComposer(small({"hidden": (40,), "embed": 30}), PLAIN)
    keys, lengths = batch((20, 20))
    expected = torch.sigmoid(model.output.bias).sum()
    assert 3 < expected < 6
    assert model.nats(0 * keys, lengths).mean() < 0.2 * KEYS * torch.log(torch.tensor(2.0))


def held_to_the_definition(output, melody):
    """Each step key by key, in loops: what is said of a key is made from the readout and the keys above it alone."""
    model = model_of(output=output, melody=melody)
    keys, lengths = batch()
    nats, found = model.nats(keys, lengths), []
    for t in range(max(LENGTHS)):
        for b, length in enumerate(LENGTHS):
            if t < length:
                alone = model.readout(keys[: length + 1, b : b + 1], lengths[b : b + 1])[t, 0]
                found.append(sum(_terms(model, alone, keys[t + 1, b].tolist(), melody), torch.zeros(())))
    close(nats, torch.stack(found))


def _terms(model, readout, keys, melody):
    """``-log p`` of each key that counts, the highest first."""
    a = None
    if model.config.output == "chain":
        a = model.chain.weight @ readout + model.chain.bias
    open_to = melody == "none"
    for k in reversed(range(KEYS)):
        logit = model.output.weight[k] @ readout + model.output.bias[k]
        if a is not None:
            logit = logit + model.chain.output[k] @ torch.tanh(a)
        if open_to:
            yield -functional.logsigmoid(logit if keys[k] else -logit)
        if keys[k]:
            open_to = True
            a = None if a is None else a + model.chain.above[k]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("melody", MELODIES)
def test_nats_key_by_key(output, melody):
    held_to_the_definition(output, melody)


@pytest.mark.parametrize("melody", MELODIES)
def test_what_the_layers_read(melody):
    model = model_of(melody=melody)
    keys, lengths = batch((6, 6))
    x = torch.zeros(6, 2, 6)
    ahead = torch.zeros(6, 2, 6)
    for t, b in itertools.product(range(6), range(2)):
        x[t, b] = sum((model.embedding.weight[k] for k in range(KEYS) if keys[t, b, k]), torch.zeros(6))
        highest = max((k for k in range(KEYS) if keys[t + 1, b, k]), default=None)
        if melody != "none" and highest is not None:
            ahead[t, b] = model.melody_embedding.weight[highest]
    h, _ = model.stack(x + ahead, model.stack.initial_state(2))
    if melody == "whole":
        back, _ = model.melody_stack(ahead.flip(0), model.melody_stack.initial_state(2))
        h = torch.cat([h, back.flip(0)], dim=-1)
    close(model.readout(keys, lengths), h)


def test_a_chain_is_a_distribution():
    """Over all 32 patterns of five keys the probabilities sum to one, for each of three readouts."""
    chain = randomise(Chain(5, 4, 3))
    readout, base = draw(3, 3), draw(3, 5, seed=8)
    patterns = torch.tensor(list(itertools.product([False, True], repeat=5)))
    total = torch.zeros(3)
    for pattern in patterns:
        keys = pattern.expand(3, 5)
        logits = base + chain(readout, keys)
        total += torch.exp(-functional.binary_cross_entropy_with_logits(logits, keys.float(), reduction="none").sum(1))
    close(total, torch.ones(3))


def test_no_key_and_every_key_may_sound():
    chain = randomise(Chain(5, 4, 3))
    keys = torch.tensor([[False] * 5, [True] * 5, [True] + [False] * 4])
    assert chain(draw(3, 3), keys).shape == (3, 5)
    close(chain(draw(3, 3), keys)[:1], chain(draw(3, 3)[:1], keys[:1]))
    assert chain(draw(3, 3)[:0], keys[:0]).shape == (0, 5)


@pytest.mark.parametrize("melody", MELODIES)
def test_a_step_depends_on_what_it_may_see(melody):
    model = model_of(melody=melody)
    keys, lengths = batch((8,))
    keys[4:7, 0, 70] = True  # nothing above it is changed
    keys[4:7, 0, 71:] = False
    before = model.nats(keys, lengths)
    lower = keys.clone()
    lower[5, 0, 10] ^= True
    changed = (model.nats(lower, lengths) - before).abs() > 0
    assert not changed[:4].any()
    assert changed[4:].all()
    higher = keys.clone()
    higher[5, 0, 80] = True
    changed = (model.nats(higher, lengths) - before).abs() > 0
    assert changed[:4].any() == (melody == "whole")
    assert changed[4]


def test_below_is_below_the_highest():
    keys = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.bool)
    expected = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    assert torch.equal(below(keys), expected)


def test_what_follows_a_piece_means_nothing():
    model = model_of(melody="whole")
    keys, lengths = batch()
    other = keys.clone()
    for b, length in enumerate(LENGTHS):
        other[length + 1 :, b] ^= True
    close(model.nats(other, lengths), model.nats(keys, lengths))


@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_reach_every_weight_and_agree_with_differences(output):
    """Central differences along random directions, in float64, for every tensor by itself."""
    model = model_of(output=output, melody="whole").double()
    keys, lengths = batch()
    model.nats(keys, lengths).sum().backward()
    for name, parameter in model.named_parameters():
        direction = draw(*parameter.shape, seed=9).double()
        ahead, behind = (_moved(model, parameter, sign * 1e-5 * direction, keys, lengths) for sign in (1, -1))
        expected = (ahead - behind) / 2e-5
        got = (parameter.grad * direction).sum()
        assert abs(got) > 0, name
        assert abs(got - expected) <= 1e-6 * max(1.0, abs(expected)), name


def _moved(model, parameter, by, keys, lengths):
    with torch.no_grad():
        parameter.add_(by)
        nats = model.nats(keys, lengths).sum()
        parameter.sub_(by)
    return nats


def test_each_dropout_has_its_place():
    keys, lengths = batch((6, 6))
    for name in ("dropout_input", "dropout_output", "dropout_hidden"):
        model = model_of(Regularisers(**{name: 0.5}), melody="whole")
        torch.manual_seed(0)
        assert not torch.equal(model.nats(keys, lengths), model.nats(keys, lengths)), name
        model.eval()
        close(model.nats(keys, lengths), model_of(melody="whole").nats(keys, lengths))
    model = model_of(Regularisers(dropout_output=0.5))
    assert 0.3 < (model.readout(keys, lengths) == 0).float().mean() < 0.7


def test_rolls_differ_enough_to_test_with():
    counts = [int(step.sum()) for roll in draw_rolls() for step in roll]
    assert 0 in counts
    assert len(set(counts)) > 5
