"""Stacks and encoders against plain torch, against themselves in pieces, and row by row."""

import pytest
import torch
from modelling import PLAIN, close, draw, draw_state, randomise, row, small
from torch import Tensor, nn

from ostinato.config import CELLS, Regularisers
from ostinato.nn.recurrent import Encoder, Recurrent, Stack

T, B, E = 9, 4, 6
LENGTHS = torch.tensor([9, 1, 5, 8])


def torch_lstm(layer: Recurrent) -> nn.LSTM:
    """Somebody else's layer with the same weights."""
    H, I = layer.weight_hh.shape[1], layer.weight_ih.shape[1]  # noqa: E741
    other = nn.LSTM(I, H)
    with torch.no_grad():
        other.weight_ih_l0.copy_(layer.weight_ih)
        other.weight_hh_l0.copy_(layer.weight_hh)
        other.bias_ih_l0.copy_(layer.bias)
        other.bias_hh_l0.zero_()
    return other


def by_hand(stack: Stack, x: Tensor, state: tuple[Tensor, ...], residual: bool, norm: bool) -> list[Tensor]:
    """Every layer's output, from the equations."""
    outputs = []
    for k, layer in enumerate(stack.layers):
        h, c = state[2 * k], state[2 * k + 1]
        y, _ = torch_lstm(layer)(x, (h[None], c[None]))
        if residual and y.shape == x.shape:
            y = y + x
        if norm:
            centred = y - y.mean(-1, keepdim=True)
            spread = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            y = centred / spread * stack.norms[k].weight + stack.norms[k].bias
        outputs.append(y)
        x = y
    return outputs


@pytest.mark.parametrize("skip_output", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_stack_is_what_the_equations_say(skip_output, residual, layer_norm):
    config = small(hidden=(6, 6, 5), skip_output=skip_output, residual=residual, layer_norm=layer_norm)
    stack = randomise(Stack(config, PLAIN))
    x, state = draw(T, B, E), draw_state(stack, B)
    outputs = by_hand(stack, x, state, residual, layer_norm)
    readout, last = stack(x, state)
    close(readout, torch.cat(outputs, dim=-1) if skip_output else outputs[-1])
    assert readout.shape[-1] == stack.readout_width == config.readout
    assert [part.shape for part in last] == [part.shape for part in state]
    if not (residual or layer_norm):
        close(last[0], outputs[0][-1])  # what is remembered is the cell's own output


def test_state_is_untouched_by_residual_and_norm():
    config = small(hidden=(6,), residual=True, layer_norm=True)
    stack = randomise(Stack(config, PLAIN))
    x, state = draw(T, B, E), draw_state(stack, B)
    _, (h, c) = torch_lstm(stack.layers[0])(x, (state[0][None], state[1][None]))
    close(stack(x, state)[1][0], h[0])
    close(stack(x, state)[1][1], c[0])


def test_names_are_those_of_the_bundle():
    stack = Stack(small(cell="peephole", layer_norm=True), PLAIN)
    assert stack.state_names() == ("layers.0.h", "layers.0.c", "layers.1.h", "layers.1.c")
    shapes = {name: tuple(value.shape) for name, value in stack.state_dict().items() if ".1." in name}
    assert shapes == {
        "layers.1.weight_ih": (28, 5),
        "layers.1.weight_hh": (28, 7),
        "layers.1.bias": (28,),
        "layers.1.weight_ci": (7, 7),
        "layers.1.weight_cf": (7, 7),
        "layers.1.weight_co": (7, 7),
        "norms.1.weight": (7,),
        "norms.1.bias": (7,),
    }
    assert dict(Stack(small(cell="peephole_diagonal"), PLAIN).named_parameters())["layers.1.weight_co"].shape == (7,)
    reset_after = Stack(small(cell="gru_reset_after"), PLAIN)
    assert reset_after.state_dict()["layers.1.bias_hn"].shape == (7,)
    assert reset_after.state_names() == ("layers.0.h", "layers.1.h")


def check_chunks(kind: type[Stack], cell: str) -> None:
    stack = randomise(kind(small(cell=cell, residual=True, layer_norm=True, skip_output=True), PLAIN))
    x, state = draw(T, B, E), draw_state(stack, B)
    whole, last = stack(x, state)
    pieces = []
    for chunk in x.split([1, 5, 3]):
        piece, state = stack(chunk, state)
        pieces.append(piece)
    close(torch.cat(pieces), whole)
    for a, b in zip(state, last, strict=True):
        close(a, b)


def check_ragged(kind: type[Stack] | type[Encoder], cell: str) -> None:
    stack = randomise(kind(small(cell=cell, residual=True, layer_norm=True, skip_output=True), PLAIN))
    x, state = draw(T, B, E), draw_state(stack, B)
    readout, last = stack(x, state, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        alone, end = stack(x[:n, b : b + 1], row(state, b))
        close(readout[:n, b : b + 1], alone)
        for a, c in zip(row(last, b), end, strict=True):
            close(a, c)


def check_padding_is_not_read(kind: type[Stack] | type[Encoder]) -> None:
    stack = randomise(kind(small(), PLAIN))
    x, state = draw(T, B, E), draw_state(stack, B)
    beyond = torch.arange(T)[:, None] >= LENGTHS
    first, last = stack(x, state, LENGTHS)
    second, end = stack(x.masked_fill(beyond[..., None], 7.0), state, LENGTHS)
    assert torch.equal(first[~beyond], second[~beyond])
    assert all(torch.equal(a, b) for a, b in zip(last, end, strict=True))


def check_encoder_is_two_runs(kind: type[Encoder]) -> None:
    """One layer at a time: a left-to-right layer, and another one on the reversed row, put back in order."""
    encoder = randomise(kind(small(hidden=(5, 7)), PLAIN))
    x, state = draw(T, B, E), draw_state(encoder, B)
    readout, last = encoder(x, state, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        y = x[:n, b : b + 1]
        for k, layer in enumerate(encoder.layers):
            h0, c0, back_h0, back_c0 = (part[None] for part in row(state[4 * k : 4 * k + 4], b))
            ahead, (h, c) = torch_lstm(layer.left_to_right)(y, (h0, c0))
            back, (back_h, back_c) = torch_lstm(layer.right_to_left)(y.flip(0), (back_h0, back_c0))
            y = torch.cat([ahead, back.flip(0)], dim=-1)
            for got, expected in zip(row(last[4 * k : 4 * k + 4], b), (h, c, back_h, back_c), strict=True):
                close(got, expected[0])
        close(readout[:n, b : b + 1], y)


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_equal_the_whole(cell):
    check_chunks(Stack, cell)


@pytest.mark.parametrize("kind", [Stack, Encoder])
@pytest.mark.parametrize("cell", CELLS)
def test_ragged_rows_equal_each_row_alone(kind, cell):
    check_ragged(kind, cell)


@pytest.mark.parametrize("kind", [Stack, Encoder])
def test_padding_is_never_read(kind):
    check_padding_is_not_read(kind)


def test_encoder_equals_two_runs_on_reversed_rows():
    check_encoder_is_two_runs(Encoder)


def test_encoder_widths_and_names():
    encoder = Encoder(small(hidden=(5, 7), skip_output=True), PLAIN)
    assert encoder.layers[1].left_to_right.weight_ih.shape == (28, 10)
    assert encoder.readout_width == 24
    assert encoder.last_width == 14
    assert encoder.state_names()[:4] == (
        "layers.0.left_to_right.h",
        "layers.0.left_to_right.c",
        "layers.0.right_to_left.h",
        "layers.0.right_to_left.c",
    )
    assert [tuple(part.shape) for part in encoder.initial_state(3)] == [(3, 5)] * 4 + [(3, 7)] * 4


def test_encoder_residual_needs_the_width_of_both_directions():
    x, zeros = draw(T, B, E), None
    for hidden, adds in (((3,), True), ((6,), False)):
        plain = randomise(Encoder(small(hidden=hidden), PLAIN))
        added = randomise(Encoder(small(hidden=hidden, residual=True), PLAIN))
        zeros = plain.initial_state(B)
        close(added(x, zeros)[0], plain(x, zeros)[0] + (x if adds else 0))


@pytest.mark.parametrize("kind", [Stack, Encoder])
def test_dropout_between_layers_only(kind):
    options = Regularisers(dropout_hidden=0.5)
    one, two = randomise(kind(small(hidden=(5,)), options)), randomise(kind(small(hidden=(5, 7)), options))
    x = draw(T, B, E)
    assert torch.equal(one(x, one.initial_state(B))[0], one.eval()(x, one.initial_state(B))[0])
    dropped, states = two(x, two.initial_state(B))
    whole, kept = two.eval()(x, two.initial_state(B))
    half = len(states) // 2
    assert all(torch.equal(a, b) for a, b in zip(states[:half], kept[:half], strict=True))  # the first layer is whole
    assert not torch.allclose(dropped, whole)


def test_skip_output_reads_what_the_layer_gave_before_dropout():
    stack = randomise(Stack(small(skip_output=True), Regularisers(dropout_hidden=0.5)))
    x, zeros = draw(T, B, E), stack.initial_state(B)
    assert torch.equal(stack(x, zeros)[0][..., :5], stack.eval()(x, zeros)[0][..., :5])


def test_locked_dropout_between_layers_is_constant_in_time():
    """A second layer that hears only its input, of a constant first layer: constant in time if the mask is."""
    options = Regularisers(dropout_hidden=0.5, locked=True)
    stack = randomise(Stack(small(cell="rnn", hidden=(40, 7)), options))
    with torch.no_grad():
        for layer in stack.layers:
            layer.weight_hh.zero_()
    x = draw(1, B, E).expand(T, B, E)
    readout, _ = stack(x, stack.initial_state(B))
    close(readout, readout[:1].expand_as(readout))
    assert not torch.allclose(readout, stack.eval()(x, stack.initial_state(B))[0])


def test_gradients_reach_every_weight_and_the_initial_state():
    for kind in (Stack, Encoder):
        stack = randomise(kind(small(cell="peephole", layer_norm=True), PLAIN))
        x, state = draw(T, B, E).requires_grad_(), draw_state(stack, B)
        for part in state:
            part.requires_grad_()
        readout, last = stack(x, state, LENGTHS)
        valid = (torch.arange(T)[:, None] < LENGTHS)[..., None]
        ((readout * draw(*readout.shape)) * valid).sum().add(sum(part.sum() for part in last)).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (x, *state, *stack.parameters()))
