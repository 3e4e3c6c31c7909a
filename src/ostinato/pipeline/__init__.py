"""The main job from end to end: the one place that joins text, data, training and the model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.pipeline.run import train as train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """``train`` on first use: the settings beside it are read without torch."""
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ostinato.pipeline.run import train

    return train
