"""The C core against the definition: every instruction set of this machine, any number of threads, any caller."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from parity.cases import CASES, VARIANTS, WIDE, Case, assert_close, by_reference, problem
from parity.torch_kernels import as_array, by_torch

from ostinato.errors import ConfigError, NativeError
from ostinato.kernels import native
from ostinato.kernels.autograd import Lookup, compiled, recurrent, recurrent_together

ISAS = native.instruction_sets()
# Blocks of units, of rows and of depth that do not come out even; the last one is shared out among threads by units.
ODD = [Case(*variant, "odd", T=4, B=13, I=7, H=70) for variant in VARIANTS]
SHARED = [Case(*variant, "shared", T=2, B=5, I=3, H=300) for variant in VARIANTS]


@pytest.fixture(autouse=True)
def as_it_was():
    threads, isa = torch.get_num_threads(), native.instruction_set()
    yield
    torch.set_num_threads(threads)
    native.use_instruction_set(isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES + WIDE + ODD + SHARED, ids=str)
def test_the_core_gives_what_the_definition_says(case, isa):
    native.use_instruction_set(isa)
    torch.set_num_threads(2)
    p = problem(case, np.float32)
    assert compiled.possible(torch.tensor(p.x))
    assert_close(by_torch(case, p), by_reference(case, p), case.T)


@pytest.mark.parametrize("case", ODD + SHARED, ids=str)
def test_neither_threads_nor_instruction_set_change_a_bit(case):
    p = problem(case, np.float32)
    found = []
    for isa in ISAS:
        for threads in (1, 2, 3, 7):
            native.use_instruction_set(isa)
            torch.set_num_threads(threads)
            result = by_torch(case, p)
            found.append([array for _, array in result.arrays()])
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in ("ragged", "zoneout_mask")], ids=str)
def test_layers_at_once_are_layers_one_by_one(case):
    torch.set_num_threads(2)
    problems = [
        problem(case, np.float32),
        problem(Case(case.cell, case.activation, "other", case.T, case.B, 4), np.float32),
    ]
    lengths = None if case.lengths is None else torch.tensor(case.lengths)
    layers, keeps = [], []
    for p in problems:
        weights = {name: torch.tensor(weight) for name, weight in p.weights.items()}
        layers.append((torch.tensor(p.x), weights, tuple(torch.tensor(part) for part in p.state)))
        keeps.append(None if p.keep is None else tuple(torch.tensor(k) for k in p.keep))
    options = {"activation": case.activation, "lengths": lengths}
    together = recurrent_together(case.cell, layers, keeps=keeps, reversed=[False, False], **options)
    for i, layer in enumerate(layers):
        ((outputs, final),) = recurrent_together(case.cell, [layer], keeps=[keeps[i]], reversed=[False], **options)
        np.testing.assert_array_equal(as_array(together[i][0]), as_array(outputs))
        for first, second in zip(together[i][1], final, strict=True):
            np.testing.assert_array_equal(as_array(first), as_array(second))


@pytest.mark.parametrize("case", CASES + ODD, ids=str)
def test_looking_the_input_up_is_reading_it(case):
    """The same outputs to the bit; a row's gradient is the sum of those of the steps that read it."""
    torch.set_num_threads(2)
    p = problem(case, np.float32)
    rng = np.random.default_rng(1)
    rows, index = rng.normal(size=(3, case.I)).astype(np.float32), rng.integers(0, 3, (case.T, case.B))
    p.x[:] = rows[index]
    wanted = by_torch(case, p)
    leaf = torch.tensor(rows, requires_grad=True)

    def looking_up(cell, x, weights, state, *, keep, **options):
        lookup = Lookup(leaf, torch.tensor(index, dtype=torch.int32))
        options |= {"keeps": [keep], "reversed": [False]}
        outputs, final = recurrent_together(cell, [(lookup, weights, state)], **options)[0]
        return outputs + 0.0 * x.sum(), final  # so that there is a gradient of x too

    found = by_torch(case, p, SimpleNamespace(recurrent=looking_up))
    np.testing.assert_array_equal(found.outputs, wanted.outputs)
    d_rows = np.zeros_like(rows)
    np.add.at(d_rows, index, wanted.d_x)
    assert_close(replace(found, d_x=as_array(leaf.grad)), replace(wanted, d_x=d_rows), case.T)


# The functions

EVERY_EXPONENT = np.concatenate(
    [np.linspace(1, 2, 4001, dtype=np.float32) * np.float32(2.0) ** e for e in range(-126, 127)]
)
DEFINITIONS = {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
BOUNDS = {"exp": 1.01, "tanh": 1.5, "sigmoid": 2.5}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("function", DEFINITIONS)
def test_functions_err_by_few_units_in_the_last_place_over_all_floats(function, isa):
    native.use_instruction_set(isa)
    within = np.random.default_rng(0).uniform(-100, 100, 1_000_000).astype(np.float32)
    x = np.concatenate([EVERY_EXPONENT, -EVERY_EXPONENT, within])
    with np.errstate(over="ignore"):
        wanted = DEFINITIONS[function](x.astype(np.float64))
    tiny = np.finfo(np.float32).tiny
    wanted = np.where(np.abs(wanted) < tiny, 0.0, wanted)
    got = native.apply(function, x).astype(np.float64)
    got = np.where(np.abs(got) < tiny, 0.0, got)
    inside = np.abs(wanted) <= np.finfo(np.float32).max
    assert np.isinf(got[~inside]).all()
    x, got, wanted = x[inside], got[inside], wanted[inside]
    error = np.abs(got - wanted) / np.spacing(np.maximum(np.abs(wanted), tiny).astype(np.float32))
    assert error.max() <= BOUNDS[function], f"{error.max():.2f} units at {x[error.argmax()]!r}"


@pytest.mark.parametrize("isa", ISAS)
def test_functions_at_the_edges(isa):
    native.use_instruction_set(isa)
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45], np.float32)
    np.testing.assert_array_equal(native.apply("exp", edges), np.array([1, 1, np.inf, 0, np.nan, 1, 1], np.float32))
    np.testing.assert_array_equal(
        native.apply("tanh", edges), np.array([0, 0, 1, -1, np.nan, 1e-45, -1e-45], np.float32)
    )
    half = np.float32(0.5)
    np.testing.assert_array_equal(
        native.apply("sigmoid", edges), np.array([half, half, 1, 0, np.nan, half, half], np.float32)
    )


# Products


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 2), (1, 300, 40), (97, 65, 33), (200, 64, 520), (3, 17, 1100)])
@pytest.mark.parametrize("ways", [(False, False), (True, False), (False, True), (True, True)])
def test_products(shape, ways, isa):
    native.use_instruction_set(isa)
    M, N, K = shape
    rng = np.random.default_rng([M, N, K])
    a = rng.normal(size=(K, M) if ways[0] else (M, K)).astype(np.float32)
    b = rng.normal(size=(N, K) if ways[1] else (K, N)).astype(np.float32)
    a, b = a.T if ways[0] else a, b.T if ways[1] else b
    bias, c = rng.normal(size=N).astype(np.float32), rng.normal(size=(M, N)).astype(np.float32)
    wanted = a.astype(np.float64) @ b
    for threads in (1, 2, 5):
        np.testing.assert_allclose(
            native.multiply(a, b, np.full((M, N), np.nan, np.float32), threads), wanted, atol=3e-6 * K
        )
        added = native.multiply(a, b, c.copy(), threads, bias, add=True)
        np.testing.assert_allclose(added, wanted + c + bias, atol=3e-6 * K)


# Callers


def test_callers_at_once_get_what_one_gets():
    case = ODD[6]
    p = problem(case, np.float32)
    wanted, found = by_torch(case, p).outputs, []

    def call() -> None:
        torch.set_num_threads(2)
        found.extend(by_torch(case, p).outputs for _ in range(20))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for outputs in found:
        np.testing.assert_array_equal(outputs, wanted)


def test_a_forked_child_goes_on():
    """Threads do not survive a fork: the child must not wait for those of its parent."""
    code = """
import os
import numpy as np
from ostinato.kernels import native
a = np.ones((300, 300), np.float32)
wanted = native.multiply(a, a, np.empty_like(a), 3)
child = os.fork()
if child == 0:
    same = np.array_equal(native.multiply(a, a, np.empty_like(a), 3), wanted)
    os._exit(0 if same else 1)
assert np.array_equal(native.multiply(a, a, np.empty_like(a), 3), wanted)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("isa", [*ISAS, "abacus"])
def test_the_environment_chooses_the_instruction_set(isa):
    code = "from ostinato.kernels import native; print(native.available() and native.instruction_set())"
    environment = {**os.environ, "OSTINATO_ISA": isa}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if isa in ISAS:
        assert done.stdout.strip() == isa
    else:
        assert "OSTINATO_ISA is 'abacus'; this machine has generic" in done.stderr


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ConfigError, match="no instruction set 'abacus' here; expected one of generic"):
        native.use_instruction_set("abacus")


# Misuse: refused with what came and what was expected, before the core sees it


def layer(lengths=None, index=None, **changed):
    T, B, I, H = 3, 2, 6, 5  # noqa: E741 - the axis letter
    shapes = {
        "x": (T, B, I), "weight_ih": (4 * H, I), "bias": (4 * H,), "weight_hh": (4 * H, H), "gates": (T, B, 4 * H),
        "h": (T + 1, B, H), "c": (T + 1, B, H), **({} if index is None else {"table": (4, 4 * H)}),
    }  # fmt: skip
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return native.Layer("lstm", "tanh", {**arrays, **changed}, lengths, index)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight_hh": np.zeros((20, 4), np.float32)}, r"weight_hh is float32 \(20, 4\); expected float32 \(20, 5\)"),
        ({"h": np.zeros((4, 2, 5))}, r"h is float64 \(4, 2, 5\); expected float32 \(4, 2, 5\) without gaps"),
        ({"h": np.zeros((4, 2, 10), np.float32)[:, :, ::2]}, r"h is float32 \(4, 2, 5\) with gaps"),
        ({"c": None}, "lstm needs c"),
        ({"gates": np.zeros((0, 2, 20), np.float32)}, "none of them 0"),
        ({"gates": np.zeros((3, 2, 21), np.float32)}, r"expected \(T, B, 4 H\)"),
        ({"x": np.zeros((3, 3, 6), np.float32)}, r"x is float32 \(3, 3, 6\); expected float32 \(3, 2, 6\)"),
        ({"x": np.zeros((6, 6), np.float32)}, r"x is \(6, 6\); expected \(3, 2, I\)"),
        ({"weight_ih": np.zeros((20, 5), np.float32)}, r"weight_ih is .* expected float32 \(20, 6\)"),
        ({"weight": np.zeros(3, np.float32)}, "a layer has no weight"),
        ({"keep_h": np.zeros((3, 2, 4), np.float32)}, r"keep_h is .* expected float32 \(3, 2, 5\)"),
        ({"lengths": np.array([1, 4], np.int32)}, r"lengths .* expected int32 \(2,\), 1 to 3"),
        ({"lengths": np.array([0, 3], np.int32)}, "1 to 3"),
        ({"lengths": np.array([1, 3])}, "lengths is int64"),
        ({"index": np.zeros((3, 2), np.int32)}, r"x is \(3, 2, 6\); expected \(rows, I\), for there is an index"),
        ({"index": np.full((3, 2), 4, np.int32), "x": np.zeros((4, 6), np.float32)}, "4 to 4; expected .* 0 to 3"),
        ({"index": np.full((3, 2), -1, np.int32), "x": np.zeros((4, 6), np.float32)}, "-1 to -1; expected"),
        ({"index": np.zeros((2, 3), np.int32), "x": np.zeros((4, 6), np.float32)}, r"index is int32 \(2, 3\)"),
        ({"index": np.zeros((3, 2), np.int32), "x": np.zeros((4, 6), np.float32), "table": None}, "lstm needs table"),
    ],
)
def test_a_wrong_array_is_refused(changed, message):
    with pytest.raises(NativeError, match=message):
        native.recurrent_forward([layer(**changed)], 1)


def test_a_gradient_without_its_arrays_is_refused():
    with pytest.raises(NativeError, match="lstm needs d_outputs, d_h, d_c, d_weight_ih, d_bias, d_weight_hh"):
        native.recurrent_backward([layer()], 1)


def test_a_wrong_product_is_refused():
    a, b = np.zeros((2, 3), np.float32), np.zeros((3, 4), np.float32)
    with pytest.raises(NativeError, match=r"out is float32 \(4, 2\); expected float32 \(2, 4\)"):
        native.multiply(a, b, np.zeros((4, 2), np.float32), 1)
    with pytest.raises(NativeError, match="expected whole rows or columns"):
        native.multiply(a, b, np.zeros((4, 2), np.float32).T, 1)


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "whole"], ids=str)
def test_an_input_with_gaps_is_read_as_it_is(case):
    p = problem(case, np.float32)
    weights = {name: torch.tensor(weight, requires_grad=True) for name, weight in p.weights.items()}
    state = tuple(map(torch.tensor, p.state))
    dense = torch.tensor(p.x)
    gaps = torch.stack([dense, dense], dim=-1).flatten(2)[:, :, ::2]
    found = []
    for x in (dense, gaps):
        ((outputs, _),) = recurrent_together(
            case.cell, [(x, weights, state)], activation=case.activation, keeps=[None], reversed=[False]
        )
        found.append([outputs, *torch.autograd.grad(outputs, list(weights.values()), torch.tensor(p.d_outputs))])
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(as_array(first), as_array(second))


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "whole"], ids=str)
def test_a_gradient_can_be_taken_once(case):
    """The gradients of the gates take the place of the gates."""
    p = problem(case, np.float32)
    weights = {name: torch.tensor(weight, requires_grad=True) for name, weight in p.weights.items()}
    outputs, _ = recurrent(case.cell, torch.tensor(p.x), weights, tuple(map(torch.tensor, p.state)))
    outputs.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="the gradient of this layer was already taken"):
        outputs.sum().backward()
