"""Files of lattices, plain or .gz: which format it is, one lattice after another, and writing them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ostinato.config import check_choice
from ostinato.errors import LatticeError
from ostinato.files import write_whole
from ostinato.lattice import kaldi, openfst, slf
from ostinato.lattice.draft import Block
from ostinato.lattice.lattice import Lattice
from ostinato.lattice.symbols import Symbols
from ostinato.text.corpus import lines, read_chunks

_PARSERS: Mapping[str, Callable[[Block, Symbols | None], Lattice]] = {
    "slf": lambda block, _symbols: slf.parse(block),
    "kaldi": kaldi.parse,
    "openfst": openfst.parse,
}
_WRITERS: Mapping[str, Callable[[Lattice, Symbols | None], Iterator[str]]] = {
    "slf": lambda lattice, _symbols: slf.write(lattice),
    "slf-nodes": lambda lattice, _symbols: slf.write(lattice, words_on_nodes=True),
    "kaldi": kaldi.write,
    "openfst": openfst.write,
}
FORMATS = tuple(_WRITERS)
"""What can be written; what is read is recognised."""
SEVERAL = frozenset({"kaldi"})
"""Those of which one file may hold several lattices."""


def read(path: str | Path, symbols: Symbols | None = None) -> Iterator[Lattice]:
    """The lattices of a file (``-`` is standard input), one after another.

    Raises TextError when it cannot be read, LatticeError, naming file and line, on one that is wrong.
    """
    for block, kind in blocks(path):
        yield parse(block, kind, symbols)


def parse(block: Block, kind: str, symbols: Symbols | None = None) -> Lattice:
    """The lattice of a block, of the format ``blocks`` gave with it. Raises LatticeError."""
    return _PARSERS[kind](block, symbols)


def blocks(path: str | Path) -> Iterator[tuple[Block, str]]:
    """The lines of each lattice of a file, and their format; a wrong one does not keep from those after it.

    Raises TextError when the file cannot be read, LatticeError when it is of none of the formats.
    """
    file = "standard input" if str(path) == "-" else str(path)
    lines = _numbered_lines(path)
    ahead = [next(lines, (0, "")), next(lines, (0, ""))]
    kind = _kind(file, *(text for _, text in ahead))
    rest = _chain(ahead, lines)
    if kind == "kaldi":
        yield from ((block, kind) for block in _archive(file, rest))
    else:
        name = re.sub(r"(\.slf|\.lat|(\.fst)?\.txt|\.fst)?(\.gz)?$", "", Path(file).name) or file
        yield Block(file, name, list(rest)), kind


def _chain(ahead: list[tuple[int, str]], lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield from (line for line in ahead if line[0])
    yield from lines


def _numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """From the first that is not blank and no comment."""
    begun = False
    for number, line in enumerate(lines(read_chunks([path])), 1):
        begun = begun or bool(line.strip() and not line.startswith("#"))
        if begun:
            yield number, line


def _kind(file: str, first: str, second: str) -> str:
    """By the first two lines: SLF begins with ``name=value``, an archive with a name alone, OpenFst with an arc."""
    if re.match(r"\s*[A-Za-z]+=", first):
        return "slf"
    arc = re.compile(r"\s*\d+\s+\d+\s+\S+|\s*\d+(\s+[-+.\deE]+)?\s*$")
    weights = re.compile(r"\s*\d+(\s+\d+\s+.*)?(\s\S*,\S*)?\s*$")
    costs = re.search(r"\s[-+.\d]\S*,\S*\s*$", second)  # of Kaldi, in the last column; an utterance may be a number
    if arc.match(first) and not (weights.match(second) and costs):
        return "openfst"
    if first.strip() and (weights.match(second) or not second.strip()):
        return "kaldi"
    raise LatticeError(
        f"{file} is no lattice: it begins with {first.strip()[:40]!r}; expected HTK SLF (VERSION=1.0), a Kaldi text "
        "archive (an utterance, then arcs) or OpenFst text (arcs)"
    )


def _archive(file: str, lines: Iterator[tuple[int, str]]) -> Iterator[Block]:
    name, body = "", list[tuple[int, str]]()
    for number, line in lines:
        if line.strip() and name:
            body.append((number, line))
        elif line.strip():
            name = line.strip()
        elif name:
            yield Block(file, name, body)
            name, body = "", []
    if name:
        yield Block(file, name, body)


def written(lattice: Lattice, kind: str, symbols: Symbols | None = None) -> Iterator[str]:
    """The lines of a lattice. Raises LatticeError on what the format cannot hold, ConfigError on its name."""
    check_choice("the format", kind, FORMATS)
    return _WRITERS[kind](lattice, symbols)


def write(lattices: Iterable[Lattice], path: str | Path, kind: str = "slf", symbols: Symbols | None = None) -> None:
    """Write lattices to a file, as ``written`` does. Raises LatticeError on more than one where a file holds one."""
    several = list(lattices)
    if len(several) != 1 and kind not in SEVERAL:
        raise LatticeError(f"{path}: {len(several)} lattices; expected one, as a file of {kind} holds one")
    text = [f"{line}\n" for lattice in several for line in written(lattice, kind, symbols)]
    write_whole(path, "".join(text))
