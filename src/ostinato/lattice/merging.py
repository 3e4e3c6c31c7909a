"""Which histories of a language model may share one node of a rescored lattice.

An n-gram model forgets, a recurrent one does not: without merging, a lattice unfolds into a tree of all its histories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError


class Merge(Protocol):
    """A rule of merging."""

    @property
    def words(self) -> int:
        """How many of the latest words it looks at."""
        ...

    def groups(self, states: Sequence[Any], histories: Sequence[tuple[str, ...]]) -> list[int]:
        """Of hypotheses at one node, the best first: the place of the one whose state each of them takes over.

        ``states`` are the language model's; equal ones are the same object. ``histories`` are the latest ``words``.
        """
        ...


@dataclass(frozen=True)
class MergeEqual:
    """Only those that the model itself cannot tell apart: exact, and with a recurrent model only equal histories."""

    words: int = 0

    def groups(self, states: Sequence[Any], histories: Sequence[tuple[str, ...]]) -> list[int]:  # noqa: ARG002
        """See ``Merge``."""
        first: dict[int, int] = {}
        return [first.setdefault(id(state), place) for place, state in enumerate(states)]


@dataclass(frozen=True)
class MergeWords:
    """Those whose last ``order - 1`` words agree, as an n-gram model of that order would.

    Exact for such a model; for a recurrent one the worse history is scored as if it had been the better one.
    """

    order: int

    def __post_init__(self) -> None:
        if self.order < 1:
            raise ConfigError(f"the order of merging is {self.order}; expected 1 or more")

    @property
    def words(self) -> int:
        """All it looks at."""
        return self.order - 1

    def groups(self, states: Sequence[Any], histories: Sequence[tuple[str, ...]]) -> list[int]:  # noqa: ARG002
        """See ``Merge``."""
        first: dict[tuple[str, ...], int] = {}
        return [first.setdefault(history, place) for place, history in enumerate(histories)]


@dataclass(frozen=True)
class MergeNear:
    """Those whose states are near each other: the root mean square difference of their vectors at most ``distance``.

    The best hypothesis comes first; each of the others joins the nearest of those kept so far, or is kept.
    """

    distance: float
    vector: Callable[[Any], NDArray[np.floating[Any]]]
    """The vector of a state, ``(D,)``."""
    words: int = 0

    def __post_init__(self) -> None:
        if not self.distance >= 0:
            raise ConfigError(f"the distance of merging is {self.distance}; expected 0 or more")

    def groups(self, states: Sequence[Any], histories: Sequence[tuple[str, ...]]) -> list[int]:  # noqa: ARG002
        """See ``Merge``."""
        if len(states) < 2:
            return [0] * len(states)
        vectors = np.stack([np.asarray(self.vector(state), np.float64) for state in states])
        kept, joined = [0], [0]
        for place in range(1, len(states)):
            apart = np.sqrt(np.square(vectors[kept] - vectors[place]).mean(axis=1))
            nearest = int(apart.argmin())
            if apart[nearest] > self.distance:
                nearest = len(kept)
                kept.append(place)
            joined.append(kept[nearest])
        return joined
