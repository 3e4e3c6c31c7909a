"""The output layer's loss and the optimiser's step of the core against numpy in float64 and against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ostinato.errors import NativeError
from ostinato.kernels import native
from ostinato.training.optim import Updater
from ostinato.training.settings import TrainingConfig

ISAS = native.instruction_sets()
# (N, V, R): small vocabularies are shared out by tokens, the large ones by words; nothing comes out even.
SIZES = [(1, 2, 1), (5, 3, 2), (200, 65, 70), (130, 2000, 70), (70, 3001, 64), (64, 1000, 200)]


@pytest.fixture(autouse=True)
def as_it_was():
    threads, isa = torch.get_num_threads(), native.instruction_set()
    yield
    torch.set_num_threads(threads)
    native.use_instruction_set(isa)


def draw(N, V, R):
    rng = np.random.default_rng([N, V, R])
    x, weight = rng.normal(size=(N, R)), rng.normal(size=(V, R)) * 2 / np.sqrt(R)
    targets = rng.integers(0, V, N)
    targets[: min(N, 2)] = (0, V - 1)[: min(N, 2)]
    return x.astype(np.float32), weight.astype(np.float32), rng.normal(size=V).astype(np.float32), targets


def by_definition(x, weight, bias, targets, scale):
    logits = x.astype(np.float64) @ weight.astype(np.float64).T + bias
    logits -= logits.max(axis=1, keepdims=True)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    d = probs.copy()
    d[rows, targets] -= 1
    d *= scale
    return -np.log(probs[rows, targets]), d @ weight, d.T @ x, d.sum(axis=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_cross_entropy_and_its_gradients(size, threads, isa):
    native.use_instruction_set(isa)
    N, V, R = size
    x, weight, bias, targets = draw(*size)
    shapes = ((N, R), (V, R), (V,))
    gradients = native.OutputGradients(*(np.full(shape, np.nan, np.float32) for shape in shapes), 0.25)
    nats = native.cross_entropy(x, weight, bias, targets, threads, gradients)
    wanted = by_definition(x, weight, bias, targets, 0.25)
    np.testing.assert_allclose(nats, wanted[0], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(gradients.d_x, wanted[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients.d_weight, wanted[2], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(gradients.d_bias, wanted[3], rtol=1e-4, atol=2e-5)
    np.testing.assert_array_equal(native.cross_entropy(x, weight, bias, targets, threads), nats)


def test_scores_far_apart_do_not_overflow():
    x, weight = np.array([[300.0], [-300.0]], np.float32), np.array([[1.0], [-1.0]], np.float32)
    nats = native.cross_entropy(x, weight, None, np.array([1, 1]), 2)
    np.testing.assert_allclose(nats, [600.0, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.array([0, 3])}, "targets from 0 to 3; expected 0 to 2"),
        ({"targets": np.array([-1, 0])}, "targets from -1 to 0"),
        ({"targets": np.array([0, 1], np.int32)}, r"targets is int32 \(2,\); expected int64 \(2,\)"),
        ({"weight": np.zeros((3, 5), np.float32)}, r"weight is float32 \(3, 5\); expected float32 \(3, 4\)"),
        ({"bias": np.zeros(4, np.float32)}, r"bias is float32 \(4,\); expected float32 \(3,\)"),
    ],
)
def test_wrong_arrays_are_refused(change, message):
    arrays = {"x": np.zeros((2, 4), np.float32), "weight": np.zeros((3, 4), np.float32), "bias": None}
    arguments = {**arrays, "targets": np.array([0, 1]), "threads": 1, **change}
    with pytest.raises(NativeError, match=message):
        native.cross_entropy(**arguments)


# The optimiser

SETTINGS = [
    {},
    {"clip": 0.0},
    {"clip_value": 0.02},
    {"clip": 0.05, "clip_value": 0.02, "average": 0.9},
    {"average": 0.99},
]


def train(core, monkeypatch, steps=4, **settings):
    monkeypatch.setattr("ostinato.kernels.autograd.compiled.possible", lambda x: core)
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(70, 33), torch.nn.Linear(33, 5))
    updater = Updater(model, TrainingConfig(4, 4, 0.01, steps=1, **settings), 0.1)
    norms = []
    for step in range(steps):
        for p in model.parameters():
            p.grad = torch.randn_like(p) * 0.05
        norms.append(updater.step(0.01 / (1 + step)))
    state = [t for slots in updater.optimiser.state_dict()["state"].values() for t in slots.values()]
    averages = updater.average.weights if updater.average else []
    return norms, [*(p.detach() for p in model.parameters()), *state, *averages]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_step_is_that_of_torch(settings, isa, monkeypatch):
    native.use_instruction_set(isa)
    (norms, here), (wanted_norms, there) = (train(core, monkeypatch, **settings) for core in (True, False))
    np.testing.assert_allclose(norms, wanted_norms, rtol=1e-5)
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(value):
    tensors = [np.ones((3, 40), np.float32) for _ in range(5)]
    tensors[1][2, 39] = value
    before = [t.copy() for t in tensors]
    how = native.AdamW(1, 0.1, (0.9, 0.99), 1e-8, 1.0, 0.0, 0.5)
    assert not np.isfinite(native.update([native.Trained(*tensors, 0.1)], how, 2)[0])
    for a, b in zip(tensors, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_step_does_not_depend_on_threads():
    rng = np.random.default_rng(0)
    start = [rng.normal(size=100_003).astype(np.float32) for _ in range(3)]
    found = []
    for threads in (1, 2, 5):
        tensors = [*(t.copy() for t in start), np.ones(100_003, np.float32), start[0].copy()]
        how = native.AdamW(3, 0.1, (0.9, 0.99), 1e-8, 0.5, 0.0, 0.5)
        norms = native.update([native.Trained(*tensors, 0.1)], how, threads)
        found.append([np.array(norms), *tensors])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
