"""What is dropped, for how long, how often, and that nothing is in evaluation."""

import pytest
import torch
from modelling import draw, draw_ids, randomise, small

from ostinato.config import Regularisers
from ostinato.nn.dropout import activation_penalty, drop_tokens, dropout, weight_drop, zoneout
from ostinato.nn.recurrent import Recurrent

P = 0.3
SIGMAS = 5  # false alarm: less than one in a million


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def share_is(dropped: torch.Tensor, p: float = P) -> bool:
    n = dropped.numel()
    return abs(dropped.float().mean().item() - p) < SIGMAS * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_drops_its_share_and_scales_the_rest(locked):
    y = dropout(torch.ones(40, 50, 60), P, training=True, locked=locked)
    assert share_is(y[0] == 0)
    assert torch.all((y == 0) | torch.isclose(y, torch.tensor(1 / (1 - P))))


def test_locked_mask_is_one_for_all_steps_and_differs_between_lanes():
    y = dropout(torch.ones(9, 50, 60), P, training=True, locked=True)
    assert torch.equal(y, y[:1].expand_as(y))
    assert not torch.equal(y[0, 0], y[0, 1])


def test_plain_mask_changes_at_every_step():
    y = dropout(torch.ones(9, 5, 60), P, training=True)
    assert all(not torch.equal(y[t], y[t + 1]) for t in range(8))


def test_locked_dropout_scales_values_not_only_ones():
    x = draw(4, 3, 50)
    y = dropout(x, P, training=True, locked=True)
    kept = y[0] != 0
    torch.testing.assert_close(y[:, kept], x[:, kept] / (1 - P))


def test_embedding_dropout_drops_whole_tokens_wherever_they_occur():
    V, ids, weight = 2000, draw_ids(30, 200, vocab=2000), draw(2000, 4)
    rows = drop_tokens(weight[ids], ids, V, P, training=True)
    gone = (rows == 0).all(dim=-1)
    torch.testing.assert_close(rows[~gone], weight[ids[~gone]] / (1 - P))
    verdicts = torch.zeros(V).index_put((ids,), gone.float())
    assert torch.equal(verdicts[ids], gone.float())  # the last occurrence speaks for all
    assert share_is(verdicts[ids.unique()])


def test_weight_drop_masks_the_use_and_not_the_store():
    weight = draw(80, 90).requires_grad_()
    before = weight.detach().clone()
    used = weight_drop(weight, P, training=True)
    used.sum().backward()
    assert torch.equal(weight, before)
    assert share_is(used == 0)
    torch.testing.assert_close(weight.grad, (used != 0) / (1 - P))


def test_weight_drop_of_a_layer_is_one_mask_for_a_window_on_u_alone():
    layer = randomise(Recurrent(3, 40, small(cell="rnn"), Regularisers(weight_drop=0.5)))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    x = torch.zeros(3, 1, 3)
    first = layer(x, (torch.zeros(1, 40),))[0]
    second = layer(x, (torch.zeros(1, 40),))[0]
    torch.testing.assert_close(first[0], torch.tanh(before["bias"])[None])  # from h = 0 U is not heard: W, b are whole
    assert not torch.allclose(first[1], second[1])
    first.sum().backward()
    assert share_is(layer.weight_hh.grad[:, first[0, 0] != 0] == 0, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_zoneout_masks_in_training_expects_in_evaluation():
    mask = zoneout((20, 30, 40), P, torch.ones(()), training=True)
    assert mask.shape == (20, 30, 40)
    assert torch.all((mask == 0) | (mask == 1))
    assert share_is(mask)
    assert zoneout((20, 30, 40), P, torch.ones(()), training=False).tolist() == [[[pytest.approx(P)]]]
    assert zoneout((20, 30, 40), 0.0, torch.ones(()), training=True) is None


@pytest.mark.parametrize("cell", ["rnn", "gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal"])
def test_a_unit_in_its_zone_keeps_its_state(cell):
    layer = randomise(Recurrent(3, 50, small(cell=cell, zoneout=P), Regularisers()))
    start = tuple(0.5 * draw(4, 50, seed=k) for k in range(len(layer.state_names())))
    h, _ = layer(draw(25, 4, 3), start)
    path = torch.cat([start[0][None], h])
    assert share_is(path[1:] == path[:-1])
    assert not torch.equal(h, layer(draw(25, 4, 3), start)[0])
    _, last = layer(draw(1, 4, 3), start)
    for part, before in zip(last, start, strict=True):  # 200 units each: between 20 and 40 percent stay
        assert 0.14 < (part == before).float().mean() < 0.47


def test_zoneout_in_evaluation_mixes_old_and_new():
    layer = randomise(Recurrent(3, 5, small(cell="rnn", zoneout=P), Regularisers())).eval()
    h, x = draw(2, 5), draw(2, 3, seed=9)
    out, _ = layer(x[None], (h,))
    new = torch.tanh(x @ layer.weight_ih.T + h @ layer.weight_hh.T + layer.bias)
    torch.testing.assert_close(out[0], P * h + (1 - P) * new)


def test_nothing_is_dropped_in_evaluation_or_at_zero():
    x, ids = draw(3, 4, 5), draw_ids(3, 4)
    for p, training in ((P, False), (0.0, True)):
        for locked in (False, True):
            assert torch.equal(dropout(x, p, training=training, locked=locked), x)
        assert torch.equal(weight_drop(x, p, training=training), x)
        assert torch.equal(drop_tokens(x, ids, 11, p, training=training), x)


def test_saved_generator_state_repeats_every_mask():
    layer = Recurrent(3, 8, small(zoneout=P), Regularisers(weight_drop=P))

    def masked() -> list[torch.Tensor]:
        x = dropout(draw(4, 2, 3), P, training=True, locked=True)
        rows = drop_tokens(draw(4, 2, 3), draw_ids(4, 2), 11, P, training=True)
        return [x, rows, dropout(x, P, training=True), layer(rows, draw_state_of(layer))[0]]

    saved = torch.get_rng_state()
    first, other = masked(), masked()
    torch.set_rng_state(saved)
    again = masked()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[3], other[3])


def draw_state_of(layer: Recurrent) -> tuple[torch.Tensor, ...]:
    return tuple(draw(2, width, seed=k) for k, width in enumerate(layer.state_widths()))


def test_penalties_in_closed_form():
    raw, dropped = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]), torch.tensor([[[0.0, 4.0]], [[6.0, 0.0]]])
    assert activation_penalty(raw, dropped, 0.0, 0.0).item() == 0.0
    assert activation_penalty(raw, dropped, 2.0, 0.0).item() == pytest.approx(2 * (16 + 36) / 4)
    assert activation_penalty(raw, dropped, 0.0, 3.0).item() == pytest.approx(3 * (4 + 4) / 2)
    assert activation_penalty(raw[:1], dropped[:1], 0.0, 3.0).item() == 0.0
