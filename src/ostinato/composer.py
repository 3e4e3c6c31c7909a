"""A trained composer in Python, without torch: compose, harmonise and score polyphonic music."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures import ComposerConfig
from ostinato.bundle import Bundle, load_kind
from ostinato.data.rolls import KEYS, Roll, melody_of, to_roll, to_steps
from ostinato.decode.generate import stream_rng
from ostinato.decode.sampling import check_sampling
from ostinato.engine.composer import ComposerEngine
from ostinato.errors import ConfigError, MusicError
from ostinato.music import MOST_STEPS, read_pieces
from ostinato.types import Floats, Sampling, State

Steps: TypeAlias = list[list[int]]
"""A piece: for each step the MIDI pitches that sound, the lowest first."""
Music: TypeAlias = str | Path | Sequence[Sequence[int]]
"""A file that holds one piece, or its steps."""


class Composer:
    """A composer. ``state`` is what it remembers of the last piece it wrote: go on from it with ``state=``."""

    def __init__(
        self, model: ComposerConfig, tensors: Mapping[str, Floats], training: Mapping[str, Any] | None = None
    ) -> None:
        """``tensors`` as in a bundle."""
        self.engine = ComposerEngine(model, tensors)
        self.model = model
        self.training: dict[str, Any] = dict(training or {})
        self.state: State | None = None

    def compose(
        self,
        steps: int = 64,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        index: int = 0,
        prompt: Music | None = None,
        state: State | None = None,
    ) -> Steps:
        """So many steps of a new piece, after those of ``prompt`` (which are not given back) or from ``state``.

        ``temperature`` 0 lets a key sound where that is likelier than not. The same ``seed`` gives the same piece;
        ``index`` tells pieces of one seed apart. Raises ConfigError on a setting out of range and for a model that is
        given the melody, MusicError on a prompt that cannot be read.
        """
        check_sampling(Sampling(temperature))
        if not 1 <= steps <= MOST_STEPS:
            raise ConfigError(f"steps is {steps}; expected 1 to {MOST_STEPS}")
        if self.model.melody != "none":
            raise ConfigError("this model finds the keys below a melody; harmonise one (compose --harmonise FILE)")
        state = state or self.engine.start()
        if prompt is not None:
            state = self.engine.hear(self.roll(prompt)[:, None], state)
        uniforms = stream_rng(seed, index).random((steps, 1, KEYS))
        roll, self.state = self.engine.compose(uniforms, state, temperature)
        return to_steps(roll[:, 0])

    def harmonise(self, melody: Music, *, temperature: float = 1.0, seed: int | None = None, index: int = 0) -> Steps:
        """A melody with the keys that the model finds below it; of each step of ``melody`` the highest key counts.

        Settings as for ``compose``. Raises ConfigError for a model that is given no melody, MusicError as it does.
        """
        check_sampling(Sampling(temperature))
        if self.model.melody == "none":
            raise ConfigError("this model was not taught to harmonise a melody; train one with --melody whole")
        given = melody_of(self.roll(melody))[:, None]
        uniforms = stream_rng(secrets.randbits(32) if seed is None else seed, index).random((*given.shape, KEYS))
        roll, self.state = self.engine.compose(uniforms, self.engine.start(), temperature, given)
        return to_steps(roll[:, 0])

    def score(self, piece: Music) -> float:
        """Nats per step of a piece: the mean of ``nats``. Raises MusicError when it cannot be read."""
        return float(self.nats(piece).mean())

    def nats(self, piece: Music) -> NDArray[np.float64]:
        """``-log p`` of each step ``(T,)``, of all keys together, or of those below the melody where it is given."""
        each, _ = self.engine.nats(self.roll(piece)[:, None], self.engine.start())
        return each[:, 0]

    def roll(self, piece: Music) -> Roll:
        """A piece as a piano roll, in steps of the model's length. Raises MusicError when it is not exactly one."""
        if not isinstance(piece, str | Path):
            if len(piece) == 0:
                raise MusicError("the piece is empty; expected a step or more")
            return to_roll(piece, "the piece")
        found = read_pieces(piece, self.model.beats)
        if len(found) != 1:
            raise MusicError(f"{piece} holds {len(found)} pieces; expected one")
        return found[0].roll


def load(folder: str | Path) -> Composer:
    """The composer in a folder that ``train`` made.

    Raises BundleError when it is missing, damaged or foreign, or a model for another task.
    """
    return composer(load_kind(folder, ComposerConfig))


def composer(found: Bundle[ComposerConfig]) -> Composer:
    """The model of a folder as read."""
    return Composer(found.model, found.tensors, found.training)
