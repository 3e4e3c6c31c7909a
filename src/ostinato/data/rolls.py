"""Polyphonic music as piano rolls: which of the 88 keys of a piano sound at each step."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import MusicError
from ostinato.types import Ids

KEYS = 88
LOWEST = 21
"""MIDI pitch of the first key."""
SILENT = -1
"""The melody of a step in which nothing sounds."""

Roll: TypeAlias = NDArray[np.bool_]
"""``(T, KEYS)``: whether each key sounds."""


def to_roll(steps: Sequence[Any], where: str) -> Roll:
    """Steps that each are a list of MIDI pitches; -1 is a voice that is silent, as in files that name every voice.

    ``where`` is for messages. Raises MusicError on a step that is no such list, or a pitch that a piano does not have.
    """
    roll = np.zeros((len(steps), KEYS), bool)
    for t, step in enumerate(steps):
        if not isinstance(step, list | tuple | np.ndarray):
            raise MusicError(f"{where}, step {t + 1} is {str(step)[:40]!r}; expected a list of MIDI pitches")
        for pitch in step:
            if pitch != SILENT:
                roll[t, key_of(pitch, f"{where}, step {t + 1}")] = True
    return roll


def key_of(pitch: Any, where: str) -> int:
    """The key of a MIDI pitch. Raises MusicError, which says ``where``, when a piano has none."""
    whole = isinstance(pitch, Integral) or (isinstance(pitch, float) and pitch.is_integer())
    if not whole or isinstance(pitch, bool) or not LOWEST <= pitch < LOWEST + KEYS:
        shown = pitch.item() if isinstance(pitch, np.generic) else pitch
        raise MusicError(
            f"{where} has pitch {shown!r:.40}; expected a whole number from {LOWEST} to {LOWEST + KEYS - 1}, the keys "
            "of a piano"
        )
    return int(pitch) - LOWEST


def to_steps(roll: Roll) -> list[list[int]]:
    """The MIDI pitches of each step, the lowest first."""
    return [(np.flatnonzero(step) + LOWEST).tolist() for step in roll]


def melody_of(roll: Roll) -> Ids:
    """The highest key of each step ``(..., KEYS) -> (...,)``, SILENT where nothing sounds."""
    highest = KEYS - 1 - roll[..., ::-1].argmax(axis=-1)
    melody: Ids = np.where(roll.any(axis=-1), highest, SILENT)
    return melody


def transposed(roll: Roll, by: int) -> Roll:
    """All keys ``by`` semitones higher, as far as the piano has room for it."""
    used = np.flatnonzero(roll.any(axis=0))
    if len(used) == 0:
        return roll
    by = max(-int(used[0]), min(KEYS - 1 - int(used[-1]), by))
    return np.roll(roll, by, axis=1)


def framed(pieces: Sequence[tuple[Roll, Roll]]) -> tuple[Roll, NDArray[np.int64]]:
    """Pieces, each with the step ``(KEYS,)`` before it, as ``(T + 1, B, KEYS)``, and how long each is, ``(B,)``.

    Where a piece has ended nothing sounds.
    """
    lengths = np.array([len(roll) for _, roll in pieces], np.int64)
    batch = np.zeros((int(lengths.max(initial=0)) + 1, len(pieces), KEYS), bool)
    for b, (before, roll) in enumerate(pieces):
        batch[0, b] = before
        batch[1 : len(roll) + 1, b] = roll
    return batch, lengths


def windows(rolls: Sequence[Roll], longest: int) -> list[tuple[Roll, Roll]]:
    """The pieces in windows of at most so many steps, each with the step before it; before a piece nothing sounds."""
    found = []
    for roll in rolls:
        for first in range(0, len(roll), longest):
            before = roll[first - 1] if first else np.zeros(KEYS, bool)
            found.append((before, roll[first : first + longest]))
    return found
