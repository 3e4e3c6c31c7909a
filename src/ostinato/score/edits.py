"""Differences of what was found from what was meant, in words or in characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Edits:
    """The fewest changes that make what was meant into what was found, counted."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0
    """Of what was meant."""

    def __add__(self, other: Edits) -> Edits:
        return Edits(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.length + other.length,
        )

    @property
    def errors(self) -> int:
        """All changes."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Changes for each word, or character, that was meant: the word error rate. Of nothing meant, their number."""
        return self.errors / max(1, self.length)


def edits(meant: Sequence[object], found: Sequence[object]) -> Edits:
    """The fewest changes (Levenshtein 1966); among as few, substitutions rather than a deletion and an insertion."""
    row = [(k, 0, 0, k) for k in range(len(found) + 1)]  # changes, substitutions, deletions, insertions
    for i, word in enumerate(meant, start=1):
        above, row = row, [(i, 0, i, 0)]
        for j, heard in enumerate(found, start=1):
            cost, changed, left_out, put_in = above[j - 1]
            same = word == heard
            across = (cost + (not same), changed + (not same), left_out, put_in)
            cost, changed, left_out, put_in = above[j]
            down = (cost + 1, changed, left_out + 1, put_in)
            cost, changed, left_out, put_in = row[j - 1]
            row.append(min(across, down, (cost + 1, changed, left_out, put_in + 1), key=lambda way: way[0]))
    _, substitutions, deletions, insertions = row[-1]
    return Edits(substitutions, deletions, insertions, len(meant))


def word_edits(pairs: Iterable[tuple[str, str]]) -> Edits:
    """Of texts, each what was meant and what was found, in words."""
    return sum((edits(meant.split(), found.split()) for meant, found in pairs), Edits())


def character_edits(pairs: Iterable[tuple[str, str]]) -> Edits:
    """Of texts, each what was meant and what was found, in characters, blanks among them."""
    return sum((edits(meant, found) for meant, found in pairs), Edits())
