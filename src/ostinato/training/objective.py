"""What the loop asks of a model and its data, whatever the task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ostinato.data.lanes import Lanes, Place
from ostinato.data.ragged import Buckets
from ostinato.data.store import count_tokens
from ostinato.kernels.autograd import linear_cross_entropy
from ostinato.models.tokens import CrossEntropy, TokenModel
from ostinato.nn.recurrent import States
from ostinato.nn.sampled import SampledSoftmax


@dataclass(frozen=True)
class Loss:
    """Of one step. What is minimised is ``nats / tokens + penalty``."""

    nats: Tensor
    """The sum over what was predicted, a scalar with gradient."""
    tokens: int
    """How many predictions it is the sum of."""
    penalty: Tensor
    """Per token: what regularisers add."""
    state: States
    """What the next step starts from; nothing where steps have no order."""


class Objective(Protocol):
    """A model and its training data, in steps; a place says which step comes next."""

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        ...

    def start(self) -> States:
        """The state that an epoch begins from."""
        ...

    def loss(self, place: Place, state: States) -> Loss:
        """The loss of the step at ``place``."""
        ...

    def after(self, place: Place) -> Place:
        """The place that follows."""
        ...


class Evaluation(Protocol):
    """Held-out data that a model is measured on."""

    def measure(self, model: Any) -> dict[str, float]:
        """By name what is reported; ``nats``, the mean negative log-probability per prediction, says what is best."""
        ...


class TextObjective:
    """A language model on lanes of text, by truncated back-propagation through time."""

    def __init__(self, model: TokenModel, lanes: Lanes, sampled_softmax: int = 0) -> None:
        """The loss is over all tokens, or those that ``sampled_softmax`` draws by how often the lanes have them."""
        self._model, self._lanes = model, lanes
        self._device = device_of(model)
        self._cross_entropy: CrossEntropy = linear_cross_entropy
        if sampled_softmax:
            counts = torch.from_numpy(count_tokens(lanes.ids, model.config.vocab)).to(self._device)
            self._cross_entropy = SampledSoftmax(counts, sampled_softmax).cross_entropy

    @property
    def steps(self) -> int:
        """Windows in an epoch."""
        return self._lanes.windows

    def start(self) -> States:
        """Zeros, a row for each lane."""
        return self._model.initial_state(self._lanes.batch)

    def loss(self, place: Place, state: States) -> Loss:
        """Of the window at ``place``; the state is carried, no gradient goes back through it."""
        ids = torch.from_numpy(self._lanes.window(place)).to(self._device)
        tokens = (len(ids) - 1 - self._lanes.lookahead) * self._lanes.batch
        nats, penalty, after = self._model.loss(ids, state, self._cross_entropy)
        return Loss(nats, tokens, penalty, after)

    def after(self, place: Place) -> Place:
        """The next window, or the first of the next epoch."""
        return self._lanes.after(place)


class BatchObjective(ABC):
    """Sequences in batches of about equal length, all once an epoch; no batch depends on the one before."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self._buckets.steps

    def start(self) -> States:
        """Nothing."""
        return ()

    @abstractmethod
    def loss(self, place: Place, state: States) -> Loss:
        """Of the batch at ``place``."""

    def after(self, place: Place) -> Place:
        """The next batch, or the first of the next epoch."""
        return self._buckets.after(place)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are."""
    return next(model.parameters()).device
