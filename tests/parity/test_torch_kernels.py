"""``recurrent`` against the definition, and what must hold for it whatever the cell."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity.cases import CASES, VARIANTS, WIDE, Case, assert_close, by_reference, problem
from parity.torch_kernels import by_torch

from ostinato.errors import ConfigError
from ostinato.kernels.autograd import recurrent

# Many tiles of rows and units, and steps enough for one program to run ahead of another.
TALL = [Case(*variant, "tall", T=50, B=70, I=30, H=200, keep=keep) for variant in VARIANTS for keep in (None, "mask")]
WHOLE = [case for case in CASES if case.name == "whole"]


@pytest.fixture
def poisoned():
    """Memory that nobody wrote holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def without_core(monkeypatch):
    """test_native.py has the core."""
    monkeypatch.setattr("ostinato.kernels.autograd.compiled.possible", lambda _: False)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES + WIDE, ids=str)
def test_torch_gives_what_the_definition_says(case, dtype, poisoned):
    p = problem(case, dtype)
    assert_close(by_torch(case, p), by_reference(case, p), case.T)


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_a_zoneout_of_nothing_changes_nothing(case):
    """It also holds our loops to torch's fused layers, which run when there is no zoneout."""
    p = problem(case)
    held = replace(p, keep=tuple(np.zeros((1, 1, 1)) for _ in p.state))
    assert_close(by_torch(case, held), by_torch(case, p), case.T)


@pytest.mark.parametrize("case", WHOLE + WIDE, ids=str)
def test_the_same_inputs_give_the_same_bits(case):
    p = problem(case, np.float32)
    for first, second in zip(by_torch(case, p).arrays(), by_torch(case, p).arrays(), strict=True):
        np.testing.assert_array_equal(first[1], second[1])


def test_frozen_inputs_get_no_gradient():
    case = WHOLE[-1]
    p = problem(case)
    x = torch.tensor(p.x)
    weights = {name: torch.tensor(weight, requires_grad=True) for name, weight in p.weights.items()}
    outputs, _ = recurrent(case.cell, x, weights, tuple(map(torch.tensor, p.state)))
    outputs.sum().backward()
    assert x.grad is None
    assert all(weight.grad is not None for weight in weights.values())


@pytest.mark.parametrize(("cell", "activation"), [("lstn", "tanh"), ("rnn", "sine")])
def test_an_unknown_name_is_refused(cell, activation):
    p = problem(WHOLE[0])
    weights = {name: torch.tensor(weight) for name, weight in p.weights.items()}
    with pytest.raises(ConfigError, match="expected one of rnn, gru"):
        recurrent(cell, torch.tensor(p.x), weights, (torch.tensor(p.state[0]),), activation=activation)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES + WIDE + TALL, ids=str)
def test_the_gpu_gives_what_the_definition_says(case, dtype, monkeypatch):
    """float64 by torch's layers and plain loops; float32 also by our kernels, here on many multiprocessors."""
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", False)
    p = problem(case, dtype)
    assert_close(by_torch(case, p, device="cuda"), by_reference(case, p), case.T)
