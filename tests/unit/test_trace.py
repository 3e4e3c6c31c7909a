"""The gates of a layer against the equations, and its state against the engine's."""

import numpy as np
import pytest
from small_models import config, weights

from ostinato.config import CELLS
from ostinato.engine import Engine
from ostinato.engine.trace import trace
from ostinato.errors import BundleError, ConfigError

BOUNDARY = 3
IDS = np.random.default_rng(1).integers(0, 11, 9)


def sigma(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def seen(c, V):
    return c * V if V.ndim == 1 else c @ V.T


def lstm_equations(w, a, h, c, got):
    """Gates from the input's share ``a (T, 4H)`` and the state before, ``(T, H)``; o looks at the cell after."""
    i, f, g, o = np.split(a + h @ w["weight_hh"].T, 4, axis=1)
    peepholes = {
        name: seen(cell, w[name])
        for name, cell in (("weight_ci", c), ("weight_cf", c), ("weight_co", got["c"]))
        if name in w
    }
    return {
        "i": sigma(i + peepholes.get("weight_ci", 0)),
        "f": sigma(f + peepholes.get("weight_cf", 0)),
        "g": np.tanh(g),
        "o": sigma(o + peepholes.get("weight_co", 0)),
    }


def gru_equations(w, a, h, reset_after):
    U_r, U_z, U_n = np.split(w["weight_hh"], 3)
    a_r, a_z, a_n = np.split(a, 3, axis=1)
    r, z = sigma(a_r + h @ U_r.T), sigma(a_z + h @ U_z.T)
    inner = r * (h @ U_n.T + w["bias_hn"]) if reset_after else (r * h) @ U_n.T
    return {"r": r, "z": z, "n": np.tanh(a_n + inner)}


@pytest.mark.parametrize("cell", CELLS)
def test_gates_are_those_of_the_equations(cell):
    model = config(cell=cell, hidden=(5,))
    tensors = weights(model)
    w = {name.removeprefix("stack.layers.0."): tensor for name, tensor in tensors.items()}
    start = Engine(model, tensors, BOUNDARY).start().arrays
    got = trace(model, tensors, BOUNDARY, IDS, 0)
    a = tensors["embedding.weight"][IDS] @ w["weight_ih"].T + w["bias"]
    h, c = (np.concatenate([start[f"layers.0.{part}"], got[part][:-1]]) if part in got else None for part in ("h", "c"))
    if cell == "rnn":
        assert list(got) == ["h"]
        expected = {}
    elif cell.startswith("gru"):
        assert list(got) == ["r", "z", "n", "h"]
        expected = gru_equations(w, a, h, cell == "gru_reset_after")
    else:
        assert list(got) == ["i", "f", "g", "o", "c", "h"]
        expected = lstm_equations(w, a, h, c, got)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"hidden": (6, 6, 5), "skip_output": True, "residual": True, "layer_norm": True, "zoneout": 0.2}],
)
def test_the_state_is_the_engines_in_every_layer(cell, changes):
    model = config(cell=cell, **changes)
    tensors = weights(model)
    engine = Engine(model, tensors, BOUNDARY)
    traced = [trace(model, tensors, BOUNDARY, IDS, layer) for layer in range(len(model.hidden))]
    state = engine.start()
    for t, token in enumerate(IDS):
        _, state = engine.step(np.array([token]), state)
        for layer, got in enumerate(traced):
            for part in ("h", "c") if "c" in got else ("h",):
                np.testing.assert_allclose(got[part][t], state.arrays[f"layers.{layer}.{part}"][0], atol=1e-5)


def test_a_tied_model_can_be_traced_above_its_first_layer():
    model = config(hidden=(5, 6), tied=True)
    assert trace(model, weights(model), BOUNDARY, IDS, 1)["h"].shape == (9, 6)


def test_of_a_bidirectional_model_it_is_the_forward_stack():
    both, one = config(bidirectional=True), config()
    tensors = weights(both)
    forward = {name.replace("forward_stack", "stack"): tensor for name, tensor in tensors.items()}
    got, expected = (trace(m, t, BOUNDARY, IDS, 1) for m, t in ((both, tensors), (one, forward)))
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)


@pytest.mark.parametrize("layer", [-1, 2])
def test_a_layer_that_is_not_there_is_refused(layer):
    model = config()
    with pytest.raises(ConfigError, match=f"layer is {layer}; expected 0 to 1, the model has 2"):
        trace(model, weights(model), BOUNDARY, IDS, layer)


def test_ids_and_boundary_must_be_tokens():
    model = config()
    with pytest.raises(IndexError, match="expected 0 to 10"):
        trace(model, weights(model), BOUNDARY, np.array([11]), 0)
    with pytest.raises(BundleError, match="boundary"):
        trace(model, weights(model), 11, IDS, 0)
