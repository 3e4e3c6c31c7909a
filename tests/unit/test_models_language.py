"""The recurrent language model: what it predicts, what its loss is, what is carried and what is cut."""

import math

import pytest
import torch
import torch.nn.functional as F
from modelling import (
    EVERYTHING,
    PLAIN,
    check_evaluation_is_deterministic,
    check_state_is_cut,
    close,
    draw_ids,
    draw_state,
    overfit,
    randomise,
    small,
)

from ostinato.config import CELLS, ModelConfig, Regularisers
from ostinato.kernels.autograd import Lookup, drop
from ostinato.models.build import build
from ostinato.models.language import RecurrentLanguageModel

T, B = 9, 4


def model_of(regularisers: Regularisers = PLAIN, **changes: object) -> RecurrentLanguageModel:
    return randomise(RecurrentLanguageModel(small(**changes), regularisers))


def test_build_picks_the_model():
    assert type(build(small(), PLAIN)) is RecurrentLanguageModel
    assert type(build(small(bidirectional=True), PLAIN)).__name__ == "BidirectionalLanguageModel"


def test_names_are_those_of_the_bundle():
    names = {"embedding.weight", "output.weight", "output.bias"}
    names |= {f"stack.layers.{k}.{name}" for k in (0, 1) for name in ("weight_ih", "weight_hh", "bias")}
    assert set(model_of().state_dict()) == names
    tied = model_of(hidden=(5, 6), tied=True)
    assert set(tied.state_dict()) == names - {"output.weight"}
    assert len(list(tied.parameters())) == len(names) - 1


@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_nats_are_cross_entropy_of_the_next_token(tied):
    model = model_of(hidden=(5, 6), tied=tied)
    ids, state = draw_ids(T + 1, B), draw_state(model, B)
    matrix = model.embedding.weight if tied else model.output.weight
    readout, last = model.stack(F.embedding(ids[:T], model.embedding.weight), state)
    logits = readout @ matrix.T + model.output.bias
    expected = F.cross_entropy(logits.flatten(0, 1), ids[1:].flatten(), reduction="none").view(T, B)
    nats, carried = model.nats(ids, state)
    close(nats, expected)
    close(model.logits(readout), logits)
    total, penalty, _ = model.loss(ids, state)
    close(total, expected.sum())
    assert penalty.item() == 0.0
    assert all(torch.equal(a, b) for a, b in zip(carried, last, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_windows_with_carried_state_equal_the_whole(cell):
    model = model_of(cell=cell)
    ids, state = draw_ids(22, B), draw_state(model, B)
    whole, last = model.nats(ids, state)
    pieces = []
    for first, stop in ((0, 1), (1, 9), (9, 21)):
        piece, state = model.nats(ids[first : stop + 1], state)
        pieces.append(piece)
    close(torch.cat(pieces), whole)
    for a, b in zip(state, last, strict=True):
        close(a, b)


def test_a_token_is_predicted_from_the_past_alone():
    model = model_of()
    ids, state = draw_ids(T, B), draw_state(model, B)
    readout, _ = model.readout(ids, state)
    for t in range(T):
        changed = ids.clone()
        changed[t] = (changed[t] + 1) % 11
        other, _ = model.readout(changed, state)
        assert torch.equal(other[:t], readout[:t])
        assert (other[t:] != readout[t:]).any(dim=-1).all()


def test_loss_cuts_the_state_from_the_graph():
    check_state_is_cut(model_of())


def test_every_weight_gets_a_gradient():
    for cell in CELLS:
        model = model_of(cell=cell, layer_norm=True)
        model.loss(draw_ids(T + 1, B), draw_state(model, B))[0].backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_tied_gradient_is_the_sum_of_both_uses():
    tied, free = model_of(hidden=(5, 6), tied=True), model_of(hidden=(5, 6))
    weights = tied.state_dict()
    free.load_state_dict({**weights, "output.weight": weights["embedding.weight"]})
    for model in (tied, free):
        model.loss(draw_ids(T + 1, B), model.initial_state(B))[0].backward()
    close(tied.embedding.weight.grad, free.embedding.weight.grad + free.output.weight.grad)


def test_initial_state_is_zero_and_named():
    model = model_of(cell="lstm")
    assert model.state_names() == ("layers.0.h", "layers.0.c", "layers.1.h", "layers.1.c")
    assert [tuple(part.shape) for part in model.initial_state(3)] == [(3, 5), (3, 5), (3, 7), (3, 7)]
    assert not any(part.any() for part in model.initial_state(3))
    assert model.lookahead == 0


@pytest.mark.parametrize("locked", [False, True])
def test_nats_drop_nothing_in_any_mode(locked):
    options = Regularisers(**{**vars(EVERYTHING), "locked": locked})
    check_evaluation_is_deterministic(model_of(options, zoneout=0.2))


def test_mode_comes_back_after_an_error():
    model = model_of()
    with pytest.raises(IndexError):
        model.nats(draw_ids(T + 1, B) + 11, model.initial_state(B))
    assert model.training


def test_saved_generator_state_repeats_a_training_loss():
    model = model_of(EVERYTHING, zoneout=0.2)
    ids, state = draw_ids(T + 1, B), model.initial_state(B)
    saved = torch.get_rng_state()
    first = model.loss(ids, state)[0]
    torch.set_rng_state(saved)
    assert torch.equal(model.loss(ids, state)[0], first)


def test_output_dropout_and_penalties_are_those_of_the_papers():
    """Nothing else draws, so the mask can be drawn again by hand."""
    options = Regularisers(dropout_output=0.4, activation_penalty=2.0, temporal_penalty=3.0)
    model = model_of(options, skip_output=True)
    ids, state = draw_ids(T + 1, B), model.initial_state(B)
    raw, _ = model.readout(ids[:T], state)
    torch.manual_seed(1)
    dropped = drop(raw, 0.4)
    torch.manual_seed(1)
    nats, penalty, _ = model.loss(ids, state)
    close(nats, F.cross_entropy(model.logits(dropped).flatten(0, 1), ids[1:].flatten(), reduction="sum"))
    last_raw, last_dropped = raw[..., 5:], dropped[..., 5:]
    change = last_raw[1:] - last_raw[:-1]
    close(penalty, 2.0 * last_dropped.square().mean() + 3.0 * change.square().mean())
    penalty.backward()
    assert model.stack.layers[0].weight_hh.grad.abs().sum() > 0


def test_penalty_per_token_does_not_grow_with_the_window():
    model = model_of(Regularisers(activation_penalty=1.0, temporal_penalty=1.0))
    ids = draw_ids(1, 1).expand(101, 8)  # a constant text soon gives a constant output
    penalties = [model.loss(ids[: n + 1], model.initial_state(8))[1].item() for n in (50, 100)]
    assert penalties[0] == pytest.approx(penalties[1], rel=0.2)


def test_input_dropout_is_on_the_embedded_input():
    model = model_of(Regularisers(dropout_input=0.5, locked=True))
    x = model.embed(draw_ids(1, B).expand(T, B))
    assert (x == 0).any()
    assert torch.equal(x, x[:1].expand_as(x))
    whole = F.embedding(draw_ids(1, B), model.embedding.weight)
    close(x[0][x[0] != 0], 2 * whole[0][x[0] != 0])
    assert torch.equal(model.eval().embed(draw_ids(1, B)), whole)


def test_embedding_dropout_draws_anew_for_every_window():
    model = model_of(Regularisers(dropout_embedding=0.5), vocab=200)
    ids = torch.arange(200)[:, None]
    first, second = ((model.embed(ids) == 0).all(dim=-1) for _ in range(2))
    assert 60 < first.sum() < 140
    assert not torch.equal(first, second)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_looking_tokens_up_changes_no_loss_and_no_gradient(tied, bidirectional, monkeypatch):
    """Embedding dropout and residual connections included; a text with few tokens that recur."""
    widths = {"embed": 14 if bidirectional else 7} if tied else {"embed": 5, "residual": True}
    config = small(hidden=(5, 7), tied=tied, bidirectional=bidirectional, **widths)
    model = randomise(build(config, Regularisers(dropout_embedding=0.3)))
    ids, state = draw_ids(31 + model.lookahead, 4), model.initial_state(4)
    assert isinstance(model.embed(ids), Lookup)
    found = []
    for looked_up in (True, False):
        monkeypatch.setattr("ostinato.nn.embedding.possible", lambda _, looked_up=looked_up: looked_up)
        torch.manual_seed(0)
        nats, _, last = model.loss(ids, state)
        found.append([nats.detach(), *last, *torch.autograd.grad(nats, list(model.parameters()))])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(
    ("cell", "activation"),
    [*((cell, "tanh") for cell in CELLS), ("rnn", "relu"), ("rnn", "leaky_relu"), ("rnn", "elu")],
)
def test_learns_a_periodic_text(cell, activation):
    """``0 0 1 0 2`` over and over: after 0 the next token depends on what came before."""
    torch.manual_seed(0)
    config = ModelConfig(vocab=3, embed=4, hidden=(16,), cell=cell, activation=activation)
    ids = torch.tensor([0, 0, 1, 0, 2] * 4)[:, None]
    nats = overfit(build(config, PLAIN), ids, steps=150)
    assert nats[5:].mean().item() < 0.1 * math.log(3)
