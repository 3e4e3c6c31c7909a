"""The bidirectional language model: both sides are read, the token itself never is."""

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
from torch import Tensor

from ostinato.config import CELLS, ModelConfig, Regularisers
from ostinato.models.bidirectional import LOOKAHEAD, BidirectionalLanguageModel
from ostinato.models.language import RecurrentLanguageModel

T, B = 9, 4
N = T + 1 + LOOKAHEAD
LENGTHS = torch.tensor([9, 1, 5, 8])
BOUNDARY = 10

Kind = type[BidirectionalLanguageModel]


def model_of(kind: Kind = BidirectionalLanguageModel, regularisers: Regularisers = PLAIN, **changes: object):
    return randomise(kind(small(bidirectional=True, **changes), regularisers))


def other_than(ids: Tensor) -> Tensor:
    return (ids + 1) % BOUNDARY


def check_window_never_sees_its_target(kind: Kind, cell: str = "lstm") -> None:
    """For every t: the prediction of x_t is bit-identical when x_t changes, and every other one in reach differs."""
    model = model_of(kind, cell=cell, skip_output=True, residual=True, layer_norm=True)
    ids, state = draw_ids(N, B), draw_state(model, B)
    readout, _ = model.read_window(model.embed(ids), state)
    assert readout.shape == (T, B, 24)
    for t in range(1, T + 1):
        changed = ids.clone()
        changed[t] = other_than(ids[t])
        other, _ = model.read_window(model.embed(changed), state)
        assert torch.equal(other[t - 1], readout[t - 1])
        neighbours = [place - 1 for place in (t - 1, t + 1) if 1 <= place <= T]
        assert all((other[place] != readout[place]).any(dim=-1).all() for place in neighbours)


def check_gap_never_sees_itself(kind: Kind, cell: str = "lstm") -> None:
    model = model_of(kind, cell=cell)
    ids = draw_ids(T, B, vocab=BOUNDARY)
    logits = model.gap_logits(ids, BOUNDARY, LENGTHS)
    for t in range(T):
        changed = ids.clone()
        changed[t] = other_than(ids[t])
        other = model.gap_logits(changed, BOUNDARY, LENGTHS)
        inside = t < LENGTHS
        assert torch.equal(other[t, inside], logits[t, inside])
        for place in (t - 1, t + 1):
            reached = inside & (place >= 0) & (place < LENGTHS)
            assert (other[place % T, reached] != logits[place % T, reached]).any(dim=-1).all()


def check_no_gradient_from_the_target(kind: Kind) -> None:
    """Every position has a token of its own, so the row of the embedding is the input at that position."""
    model = model_of(kind, vocab=N)
    ids = torch.arange(N)[:, None]
    for t in range(1, T + 1):
        model.zero_grad()
        readout, _ = model.read_window(model.embed(ids), model.initial_state(1))
        (model.logits(readout[t - 1]) * torch.linspace(1, 2, N)).sum().backward()
        heard = model.embedding.weight.grad.abs().sum(dim=-1) > 0
        assert heard.tolist() == [place != t for place in range(N)]


def one_way(model: BidirectionalLanguageModel, side: str) -> RecurrentLanguageModel:
    """A language model of one direction with the weights of one side."""
    config = ModelConfig(**{**vars(model.config), "bidirectional": False})
    other = RecurrentLanguageModel(config, PLAIN)
    stack = getattr(model, side)
    other.stack.load_state_dict(stack.state_dict())
    other.embedding.load_state_dict(model.embedding.state_dict())
    return other


def check_window_is_two_runs(kind: Kind, cell: str = "lstm") -> None:
    """The past read forward from the carried state, and the future read backward from zeros."""
    model = model_of(kind, cell=cell)
    ahead, back = one_way(model, "forward_stack"), one_way(model, "backward_stack")
    ids, state = draw_ids(N, B), draw_state(model, B)
    readout, last = model.read_window(model.embed(ids), state)
    past, carried = ahead.readout(ids[:T], state)
    for t in range(1, T + 1):
        future, _ = back.readout(ids[t + 1 :].flip(0), back.initial_state(B))
        close(readout[t - 1], torch.cat([past[t - 1], future[-1]], dim=-1))
    close(model.beside(past, ids), readout)
    for a, b in zip(last, carried, strict=True):
        close(a, b)


def check_gaps_are_two_runs(kind: Kind, cell: str = "lstm") -> None:
    """Text by text, position by position, as ``gap_logits`` documents it."""
    model = model_of(kind, cell=cell)
    ahead, back = one_way(model, "forward_stack"), one_way(model, "backward_stack")
    ids = draw_ids(T, B, vocab=BOUNDARY)
    logits = model.gap_logits(ids, BOUNDARY, LENGTHS)
    zeros = ahead.initial_state(1)
    for b, n in enumerate(LENGTHS.tolist()):
        text = [BOUNDARY, *ids[:n, b].tolist(), BOUNDARY]
        for t in range(n):
            past, _ = ahead.readout(torch.tensor(text[: t + 1])[:, None], zeros)
            future, _ = back.readout(torch.tensor(text[: t + 1 : -1])[:, None], zeros)
            close(logits[t, b], model.logits(torch.cat([past[-1, 0], future[-1, 0]])))


def check_stacks_are_independent(kind: Kind) -> None:
    torch.manual_seed(0)
    model = kind(small(bidirectional=True), PLAIN)
    ahead, back = dict(model.forward_stack.named_parameters()), dict(model.backward_stack.named_parameters())
    assert ahead.keys() == back.keys()
    for name, weight in ahead.items():
        assert weight is not back[name]
        assert weight.ndim == 1 or not torch.equal(weight, back[name])


@pytest.mark.parametrize("cell", CELLS)
def test_a_window_never_sees_its_target(cell):
    check_window_never_sees_its_target(BidirectionalLanguageModel, cell)


@pytest.mark.parametrize("cell", CELLS)
def test_a_gap_never_sees_itself(cell):
    check_gap_never_sees_itself(BidirectionalLanguageModel, cell)


def test_no_gradient_reaches_the_target_as_an_input():
    check_no_gradient_from_the_target(BidirectionalLanguageModel)


@pytest.mark.parametrize("cell", CELLS)
def test_a_window_equals_two_runs(cell):
    check_window_is_two_runs(BidirectionalLanguageModel, cell)


@pytest.mark.parametrize("cell", CELLS)
def test_gaps_equal_two_runs(cell):
    check_gaps_are_two_runs(BidirectionalLanguageModel, cell)


def test_stacks_are_independent():
    check_stacks_are_independent(BidirectionalLanguageModel)


def test_loss_cuts_the_state_from_the_graph():
    check_state_is_cut(model_of())


def test_whole_lines_need_no_lengths():
    model = model_of()
    ids = draw_ids(T, B, vocab=BOUNDARY)
    lengths = torch.full((B,), T)
    close(model.gap_logits(ids, BOUNDARY), model.gap_logits(ids, BOUNDARY, lengths))


def test_padding_of_a_gap_batch_is_never_read():
    model = model_of()
    ids = draw_ids(T, B, vocab=BOUNDARY)
    beyond = torch.arange(T)[:, None] >= LENGTHS
    first = model.gap_logits(ids, BOUNDARY, LENGTHS)
    second = model.gap_logits(ids.masked_fill(beyond, 3), BOUNDARY, LENGTHS)
    assert torch.equal(first[~beyond], second[~beyond])


@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_nats_are_cross_entropy_of_the_gap(tied):
    model = model_of(hidden=(5, 4), embed=8, tied=tied)
    ids, state = draw_ids(N, B), draw_state(model, B)
    readout, _ = model.read_window(model.embed(ids), state)
    logits = model.logits(readout)
    expected = F.cross_entropy(logits.flatten(0, 1), ids[1 : T + 1].flatten(), reduction="none").view(T, B)
    close(model.nats(ids, state)[0], expected)
    close(model.loss(ids, state)[0], expected.sum())
    assert ("output.weight" in model.state_dict()) is not tied


def test_windows_carry_the_forward_state():
    """Only the backward side may differ where a window ends; the forward half of the readout is that of one run."""
    model = model_of()
    ids, state = draw_ids(2 * T + 1 + LOOKAHEAD, B), draw_state(model, B)
    whole, last = model.read_window(model.embed(ids), state)
    first, state = model.read_window(model.embed(ids[:N]), state)
    second, state = model.read_window(model.embed(ids[T:]), state)
    close(torch.cat([first, second])[..., :7], whole[..., :7])
    close(second, whole[T:])
    for a, b in zip(state, last, strict=True):
        close(a, b)


def test_names_and_widths():
    model = model_of(skip_output=True)
    assert {name.split(".")[0] for name in model.state_dict()} == {
        "embedding",
        "forward_stack",
        "backward_stack",
        "output",
    }
    assert model.output.weight.shape == (11, 24)
    assert model.state_names()[0] == "forward_stack.layers.0.h"
    assert len(model.state_names()) == len(model.initial_state(2)) == 4
    assert model.lookahead == LOOKAHEAD >= 1


def test_penalties_are_on_the_last_layers_of_both_sides():
    options = Regularisers(activation_penalty=2.0, temporal_penalty=3.0)
    model = model_of(regularisers=options, skip_output=True)
    ids, state = draw_ids(N, B), model.initial_state(B)
    readout, _ = model.read_window(model.embed(ids), state)
    last = torch.cat([readout[..., 5:12], readout[..., 17:24]], dim=-1)
    _, penalty, _ = model.loss(ids, state)
    close(penalty, 2.0 * last.square().mean() + 3.0 * (last[1:] - last[:-1]).square().mean())


def test_every_weight_gets_a_gradient():
    model = model_of(cell="peephole", layer_norm=True)
    model.loss(draw_ids(N, B), draw_state(model, B))[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_nats_drop_nothing_in_any_mode():
    check_evaluation_is_deterministic(model_of(regularisers=EVERYTHING, zoneout=0.2))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_learns_what_only_the_future_tells(cell):
    """Symbols come in pairs ``k, k+4``: the first of a pair is random to all who read from the left alone."""
    torch.manual_seed(0)
    first = draw_ids(20, 4, vocab=4)
    ids = torch.stack([first, first + 4], dim=1).flatten(0, 1)
    config = ModelConfig(vocab=8, embed=8, hidden=(16,), cell=cell, bidirectional=True)
    nats = overfit(BidirectionalLanguageModel(config, PLAIN), ids, steps=80)
    assert nats[1::2].mean().item() < 0.1 * math.log(4)
    assert nats.mean().item() < 0.1 * math.log(8)
