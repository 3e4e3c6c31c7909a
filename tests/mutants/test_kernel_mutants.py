"""The kernels, each broken in one place on purpose: the table of cases, or the test of that kernel, must fail."""

import numpy as np
import pytest
import torch
from mutants.mutate import mutant
from parity.cases import CASES, assert_close, by_reference, directional_error, problem
from parity.test_output_kernels import assert_gradients_agree, data
from parity.test_reversed import hold_reversed
from parity.torch_kernels import by_torch
from torch.nn import functional

from ostinato.kernels.autograd import output, products, sequence

REFERENCE = "ostinato.kernels.reference"
LOOPS = "ostinato.kernels.autograd.loops"

# What is wrong, in which function, and which source becomes which.
REFERENCE_MUTANTS = {
    "rnn": [
        ("square matrix transposed", "rnn_step", '["weight_hh"].T', '["weight_hh"]'),
        ("its gradient transposed", "rnn_step_backward", '["weight_hh"],)', '["weight_hh"].T,)'),
        ("gradient from the state after", "rnn_step_backward", "d_a.T @ h_before", "d_a.T @ h"),
    ],
    "gru": [
        ("gates swapped", "gru_step", "r, z = rz", "z, r = rz"),
        ("update gate turned round", "gru_step", "n + z * (h - n)", "h + z * (n - h)"),
        ("reset gate unused", "gru_step", "(r * h) @", "h @"),
        ("no way back through the reset gate", "gru_step_backward", "+ d_rh * r", ""),
        ("weight gradient without reset", "gru_step_backward", "d_an.T @ (r * h)", "d_an.T @ h"),
    ],
    "gru_reset_after": [
        ("bias dropped", "gru_reset_after_step", 'u_n += weights["bias_hn"]', "pass"),
        ("gradient of the bias without reset", "gru_reset_after_step_backward", "d_u[:, 2 * H :].sum", "d_an.sum"),
        ("reset gate not in the gradient", "gru_reset_after_step_backward", "d_an * r]", "d_an]"),
    ],
    "lstm": [
        ("gates swapped", "lstm_step", "i, f =", "f, i ="),
        ("h0 and c0 exchanged", "lstm_step", "h, c = state", "c, h = state"),
        ("gradient forgets the cell", "lstm_step_backward", "d_c + d_h * o", "d_h * o"),
        ("no tanh in the gradient", "lstm_step_backward", "d_c * i * d_tanh(g)", "d_c * i"),
        ("gradient from the cell after", "lstm_step_backward", "d_c * c_before", "d_c * (c_before * f + i * g)"),
        ("bias dropped", "project", 'a += weights["bias"]', "pass"),
        ("gradient of the bias dropped", "backward", "d_rows.sum(axis=0)", "0"),
        ("keep forgotten", "blend", "if keep is None:", "if True:"),
        ("keep turned round", "blend", "k[t] * old + (1 - k[t]) * new", "k[t] * new + (1 - k[t]) * old"),
        ("keep forgotten in the gradient", "backward", "(1 - k[t]) * d", "d"),
        ("held gradient lost", "backward", "d + k[t] * held", "d"),
        ("lengths ignored", "forward", "if lengths is not None:", "if False:"),
        ("lengths one off", "forward", "< np.asarray(lengths)", "<= np.asarray(lengths)"),
        ("dead outputs live", "forward", "state[0] * live[t]", "state[0]"),
        ("gradients of dead outputs", "backward", "d_outputs[t] * live[t]", "d_outputs[t]"),
        ("gradient of the final state lost", "backward", "= d_final_state", "= tuple(0 * d for d in d_final_state)"),
    ],
    "peephole": [
        ("o sees the cell before", "peephole_step", '(c, weights["weight_co"', '(state[1], weights["weight_co"'),
        ("i sees through V_f", "peephole_step", 'weights["weight_ci"]', 'weights["weight_cf"]'),
        ("matrix transposed", "see", "c @ V.T", "c @ V"),
        ("gradient of the matrix transposed", "d_see", "d.T @ c", "c.T @ d"),
        ("no way back through o", "peephole_step_backward", " + d_c_o", ""),
        ("no way back through f", "peephole_step_backward", " + d_c_f", ""),
    ],
    "peephole_diagonal": [
        ("gradient of the diagonal", "d_see", "(d * c).sum(axis=0)", "d.sum(axis=0)"),
    ],
}  # fmt: skip

LOOP_MUTANTS = {
    "rnn": [
        ("square matrix transposed", "rnn_forward", "product(h[t], U)", "product(h[t], U.t())"),
        ("held gradient lost", "add", "if held is None", "if True"),
    ],
    "gru": [
        ("gates swapped", "gru_forward", "(r, z, n)", "(z, r, n)"),
        ("weight gradient without reset", "d_gru_weights", "rows(reset)", "rows(parts[0][:-1])"),
        ("state after for state before", "gru_backward", "torch.mul(d_rh, h[t],", "torch.mul(d_rh, h[t + 1],"),
    ],
    "gru_reset_after": [
        ("bias dropped", "gru_reset_after_forward", "product(h[t], U, bias)", "product(h[t], U)"),
        ("reset gate not in the gradient", "gru_reset_after_backward", "d_n[t], r[t]", "d_n[t], r[t] * 0 + 1"),
    ],
    "lstm": [
        ("h0 and c0 exchanged", "lstm_forward", "(h, c), (i,", "(c, h), (i,"),
        ("keep forgotten", "hold", "if keep is not None:", "if False:"),
        ("c_t where c_{t-1} belongs", "lstm_backward", "torch.mul(d_c, c[t],", "torch.mul(d_c, c[t + 1],"),
    ],
    "peephole": [
        ("o sees the cell before", "peephole_forward", "see(c_t, V_o)", "see(c[t], V_o)"),
        ("matrix transposed", "see", "product(c, V)", "product(c, V.t())"),
        ("its gradient transposed", "d_seen", "outer(rows(d), rows(c))", "outer(rows(c), rows(d))"),
        ("V_o's gradient from the zoned-out cell", "d_peephole_weights", "(d_o, fresh)", "(d_o, parts[1][1:])"),
    ],
    "peephole_diagonal": [
        ("gradient of the diagonal", "d_seen", "(d * c).sum((0, 1))", "d.sum((0, 1))"),
        ("no way back through the diagonal", "d_see", "d * V if", "d if"),
    ],
}  # fmt: skip

SEQUENCE_MUTANTS = {
    "lstm": [
        ("final state not put back in order", "_run_fused", "part[0, back]", "part[0]"),
        ("initial state not sorted", "_run_fused", "part[None, order]", "part[None]"),
    ],
    "gru_reset_after": [
        ("bias_hn for the wrong gate", "_run_fused", 'weights["bias_hn"]])', 'weights["bias_hn"]]).roll(H)'),
    ],
    "gru": [
        ("lengths ignored", "_live", "if lengths is None:", "if True:"),
        ("dead outputs live", "recurrent", "outputs * live", "outputs"),
    ],
    "peephole": [
        ("gradient of the input dropped", "_Recurrence", "None, None, None, d_x,", "None, None, None, d_x * 0,"),
        ("states before for outputs", "_Recurrence", "return parts[0][1:],", "return parts[0][:-1],"),
    ],
}  # fmt: skip


REVERSE_MUTANTS = [
    ("reverse", "where(t < lengths, lengths - 1 - t, t)", "where(t < T, T - 1 - t, lengths)"),
    ("reverse", "lengths - 1 - t", "(lengths - 2 - t) % lengths"),
    ("reverse", "x.flip(0)", "x"),
    ("_recurrent_in_direction", "return reverse(outputs, lengths), final", "return outputs, final"),
    ("_recurrent_in_direction", "reverse(x, lengths)", "x"),
    ("_recurrent_in_direction", "reverse(k, lengths)", "k"),
]


def hold_reference(cell, module):
    """Every case of ``cell`` against the sound definition."""
    for case in CASES:
        if case.cell == cell:
            p = problem(case)
            assert_close(by_reference(case, p, module), by_reference(case, p), case.T)


def hold_torch(cell, module):
    """Every case of ``cell`` against the definition."""
    for case in CASES:
        if case.cell == cell:
            p = problem(case)
            assert_close(by_torch(case, p, module), by_reference(case, p), case.T)


def each(mutants):
    """The rows of a table of mutants as parameters, named by what is wrong."""
    return [pytest.param(key, *row, id=f"{key}: {wrong}") for key, rows in mutants.items() for wrong, *row in rows]


WRONG_GRADIENTS = {
    cell: [row for row in rows if "backward" in row[1] or row[1] == "d_see"] for cell, rows in REFERENCE_MUTANTS.items()
}


@pytest.mark.parametrize(("cell", "inside", "old", "new"), each(REFERENCE_MUTANTS))
def test_the_table_kills_references(cell, inside, old, new):
    broken = mutant(REFERENCE, old, new, inside)
    with pytest.raises(AssertionError):
        hold_reference(cell, broken)


@pytest.mark.parametrize(("cell", "inside", "old", "new"), each(WRONG_GRADIENTS))
def test_central_differences_kill_wrong_gradients(cell, inside, old, new):
    broken = mutant(REFERENCE, old, new, inside)
    errors = [
        directional_error(case, problem(case), lambda case, p: by_reference(case, p, broken))
        for case in CASES
        if case.cell == cell
    ]
    assert max(errors) > 1e-3


@pytest.mark.parametrize(("cell", "inside", "old", "new"), each(LOOP_MUTANTS))
def test_the_table_kills_loops(cell, inside, old, new, monkeypatch):
    broken = mutant(LOOPS, old, new, inside)
    monkeypatch.setattr(sequence, "LOOPS", broken.LOOPS)
    monkeypatch.setattr(sequence, "RNN_LOOPS", broken.RNN_LOOPS)
    with pytest.raises(AssertionError):
        hold_torch(cell, sequence)


@pytest.mark.parametrize(("cell", "inside", "old", "new"), each(SEQUENCE_MUTANTS))
def test_the_table_kills_sequences(cell, inside, old, new):
    broken = mutant("ostinato.kernels.autograd.sequence", old, new, inside)
    with pytest.raises(AssertionError):
        hold_torch(cell, broken)


@pytest.mark.parametrize(("inside", "old", "new"), REVERSE_MUTANTS)
def test_the_reversed_table_kills_directions(inside, old, new):
    broken = mutant("ostinato.kernels.autograd.sequence", old, new, inside)
    with pytest.raises(AssertionError):
        hold_all_reversed(broken)


def hold_all_reversed(module):
    for case in CASES:
        hold_reversed(case, np.float64, module)


@pytest.mark.parametrize("cell", LOOP_MUTANTS)
def test_sound_kernels_live(cell):
    """Without a mutation the same checks pass: a mutant dies of its mutation."""
    hold_torch(cell, mutant("ostinato.kernels.autograd.sequence", "class _Recurrence", "class _Recurrence"))
    hold_reference(cell, mutant(REFERENCE, "class Tape", "class Tape"))


def test_a_mutation_that_fits_no_source_is_an_error():
    with pytest.raises(LookupError, match="occurs 0 times"):
        mutant(REFERENCE, "no such line", "")


def hold_output(module):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ostinato.kernels.autograd.compiled.possible", lambda _: False)
        hold_output_in_torch(module)


def hold_output_in_torch(module):
    for size in ((37, 19, 65), (433, 3, 10007)):
        (x, weight, bias), targets = data(*size)
        expected = functional.cross_entropy(functional.linear(x, weight, bias), targets, reduction="none")
        total = module.linear_cross_entropy(x, weight, bias, targets)
        assert torch.allclose(total, expected.sum(), rtol=1e-4)
        assert torch.allclose(module.linear_nats(x, weight, bias, targets), expected, rtol=1e-4)
        leaves = (x, weight, bias)
        assert_gradients_agree(torch.autograd.grad(total * 3, leaves), torch.autograd.grad(expected.sum() * 3, leaves))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min(start + size, rows)", "min(start + size - 1, rows)"),
        ("range(0, rows, max(1, size))", "range(0, rows - size, max(1, size))"),
        ("d_weight_t += product", "d_weight_t = product"),
        ("d_bias += d.sum(0)", "d_bias = d.sum(0)"),
        ("nats += (_softmax_", "nats = (_softmax_"),
        ("logits.new_full(target.shape, -1.0)", "logits.new_full(target.shape, 0.0)"),
        ("d_x * d_nats", "d_x"),
        ("torch.mul(d_weight_t.t(), d_nats", "torch.mul(d_weight_t.t(), 1.0"),
        ("d_bias * d_nats", "d_bias"),
        ("top.sub_(logits.amax(1).log_())", "top"),
    ],
)
def test_the_comparison_kills_losses(old, new):
    hold_output(output)
    with pytest.raises(AssertionError):
        hold_output(mutant("ostinato.kernels.autograd.output", old, new))


def hold_linear(module):
    for size in ((7, 5, 3), (513, 129, 33), (130, 129, 517)):
        leaves, _ = data(*size)
        ours, theirs = module.linear(*leaves), functional.linear(*leaves)
        d = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1))
        assert_gradients_agree([ours], [theirs])
        assert_gradients_agree(torch.autograd.grad(ours, leaves, d), torch.autograd.grad(theirs, leaves, d))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("product(x.t(), d.t()).t()", "product(d.t(), x.t()).roll(1, 0)"),
        ("return product(d.t(), x.t())", "return product(d.t(), x.t()).roll(1, 0)"),
        ("d.sum(0) if need_bias", "d.sum(0) * 0 if need_bias"),
        ("_ONEDNN(_dense(x), _dense(w), bias,", "_ONEDNN(_dense(x), _dense(w), None,"),
        ("functional.linear(x, weight, bias)", "functional.linear(x, weight)"),
    ],
)
def test_the_comparison_kills_products(old, new):
    if "_ONEDNN" in old and not products.uses_onednn(torch.empty(0)):
        pytest.skip("this build of torch has no oneDNN")
    hold_linear(products)
    with pytest.raises(AssertionError):
        hold_linear(mutant("ostinato.kernels.autograd.products", old, new))
