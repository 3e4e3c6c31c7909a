from __future__ import annotations

import pytest
import torch
from modelling import PLAIN, randomise, small
from torch import Tensor, nn

from ostinato.models.build import build
from ostinato.training.optim import Average, Updater, clip_gradients, make_optimiser
from ostinato.training.settings import OPTIMISERS, TrainingConfig


def config(**changes: object) -> TrainingConfig:
    return TrainingConfig(**{"batch": 1, "bptt": 1, "lr": 0.5, "steps": 10, **changes})  # type: ignore[arg-type]


def with_gradients(*gradients: list[float]) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.ones(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return parameters


def norm(parameters: list[nn.Parameter]) -> float:
    return float(torch.cat([p.grad for p in parameters if p.grad is not None]).norm())


def test_a_long_gradient_is_shortened_as_one() -> None:
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradients(parameters, 1.0, 0.0) == pytest.approx((5.0, 1.0))
    assert norm(parameters) == pytest.approx(1.0)
    assert [p.grad.tolist() for p in parameters] == [pytest.approx([0.6, 0.0]), pytest.approx([0.0, 0.8])]  # type: ignore[union-attr]


@pytest.mark.parametrize("limit", [0.0, 5.5])
def test_a_short_gradient_is_left_alone(limit: float) -> None:
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradients(parameters, limit, 0.0) == pytest.approx((5.0, 5.0))
    assert norm(parameters) == pytest.approx(5.0)


def test_values_are_clipped_first_then_the_norm() -> None:
    parameters = with_gradients([3.0, -0.5], [-4.0])
    before, after = clip_gradients(parameters, 0.0, 1.0)
    assert [p.grad.tolist() for p in parameters] == [[1.0, -0.5], [-1.0]]  # type: ignore[union-attr]
    assert (before, after) == pytest.approx((25.25**0.5, 1.5))
    parameters = with_gradients([3.0, -0.5], [-4.0])
    assert clip_gradients(parameters, 0.75, 1.0)[1] == pytest.approx(0.75)
    assert norm(parameters) == pytest.approx(0.75)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_told_and_not_touched(bad: float) -> None:
    parameters = with_gradients([bad, 3.0])
    before, after = clip_gradients(parameters, 1.0, 1.0)
    assert not torch.isfinite(torch.tensor([before, after])).any()
    assert parameters[0].grad[1] == 3.0  # type: ignore[index]


def test_parameters_without_a_gradient_do_not_matter() -> None:
    parameters = [*with_gradients([3.0, 4.0]), nn.Parameter(torch.ones(2))]
    assert clip_gradients(parameters, 1.0, 0.5)[0] == pytest.approx(5.0)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_weight_decay_falls_on_matrices_only(optimiser: str) -> None:
    model = randomise(build(small(layer_norm=True), PLAIN))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    made = make_optimiser(model, config(optimiser=optimiser, lr=0.01), weight_decay=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for name, weight in model.named_parameters():
        moved = not torch.equal(weight, before[name])
        assert moved == (weight.ndim == 2), name
        if moved and optimiser == "adamw":
            torch.testing.assert_close(weight, before[name] * (1 - 0.01 * 0.1))


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_goes_down_hill(optimiser: str) -> None:
    class Bowl(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.tensor([[3.0, -2.0]]))

    bowl = Bowl()
    made = make_optimiser(bowl, config(optimiser=optimiser, lr=0.03), 0.0)
    for _ in range(300):
        made.zero_grad()
        bowl.place.square().sum().backward()
        made.step()
    assert bowl.place.norm() < 0.2


class One(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


def put(model: One, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


def test_the_average_follows_its_closed_form() -> None:
    decay, values = 0.7, [4.0, -1.0, 2.0, 8.0, 0.5, 3.0, 7.0, 1.0]
    model = One()
    put(model, 10.0)
    average, expected = Average(model, decay), 10.0
    for n, value in enumerate(values, start=1):
        put(model, value)
        average.update()
        keep = min(decay, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * value
    torch.testing.assert_close(average.weights[0], torch.full((3,), expected))
    assert float(model.weight.detach()[0]) == values[-1]


def test_the_average_is_applied_within_and_taken_back_after() -> None:
    model = One()
    average = Average(model, 0.5)
    put(model, 1.0)
    average.update()

    def seen() -> Tensor:
        return model.weight.detach().clone()

    with average.applied():
        inside = seen()
    torch.testing.assert_close(inside, average.weights[0])
    assert 0 < inside[0] < 1
    assert seen().tolist() == [1.0, 1.0, 1.0]


def test_the_average_is_taken_back_after_a_failure_too() -> None:
    model = One()
    average = Average(model, 0.5)
    put(model, 1.0)
    with pytest.raises(ZeroDivisionError), average.applied():
        _ = 1 / float(model.weight.detach()[0])
    assert model.weight.detach().tolist() == [1.0, 1.0, 1.0]


def stepped(optimiser: str, factors: dict[str, float] | None, steps: int = 3, clip: float = 0.0) -> dict[str, Tensor]:
    """How far every weight has moved after some steps with the same gradients."""
    model = randomise(build(small(hidden=(5,)), PLAIN))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    told: list[float] = []

    def at(fraction: float) -> dict[str, float]:
        told.append(fraction)
        assert factors is not None
        return factors

    updater = Updater(model, config(optimiser=optimiser, clip=clip, lr=0.01), 0.1, None if factors is None else at)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        updater.step(0.01, step / steps)
    assert told == ([] if factors is None else [0.0, 1 / 3, 2 / 3])
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters()}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_parameter_moves_at_its_own_rate(optimiser: str) -> None:
    names = [name for name, _ in build(small(hidden=(5,)), PLAIN).named_parameters()]
    plain, ones = stepped(optimiser, None, steps=1), stepped(optimiser, dict.fromkeys(names, 1.0), steps=3)
    for name, moved in stepped(optimiser, None).items():
        torch.testing.assert_close(ones[name], moved, atol=1e-6, rtol=1e-4)  # the core's step rounds in another way
    factors = {name: 0.5**k for k, name in enumerate(names)}
    assert len(names) >= 5
    model = randomise(build(small(hidden=(5,)), PLAIN))
    updater = Updater(model, config(optimiser=optimiser, clip=0.0, lr=0.01), 0.1, lambda _: factors)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    updater.step(0.01)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.detach() - before[name], factors[name] * plain[name], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_factor_of_zero_leaves_a_parameter_alone_and_out_of_the_norm(optimiser: str) -> None:
    model = randomise(build(small(hidden=(5,)), PLAIN))
    free = "output.bias"
    updater = Updater(
        model,
        config(optimiser=optimiser, clip=1.0, average=0.9),
        0.1,
        lambda fraction: {name: float(name == free or fraction > 0.5) for name, _ in model.named_parameters()},
    )
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    norm = 3.0 * model.output.bias.numel() ** 0.5
    assert updater.step(0.01, 0.0) == pytest.approx((norm, 1.0))
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) == (name != free)
        assert bool(updater.optimiser.state[weight]) == (name == free)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    updater.step(0.01, 0.6)
    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())
