"""Small models with weights unlike any start: every gate, unit and bias differs, no layer norm is the identity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ostinato.config import ModelConfig, Regularisers
from ostinato.models.tokens import TokenModel

PLAIN = Regularisers()

EVERYTHING = Regularisers(
    dropout_input=0.3, dropout_hidden=0.3, dropout_output=0.3, dropout_embedding=0.3, weight_drop=0.3
)


def small(**changes: Any) -> ModelConfig:
    """An odd-sized two-layer LSTM, with changes."""
    return ModelConfig(**{"vocab": 11, "embed": 6, "hidden": (5, 7), **changes})


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter drawn anew, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module


def draw(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw_ids(*shape: int, vocab: int = 11, seed: int = 2) -> Tensor:
    """Uniform token ids."""
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


def draw_state(module: Any, batch: int, seed: int = 3) -> tuple[Tensor, ...]:
    """A state that is not zero, of the shapes of ``module.initial_state``."""
    zeros = module.initial_state(batch)
    return tuple(draw(*part.shape, seed=seed + k) for k, part in enumerate(zeros))


def row(state: tuple[Tensor, ...], b: int) -> tuple[Tensor, ...]:
    """The state of one row, as a batch of one."""
    return tuple(part[b : b + 1] for part in state)


def close(a: Tensor, b: Tensor) -> None:
    """Equal within float32 rounding over a few layers of some ten steps."""
    torch.testing.assert_close(a, b, atol=5e-6, rtol=2e-5)


def check_state_is_cut(model: TokenModel) -> None:
    """The first window's graph is gone when the second one's gradient is computed: it must not be needed."""
    T, B = 9, 4
    ids, state = draw_ids(2 * T + 1 + model.lookahead, B), model.initial_state(B)
    for window in (ids[: T + 1 + model.lookahead], ids[T:]):
        nats, _, state = model.loss(window, state)
        nats.backward()
        assert not any(part.requires_grad for part in state)
        assert all(part.abs().sum() > 0 for part in state)


def check_evaluation_is_deterministic(model: TokenModel) -> None:
    """Whatever the mode, ``nats`` drops nothing, draws nothing, and leaves the mode as it was."""
    ids, state = draw_ids(10 + model.lookahead, 4), model.initial_state(4)
    generator = torch.get_rng_state()
    first, _ = model.nats(ids, state)
    second, _ = model.nats(ids, state)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), generator)  # a validation in between does not change the run
    assert not first.requires_grad
    assert model.training
    assert all(part.training for part in model.modules())
    assert model.loss(ids, state)[0].item() != model.loss(ids, state)[0].item()
    model.eval()
    close(model.loss(ids, state)[0], first.sum())
    model.nats(ids, state)
    assert not model.training


def overfit(model: TokenModel, ids: Tensor, steps: int, rate: float = 0.02) -> Tensor:
    """Nats per position after training on one window from the zero state."""
    predicted = ids[1 : len(ids) - model.lookahead].numel()
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        nats, penalty, _ = model.loss(ids, model.initial_state(ids.shape[1]))
        (nats / predicted + penalty).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.nats(ids, model.initial_state(ids.shape[1]))[0]
