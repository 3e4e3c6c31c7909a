"""What must hold for the definition whatever the cell: chunks, rows, steps, ends, and floats of every size."""

from dataclasses import replace

import numpy as np
import pytest
from parity.cases import CASES, assert_close, by_reference, problem

from ostinato.errors import ConfigError
from ostinato.kernels import reference

WHOLE = [case for case in CASES if case.name == "whole"]
RAGGED = [case for case in CASES if case.lengths]
HELD = [case for case in CASES if case.name == "zoneout_mask"]


@pytest.mark.parametrize("case", HELD, ids=str)
def test_chunks_equal_the_whole(case):
    p, run = problem(case), by_reference
    head, tail = ((lambda array, cut=cut: array[cut]) for cut in (slice(2), slice(2, None)))
    whole = run(case, p)
    first = replace(p, x=head(p.x), keep=tuple(map(head, p.keep)), d_outputs=head(p.d_outputs))
    middle = run(case, first).final
    last = run(case, replace(p, x=tail(p.x), keep=tuple(map(tail, p.keep)), d_outputs=tail(p.d_outputs), state=middle))
    first = run(case, replace(first, d_final=last.d_state))
    joined = replace(
        last,
        outputs=np.concatenate([first.outputs, last.outputs]),
        d_x=np.concatenate([first.d_x, last.d_x]),
        d_weights={name: d + last.d_weights[name] for name, d in first.d_weights.items()},
        d_state=first.d_state,
    )
    assert_close(joined, whole, case.T)


@pytest.mark.parametrize("case", RAGGED, ids=str)
def test_a_row_of_a_ragged_batch_is_that_row_alone(case):
    p = problem(case)
    p.x[np.arange(case.T)[:, None] >= p.lengths] = np.nan  # what lies past the end must not matter
    together = by_reference(case, p)
    for b, length in enumerate(case.lengths):
        row = slice(b, b + 1)
        alone = by_reference(
            case,
            replace(
                p,
                x=p.x[:length, row],
                state=tuple(part[row] for part in p.state),
                lengths=None,
                d_outputs=p.d_outputs[:length, row],
                d_final=tuple(d[row] for d in p.d_final),
            ),
        )
        slack = 100 * case.T * np.finfo(np.float64).eps
        np.testing.assert_allclose(together.outputs[:length, row], alone.outputs, atol=slack)
        np.testing.assert_allclose(together.d_x[:length, row], alone.d_x, atol=slack)
        assert not together.outputs[length:, row].any()
        assert not together.d_x[length:, row].any()
        for joint, single in zip(together.final + together.d_state, alone.final + alone.d_state, strict=True):
            np.testing.assert_allclose(joint[row], single, atol=slack)


@pytest.mark.parametrize("case", WHOLE + HELD, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_run_is_forward_without_a_tape(case, dtype, monkeypatch):
    p = problem(case, dtype)
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, np.nan, dtype))
    outputs, final = reference.run(case.cell, p.x, p.weights, p.state, activation=case.activation, keep=p.keep)
    expected = by_reference(case, p)
    np.testing.assert_array_equal(outputs, expected.outputs)
    for actual, wanted in zip(final, expected.final, strict=True):
        np.testing.assert_array_equal(actual, wanted)
        assert actual.dtype == dtype


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_steps_are_a_run_and_leave_the_state_before_alone(case):
    p = problem(case)
    state, before = p.state, [part.copy() for part in p.state]
    for x in p.x:
        state = reference.step(case.cell, x, p.weights, state, activation=case.activation)
    for actual, wanted in zip(state, by_reference(case, p).final, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-13)
    for part, copy in zip(p.state, before, strict=True):
        np.testing.assert_array_equal(part, copy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_is_silent_and_bounded_on_every_float(dtype):
    x = np.array([-np.inf, np.finfo(dtype).min, -1e4, -1.0, -1e-45, 0.0, 2.0, 1e4, np.finfo(dtype).max, np.inf], dtype)
    y = reference.sigmoid(x)
    np.testing.assert_allclose(y, [0, 0, 0, 0.2689414213699951, 0.5, 0.5, 0.8807970779778823, 1, 1, 1], rtol=1e-6)
    assert np.isnan(reference.sigmoid(np.array([np.nan], dtype))).all()


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_inputs_of_any_size_raise_no_warning(case):
    p = problem(case, np.float32)
    reference.run(case.cell, p.x * np.float32(1e6), p.weights, p.state, activation=case.activation)


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="no cell 'lstn'"):
        reference.weight_shapes("lstn", 2, 3)
    with pytest.raises(ConfigError, match="activation 'sine'"):
        reference.find("rnn", "sine")
