"""The main job from end to end: the one place that joins text, data, training and the model folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.pipeline.run import train as train

__all__ = ["train"]

# torch's threads spin while they wait, by default for so long that they take the core that ours need, and that any
# other process on the machine slows training a hundredfold; so short a spin costs nothing (docs/log.md has the
# figures). It is read when torch loads, which every module of this folder may do.
os.environ.setdefault("GOMP_SPINCOUNT", "500")


def __getattr__(name: str) -> Any:
    """``train`` on first use: the settings beside it are read without torch."""
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ostinato.pipeline.run import train

    return train
