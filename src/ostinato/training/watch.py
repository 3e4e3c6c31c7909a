"""How far back a gradient reaches: the norm of d loss_T / d h_t over the lag T - t (Bengio et al. 1994).

The loss is taken at the last step alone. A layer's state after step t, ``h`` or for the LSTM kinds ``[h ; c]``, is one
variable: its gradient goes through everything that follows, the layer's own next step and the layers above it. Where it
fades, training cannot learn what lies so far back; where it grows, training needs clipping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.models.bidirectional import BidirectionalLanguageModel
from ostinato.models.language import RecurrentLanguageModel
from ostinato.nn.recurrent import Recurrent, States

LanguageNetwork: TypeAlias = RecurrentLanguageModel | BidirectionalLanguageModel
Norms: TypeAlias = NDArray[np.float64]


def gradient_by_lag(model: LanguageNetwork, ids: Tensor, lags: Sequence[int]) -> Norms:
    """Norms ``(L, len(lags))``, for each layer, as shares of the layer's norm at lag 0.

    ``ids (T+1+A, B)`` are windows of text, with ``A = model.lookahead``: from the zero state the model reads
    ``ids[: T]``, the loss is that of ``ids[T]``, and lag 0 is the state that has read ``ids[T-1]``. The norms are
    means over the windows. Nothing is dropped, whatever the mode. Of a bidirectional model it is the forward stack. A
    layer that the loss does not depend on at all (dead rectified units above it) gives NaN.
    Raises ValueError unless every lag is from 0 to T-1.
    """
    T = len(ids) - 1 - model.lookahead
    if not all(0 <= lag < T for lag in lags):
        raise ValueError(f"lags from {min(lags)} to {max(lags)}; expected 0 to {T - 1} in windows that read {T} tokens")
    stack = model.forward_stack if isinstance(model, BidirectionalLanguageModel) else model.stack

    def loss() -> Tensor:
        state = model.initial_state(ids.shape[1])
        for t in range(T - 1):
            _, state = stack(model.embed(ids[t : t + 1]), state)
        readout, _ = stack(model.embed(ids[T - 1 : T]), state)
        if isinstance(model, BidirectionalLanguageModel):
            readout = model.beside(readout, ids[T - 1 :])
        return nn.functional.cross_entropy(model.logits(readout[0]), ids[T], reduction="sum")

    with _evaluating(model):
        norms = state_gradients([cast(Recurrent, layer) for layer in stack.layers], loss)
    with np.errstate(invalid="ignore"):
        return norms[:, list(lags)] / norms[:, :1]


def state_gradients(layers: Sequence[Recurrent], loss: Callable[[], Tensor]) -> Norms:
    """Norms ``(L, T)`` of d loss / d state of each layer, lag 0 first: means over the rows of the batch.

    ``loss`` calls every layer T times, each time on one step ``(1, B, I)``, and gives a sum over independent rows.
    Raises ValueError when a layer gets more than one step at a time.
    """
    with ExitStack() as hooks, torch.enable_grad():
        records = [hooks.enter_context(_recorded(layer)) for layer in layers]
        total = loss()
    variables = [part for record in records for state in record for part in state]
    gradients = iter(torch.autograd.grad(total, variables, allow_unused=True))
    forward = [[_norm([next(gradients) for _ in state]) for state in record] for record in records]
    return np.array(forward)[:, ::-1]


def _norm(parts: Sequence[Tensor | None]) -> float:
    """Mean over rows of the norm of ``[d_h ; d_c]``; None is a part that the loss does not read: the last step's c."""
    return float(torch.cat([part for part in parts if part is not None], dim=1).norm(dim=1).mean())


@contextmanager
def _recorded(layer: Recurrent) -> Iterator[list[States]]:
    """Within, the states of a layer after every step, each one variable of the graph.

    A layer gives its last state twice, as such and as its output; the layer above must read the very variable that the
    next step reads, or its share of the gradient would be missed.
    """
    record: list[States] = []

    def join(_: nn.Module, inputs: tuple[Any, ...], result: tuple[Tensor, States]) -> tuple[Tensor, States]:
        steps = inputs[0].shape[0]
        if steps != 1:
            raise ValueError(f"a watched layer got {steps} steps at once; expected 1")
        state = result[1]
        record.append(state)
        return state[0].unsqueeze(0), state

    handle = layer.register_forward_hook(join)
    try:
        yield record
    finally:
        handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    mode = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(mode)
