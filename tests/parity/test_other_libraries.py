"""The definition against code that others wrote: torch.nn (with gradients) and ONNX Runtime."""

import numpy as np
import pytest
import torch
from parity.cases import CASES, Case, Result, assert_close, by_reference, problem
from parity.onnx_node import run_node
from parity.orders import gru_to_onnx, lstm_to_onnx, to_torch
from parity.torch_kernels import as_array

TORCH = {
    ("rnn", "tanh"): torch.nn.RNN,
    ("rnn", "relu"): lambda i, h: torch.nn.RNN(i, h, nonlinearity="relu"),
    ("gru_reset_after", "tanh"): torch.nn.GRU,
    ("lstm", "tanh"): torch.nn.LSTM,
}


def by_torch_nn(case, p):
    layer = TORCH[case.cell, case.activation](case.I, case.H).double()
    layer.load_state_dict({name: torch.tensor(weight) for name, weight in to_torch(p.weights).items()})
    x = torch.tensor(p.x, requires_grad=True)
    state = [torch.tensor(part[None], requires_grad=True) for part in p.state]
    outputs, final = layer(x, tuple(state) if len(state) > 1 else state[0])
    final = final if isinstance(final, tuple) else (final,)
    torch.autograd.backward([outputs, *final], [torch.tensor(d) for d in (p.d_outputs, *(d[None] for d in p.d_final))])
    d_weights = {
        "weight_ih": as_array(layer.weight_ih_l0.grad),
        "weight_hh": as_array(layer.weight_hh_l0.grad),
        "bias": as_array(layer.bias_ih_l0.grad),
    }
    if "bias_hn" in p.weights:
        d_weights["bias_hn"] = as_array(layer.bias_hh_l0.grad)[-case.H :]
    final_arrays, d_state = tuple(as_array(s)[0] for s in final), tuple(as_array(s.grad)[0] for s in state)
    return Result(as_array(outputs), final_arrays, as_array(x.grad), d_weights, d_state)


@pytest.mark.parametrize(
    "case", [c for c in CASES if (c.cell, c.activation) in TORCH and not c.keep and not c.lengths], ids=str
)
def test_torch_nn_agrees(case):
    p = problem(case)
    assert_close(by_reference(case, p), by_torch_nn(case, p), case.T)


def assert_onnx_agrees(case, op, converted, order, **attributes):
    """Outputs and final states, with ragged lengths and non-zero initial states, in float32."""
    p = problem(case, np.float32)
    inputs = converted(p.weights) | {"X": p.x, "lengths": p.lengths.astype(np.int32)}
    inputs |= {f"initial_{part}": array[None] for part, array in zip("hc", p.state, strict=False)}
    inputs = {name: inputs[name] for name in order if name}
    names = ["Y", "Y_h", "Y_c"][: 1 + len(p.state)]
    outputs, *final = run_node(op, inputs, order, names, hidden_size=case.H, **attributes)
    expected = by_reference(case, p)
    tolerance = 1e-5  # float32 over five steps, with ONNX Runtime's approximate tanh and sigmoid
    np.testing.assert_allclose(outputs[:, 0], expected.outputs, atol=tolerance)
    for actual, wanted in zip(final, expected.final, strict=True):
        np.testing.assert_allclose(actual[0], wanted, atol=tolerance)


@pytest.mark.parametrize(("cell", "peepholes"), [("lstm", ""), ("peephole_diagonal", "P")])
def test_onnx_lstm_agrees(cell, peepholes):
    order = ["X", "W", "R", "B", "lengths", "initial_h", "initial_c", peepholes]
    case = Case(cell, "tanh", "onnx", B=4, lengths=(1, 5, 3, 4))
    assert_onnx_agrees(case, "LSTM", lstm_to_onnx, order)


@pytest.mark.parametrize(("cell", "after"), [("gru", 0), ("gru_reset_after", 1)])
def test_onnx_gru_agrees(cell, after):
    order = ["X", "W", "R", "B", "lengths", "initial_h"]
    case = Case(cell, "tanh", "onnx", B=4, lengths=(1, 5, 3, 4))
    assert_onnx_agrees(case, "GRU", gru_to_onnx, order, linear_before_reset=after)


def test_a_full_peephole_with_a_diagonal_matrix_is_the_diagonal_one():
    case = Case("peephole_diagonal", "tanh", "as_full")
    p = problem(case)
    diagonal = by_reference(case, p)
    for gate in "ifo":
        p.weights[f"weight_c{gate}"] = np.diag(p.weights[f"weight_c{gate}"])
    full = by_reference(Case("peephole", "tanh", "as_diagonal"), p)
    for gate in "ifo":
        full.d_weights[f"weight_c{gate}"] = np.diag(full.d_weights[f"weight_c{gate}"])
    assert_close(full, diagonal, case.T)
