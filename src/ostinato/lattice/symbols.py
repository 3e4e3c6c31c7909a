"""Labels of Kaldi and OpenFst: words as they stand, or numbers and a table (``words.txt``) that says their words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import LatticeError
from ostinato.lattice.draft import Block
from ostinato.text.corpus import lines, read_chunks

EPSILON = "<eps>"


@dataclass(frozen=True)
class Symbols:
    """The words of numbers. Number 0 is epsilon, the empty word."""

    file: str
    words: dict[int, str]
    numbers: dict[str, int]

    @staticmethod
    def read(path: str | Path) -> Symbols:
        """A table: a word and its number on each line. Raises LatticeError on anything else, naming the line."""
        words: dict[int, str] = {}
        numbers: dict[str, int] = {}
        block = Block(str(path), str(path), ())
        for line, text in enumerate(lines(read_chunks([path])), start=1):
            columns = text.split()
            if not columns:
                continue
            if len(columns) != 2:
                block.fail(line, f"{len(columns)} columns; expected a word and its number")
            word, number = columns[0], block.integer(line, columns[1], "the number of a word")
            if number in words or word in numbers:
                block.fail(line, f"{word!r} or {number} comes a second time")
            words[number] = word
            numbers[word] = number
        if words.setdefault(0, EPSILON) != EPSILON:
            raise LatticeError(f"{path}: number 0 is {words[0]!r}; expected {EPSILON}, the empty word")
        return Symbols(str(path), {**words, 0: ""}, {**numbers, "": 0})


class Labels:
    """What the labels of one lattice mean.

    With a table they are its numbers. Without, they are words as they stand; only where all of them are numbers is 0
    epsilon.
    """

    def __init__(self, block: Block, labels: set[str], symbols: Symbols | None) -> None:
        self._block = block
        self._symbols = symbols
        self._empty = {EPSILON, "0"} if all(label.isdigit() for label in labels) else {EPSILON}

    def word(self, line: int, label: str) -> str:
        """The word of a label; epsilon is the empty one. Raises LatticeError when a table lacks it."""
        if self._symbols is None:
            return "" if label in self._empty else label
        if not (label.isascii() and label.isdigit() and len(label) < 19):
            self._block.fail(line, f"label {label!r} with the table {self._symbols.file}; expected a number")
        if int(label) not in self._symbols.words:
            self._block.fail(line, f"label {label} is not in the table {self._symbols.file}")
        return self._symbols.words[int(label)]


def written(words: Iterable[str], symbols: Symbols | None, name: str) -> Iterator[str]:
    """What is written for the words of a lattice. Raises LatticeError when one cannot be: a blank within it, not in
    the table."""
    for word in words:
        if symbols is not None:
            if word not in symbols.numbers:
                raise LatticeError(
                    f"{name}: {symbols.file} has no number for the word {word!r}; extend it, or write without"
                )
            yield str(symbols.numbers[word])
        elif len(word.split()) > 1 or word != word.strip() or word == EPSILON:
            raise LatticeError(f"{name}: the word {word!r} cannot be written where blanks part columns")
        else:
            yield word or EPSILON
