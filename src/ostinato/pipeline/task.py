"""What a run makes, and out of what: all of a run that depends on its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from ostinato.training.objective import Evaluation, Objective
from ostinato.training.plan import Plan


class Part(Evaluation, Protocol):
    """Held-out data of which a part can be measured where time is short."""

    @property
    def size(self) -> int:
        """Predictions in it."""
        ...

    def first(self, predictions: int) -> Part:
        """The part with at most about so many predictions."""
        ...

    def seconds(self, model: Any) -> float:
        """Expected time of ``measure``."""
        ...


class Task(ABC):
    """Data that is prepared, and the plan for a model on it. Made anew, from the same settings, by every start."""

    plan: Plan[Any]
    fingerprint: str
    """Of the data and how it became ids: a run goes on with the same only."""
    reused: bool
    """Whether the ids were there from an earlier run."""

    @property
    @abstractmethod
    def data(self) -> str:
        """The data in a line, for whoever watches."""

    @property
    @abstractmethod
    def tokenizer_json(self) -> list[str]:
        """The tokenizer files of the model folder."""

    @property
    @abstractmethod
    def settled(self) -> Mapping[str, Any]:
        """Settings of the data as they turned out, beside those of the plan."""

    @property
    def chars_per_token(self) -> float | None:
        """Of the text that is trained on; None where bits per character mean nothing."""
        return None

    @abstractmethod
    def build(self) -> nn.Module:
        """The model with fresh weights, from torch's global generator."""

    @abstractmethod
    def objective(self, model: Any) -> Objective:
        """What the loop minimises."""

    @abstractmethod
    def held_out(self, part: str) -> Part | None:
        """``valid`` or ``test``; None where there is no test data."""

    @abstractmethod
    def scores(self, part: str, measured: Mapping[str, float], size: int) -> dict[str, Any]:
        """What the summary says of a part of which ``size`` predictions were measured."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What the summary says of model and data."""

    def sample(self, tensors: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - for those that have something to show
        """What the model makes at this moment, to be shown; None where there is nothing to show."""
        return None

    def finish(self, tensors: Mapping[str, Any], summary: dict[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Last measurements on the finished model: tensors and summary as they are to be kept."""
        return tensors, summary
