"""The norm of d loss_T / d state over the lag: closed forms, differences, and what must not matter."""

import numpy as np
import pytest
import torch
from modelling import PLAIN, draw, draw_ids, randomise, small
from torch import nn

from ostinato.config import CELLS, ModelConfig
from ostinato.models.build import build
from ostinato.nn.recurrent import Recurrent, Stack
from ostinato.training.watch import gradient_by_lag, state_gradients

H = 5


def layer_of(cell="rnn", activation="tanh", width=3):
    return Recurrent(width, H, ModelConfig(vocab=1, embed=width, hidden=(H,), cell=cell, activation=activation), PLAIN)


def unrolled(layer, x, read):
    """A loss that runs ``layer`` step by step over ``x (T, B, I)`` and reads its last output ``(B, H)``."""

    def loss():
        state = tuple(torch.zeros(x.shape[1], width) for width in layer.state_widths())
        for x_t in x.split(1):
            y, state = layer(x_t, state)
        return read(y[0])

    return loss


def fill(layer, **weights):
    with torch.no_grad():
        for name, weight in weights.items():
            getattr(layer, name).copy_(weight)


def test_an_identity_start_keeps_the_gradient_of_a_rectified_layer():
    layer = layer_of(activation="relu")
    fill(layer, weight_ih=torch.rand(H, 3), weight_hh=torch.eye(H), bias=torch.full((H,), 0.1))
    norms = state_gradients([layer], unrolled(layer, torch.rand(30, 4, 3), lambda y: (y * y).sum()))
    assert norms.shape == (1, 30)
    np.testing.assert_allclose(norms / norms[0, 0], 1.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.25])
def test_at_rest_a_tanh_layer_scales_the_gradient_by_its_matrix(scale):
    layer = layer_of()
    fill(layer, weight_hh=scale * torch.eye(H), bias=torch.zeros(H))
    norms = state_gradients([layer], unrolled(layer, torch.zeros(20, 2, 3), lambda y: y.sum()))
    np.testing.assert_allclose(norms[0], np.sqrt(H) * scale ** np.arange(20), rtol=1e-5)


def test_the_norm_is_a_mean_over_rows_of_their_own_norms():
    layer = layer_of()
    fill(layer, weight_hh=0.5 * torch.eye(H), bias=torch.zeros(H))
    weights = torch.tensor([1.0, 3.0, -8.0])[:, None]
    norms = state_gradients([layer], unrolled(layer, torch.zeros(4, 3, 3), lambda y: (weights * y).sum()))
    np.testing.assert_allclose(norms[0], 4.0 * np.sqrt(H) * 0.5 ** np.arange(4), rtol=1e-5)


def differences(model, ids, T, layer, t, epsilon=1e-3):
    """d loss / d [h ; c] of ``layer`` after step t by central differences, ``(B, parts*H)``."""
    stack = model.forward_stack if model.config.bidirectional else model.stack
    module = stack.layers[layer]
    columns = []
    for part, width in enumerate(module.state_widths()):
        for unit in range(width):
            high, low = (nudged(model, stack, module, ids, T, t, part, unit, e) for e in (epsilon, -epsilon))
            columns.append((high - low) / (2 * epsilon))
    return torch.stack(columns, dim=1)


@torch.no_grad()
def nudged(model, stack, module, ids, T, t, part, unit, epsilon):
    """The loss of each row when one number of a layer's state is moved after step t, for all that follows."""
    count = 0

    def move(_, inputs, result):
        nonlocal count
        y, state = result
        if count == t:
            state = tuple(s.clone() for s in state)
            state[part][:, unit] += epsilon
            y = state[0].unsqueeze(0)
        count += 1
        return y, state

    handle = module.register_forward_hook(move)
    state = model.initial_state(ids.shape[1])
    for s in range(T - 1):
        _, state = stack(model.embed(ids[s : s + 1]), state)
    readout, _ = stack(model.embed(ids[T - 1 : T]), state)
    handle.remove()
    if model.config.bidirectional:
        readout = model.beside(readout, ids[T - 1 :])
    return nn.functional.cross_entropy(model.logits(readout[0]), ids[T], reduction="none")


@pytest.mark.parametrize(
    "changes",
    [
        *({"cell": cell} for cell in CELLS),
        {"cell": "lstm", "hidden": (6, 6, 4), "residual": True, "layer_norm": True, "zoneout": 0.2},
        {"cell": "gru", "skip_output": True},
        {"cell": "peephole", "bidirectional": True},
    ],
)
def test_models_agree_with_differences_in_every_layer(changes):
    model = build(small(**changes), PLAIN)
    randomise(model)
    model = model.double().eval()
    T = 6
    ids = draw_ids(T + 1 + model.lookahead, 3)
    lags = [1, 2, 5]
    shares = gradient_by_lag(model, ids, lags)
    for layer, row in enumerate(shares):
        norms = [differences(model, ids, T, layer, T - 1 - lag).norm(dim=1).mean().item() for lag in (0, *lags)]
        np.testing.assert_allclose(row, np.array(norms[1:]) / norms[0], rtol=1e-4)


def test_it_changes_nothing_and_drops_nothing():
    model = build(small(), PLAIN.__class__(dropout_hidden=0.5, dropout_output=0.5, weight_drop=0.5))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    ids = draw_ids(10, 2)
    first, second = gradient_by_lag(model, ids, range(9)), gradient_by_lag(model, ids, range(9))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[:, 0], 1.0)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.stack.layers)
    model.nats(ids, model.initial_state(2))  # the layers take whole windows again


def test_a_layer_under_dead_units_has_no_share():
    model = build(small(cell="rnn", activation="relu"), PLAIN)
    fill(model.stack.layers[1], bias=torch.full((7,), -1e3))
    shares = gradient_by_lag(model, draw_ids(6, 2), [0, 3])
    assert np.isnan(shares[0]).all()
    assert shares[1].tolist() == [1.0, 0.0]


def test_lags_beyond_the_window_are_refused():
    model = build(small(), PLAIN)
    with pytest.raises(ValueError, match="lags from 1 to 5; expected 0 to 4 in windows that read 5 tokens"):
        gradient_by_lag(model, draw_ids(6, 2), [1, 5])


def test_layers_must_be_run_step_by_step():
    stack = Stack(small(), PLAIN)
    with pytest.raises(ValueError, match="4 steps at once; expected 1"):
        state_gradients(stack.layers, lambda: stack(draw(4, 2, 6), stack.initial_state(2))[0].sum())
    assert not any(layer._forward_hooks for layer in stack.layers)
