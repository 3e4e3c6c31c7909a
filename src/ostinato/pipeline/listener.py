"""What a run tells whoever started it. Every method may be left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.pipeline.task import Task
    from ostinato.training.loop import Report
    from ostinato.training.plan import Plan


class Listener:
    """Hears nothing and never asks to stop; the command line's console is one that shows it all."""

    def prepared(self, task: Task, seconds: float) -> None:
        """The data is on disk as ids; it took so long."""

    def planned(self, plan: Plan[Any], folder: str) -> None:
        """All settings are known; training begins."""

    def report(self, report: Report) -> None:
        """Training goes on."""

    def sample(self, text: str) -> None:
        """What the model writes at this moment of training."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """The model is in its folder."""

    def stop(self) -> bool:
        """Whether to save and end now."""
        return False
