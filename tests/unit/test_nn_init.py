"""How weights start, and that the seed alone decides."""

import math
from itertools import pairwise

import pytest
import torch
from modelling import PLAIN, draw_ids, small

from ostinato.config import CELLS
from ostinato.models.build import build
from ostinato.nn.recurrent import Recurrent

H, I = 24, 10  # noqa: E741


def layer(cell: str, activation: str = "tanh", hidden: int = H) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    config = small(cell=cell, activation=activation)
    return {name: value.detach() for name, value in Recurrent(I, hidden, config, PLAIN).named_parameters()}


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_matrix_is_orthogonal_gate_by_gate(cell):
    blocks = layer(cell)["weight_hh"].split(H)
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(H), atol=1e-5, rtol=0)
    for first, second in pairwise(blocks):
        assert not torch.equal(first, second)


@pytest.mark.parametrize("cell", CELLS)
def test_input_matrix_has_the_glorot_variance_of_one_gate(cell):
    H = 400
    weight = layer(cell, hidden=H)["weight_ih"]
    assert weight.abs().max() <= math.sqrt(6 / (I + H))
    for block in weight.split(H):  # 4000 uniform draws: the mean square is within 7% at five sigma
        assert block.square().mean().item() == pytest.approx(2 / (I + H), rel=0.07)


@pytest.mark.parametrize("cell", CELLS)
def test_only_the_forget_bias_is_one(cell):
    weights = layer(cell)
    expected = torch.zeros_like(weights["bias"])
    if cell in ("lstm", "peephole", "peephole_diagonal"):
        expected[H : 2 * H] = 1
    assert torch.equal(weights["bias"], expected)
    if cell == "gru_reset_after":
        assert torch.equal(weights["bias_hn"], torch.zeros(H))


def test_peepholes_start_small_but_alive():
    full, diagonal = layer("peephole"), layer("peephole_diagonal")
    for name in ("weight_ci", "weight_cf", "weight_co"):
        torch.testing.assert_close(full[name] @ full[name].T, 0.01 * torch.eye(H), atol=1e-6, rtol=0)
        assert 0 < diagonal[name].abs().max() <= 0.1


def test_relu_starts_from_the_identity_and_the_other_activations_do_not():
    assert torch.equal(layer("rnn", "relu")["weight_hh"], 0.95 * torch.eye(H))
    for activation in ("tanh", "leaky_relu", "elu"):
        first = layer("rnn", activation)["weight_hh"]
        assert not torch.allclose(first, first[0, 0] * torch.eye(H))


def test_relu_with_a_carried_state_stays_in_bounds():
    """A hundred windows of one text without end, at a usual rate: the identity itself runs away here."""
    torch.manual_seed(0)
    model = build(small(cell="rnn", activation="relu", vocab=20, embed=16, hidden=(64,)), PLAIN)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.002)
    ids, state = draw_ids(100 * 24 + 1, 8, vocab=20), model.initial_state(8)
    worst = 0.0
    for first in range(0, 100 * 24, 24):
        optimiser.zero_grad()
        nats, _, state = model.loss(ids[first : first + 25], state)
        nats.div(24 * 8).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        worst = max(worst, nats.item() / (24 * 8))
    assert worst < 2 * math.log(20)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_first_loss_is_that_of_a_uniform_guess(bidirectional):
    torch.manual_seed(0)
    model = build(small(vocab=50, embed=32, hidden=(64, 64), bidirectional=bidirectional), PLAIN)
    nats, _ = model.nats(draw_ids(20 + 1 + model.lookahead, 8, vocab=50), model.initial_state(8))
    assert nats.mean().item() == pytest.approx(math.log(50), rel=0.01)


@pytest.mark.parametrize(("embed", "hidden"), [(40, 300), (300, 40)])
def test_first_layer_hears_tokens_at_variance_one(embed, hidden):
    torch.manual_seed(0)
    model = build(small(vocab=500, embed=embed, hidden=(hidden,)), PLAIN)
    heard = model.embedding.weight @ model.stack.layers[0].weight_ih.T
    assert heard.var().item() == pytest.approx(1, rel=0.05)


def test_tied_embedding_and_output_have_their_spread():
    torch.manual_seed(0)
    tied = build(small(vocab=500, embed=40, hidden=(40,), tied=True), PLAIN)
    assert tied.embedding.weight.std().item() == pytest.approx(0.3, rel=0.03)
    output = build(small(vocab=500, hidden=(50,)), PLAIN).output
    assert output.weight.std().item() == pytest.approx((1 / 50 / 3) ** 0.5, rel=0.03)
    assert not output.bias.any()


def test_the_global_seed_decides_every_weight():
    def weights(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [p.detach() for p in build(small(cell="peephole", layer_norm=True), PLAIN).parameters() if p.ndim == 2]

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights(1), weights(2), strict=True))
