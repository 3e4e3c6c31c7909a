"""``linear`` and the output layer's loss against torch's own, and against closed forms."""

import math

import pytest
import torch
from torch.nn import functional

from ostinato.kernels.autograd import linear, linear_cross_entropy, linear_nats

# Rows, width, vocabulary: one row, odd sizes, a vocabulary of one, several blocks with a smaller last one (float32 and
# float64), products large enough for every route.
SIZES = [(1, 3, 5), (7, 5, 1), (37, 19, 65), (433, 3, 10007), (513, 64, 65), (130, 129, 517), (513, 129, 33)]


@pytest.fixture(autouse=True, params=["core", "torch"])
def core(request, monkeypatch):
    """Each test with the core, where it takes the tensors, and without."""
    if request.param == "torch":
        monkeypatch.setattr("ostinato.kernels.autograd.compiled.possible", lambda _: False)


def data(N, R, V, dtype=torch.float32):
    generator = torch.Generator().manual_seed(N + R + V)
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=dtype) for shape in ((N, R), (V, R), (V,)))
    return [t.requires_grad_() for t in (x, weight, bias)], torch.randint(V, (N,), generator=generator)


def assert_gradients_agree(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        scale = theirs.abs().max().clamp(min=1.0)
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1000 * torch.finfo(theirs.dtype).eps * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_cross_entropy_is_torchs(size, dtype, with_bias):
    (x, weight, bias), targets = data(*size, dtype)
    leaves, bias = ([x, weight, bias], bias) if with_bias else ([x, weight], None)
    expected = functional.cross_entropy(functional.linear(x, weight, bias), targets, reduction="none")
    total = linear_cross_entropy(x, weight, bias, targets)
    eps = 1000 * torch.finfo(dtype).eps
    torch.testing.assert_close(total, expected.sum(), rtol=eps, atol=eps)
    torch.testing.assert_close(linear_nats(x, weight, bias, targets), expected.detach(), rtol=eps, atol=eps)
    # A factor on the loss must reach the gradients.
    assert_gradients_agree(torch.autograd.grad(total * 0.3, leaves), torch.autograd.grad(expected.sum() * 0.3, leaves))


def test_every_row_is_counted_at_every_block_edge(monkeypatch):
    (x, weight, bias), targets = data(23, 4, 10, torch.float64)
    expected = functional.cross_entropy(functional.linear(x, weight, bias), targets, reduction="none").detach()
    unbiased = functional.cross_entropy(functional.linear(x, weight), targets, reduction="none").detach()
    for block in (1, 10, 19, 20, 70, 229, 230, 231):
        monkeypatch.setattr("ostinato.kernels.autograd.output._BLOCK", block)
        torch.testing.assert_close(linear_nats(x, weight, bias, targets), expected)
        torch.testing.assert_close(linear_cross_entropy(x, weight, bias, targets), expected.sum())
        torch.testing.assert_close(linear_cross_entropy(x.detach(), weight.detach(), None, targets), unbiased.sum())


def test_no_more_than_a_block_of_logits_exists(monkeypatch):
    """The largest tensor that is made is a block, the weight, or its gradient."""
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (result if isinstance(result, tuple) else (result,)) if torch.is_tensor(t))
            return result

    monkeypatch.setattr("ostinato.kernels.autograd.output._BLOCK", 50 * 700)
    (x, weight, bias), targets = data(400, 8, 700)
    with Watch():
        linear_cross_entropy(x, weight, bias, targets).backward()
        linear_nats(x, weight, bias, targets)
    assert max(sizes) <= 50 * 700


def test_a_uniform_model_scores_log_v():
    nats = linear_nats(torch.randn(9, 4), torch.zeros(65, 4), None, torch.arange(9))
    torch.testing.assert_close(nats, torch.full((9,), math.log(65)))


def test_an_impossible_target_costs_what_it_costs():
    """Its probability underflows; its cost does not."""
    weight = torch.tensor([[500.0], [-500.0]])
    nats = linear_nats(torch.ones(1, 1), weight, None, torch.tensor([1]))
    torch.testing.assert_close(nats, torch.tensor([1000.0]))


def test_without_rows_the_loss_is_zero():
    (x, weight, bias), targets = data(0, 4, 6)
    total = linear_cross_entropy(x, weight, bias, targets)
    total.backward()
    assert total == 0
    assert not weight.grad.any()
    assert linear_nats(x, weight, bias, targets).shape == (0,)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_is_torchs(size, with_bias):
    (x, weight, bias), _ = data(*size)
    leaves, bias = ([x, weight, bias], bias) if with_bias else ([x, weight], None)
    ours, theirs = linear(x[None], weight, bias), functional.linear(x[None], weight, bias)
    d = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1))
    assert_gradients_agree([ours], [theirs])
    assert_gradients_agree(torch.autograd.grad(ours, leaves, d), torch.autograd.grad(theirs, leaves, d))


def test_linear_takes_rows_and_columns_with_gaps():
    (x, weight, _), _ = data(300, 120, 160)
    gappy, part = x[:, 10:90], weight[:, 40:]
    assert_gradients_agree([linear(gappy, part)], [functional.linear(gappy, part)])


@pytest.mark.parametrize("size", SIZES)
def test_the_same_inputs_give_the_same_bits(size):
    (x, weight, bias), targets = data(*size)
    runs = []
    for _ in range(2):
        total = linear_cross_entropy(x, weight, bias, targets)
        runs.append([total, *torch.autograd.grad(total, (x, weight, bias))])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("size", SIZES)
def test_the_gpu_agrees(size):
    (x, weight, bias), targets = data(*size, torch.float64)
    here = linear_cross_entropy(x, weight, bias, targets)
    there = linear_cross_entropy(x.cuda(), weight.cuda(), bias.cuda(), targets.cuda())
    torch.testing.assert_close(there.cpu(), here)
    leaves = (x, weight, bias)
    assert_gradients_agree(torch.autograd.grad(there, leaves), torch.autograd.grad(here, leaves))


def test_tensors_that_lie_transposed_get_their_gradients():
    (x, weight, bias), targets = data(70, 33, 65)
    turned = [
        x.detach().t().contiguous().t().requires_grad_(),
        weight.detach().t().contiguous().t().requires_grad_(),
        bias,
    ]
    expected = functional.cross_entropy(functional.linear(x, weight, bias), targets, reduction="sum")
    actual = torch.autograd.grad(linear_cross_entropy(*turned, targets), turned)
    assert_gradients_agree(actual, torch.autograd.grad(expected, (x, weight, bias)))
