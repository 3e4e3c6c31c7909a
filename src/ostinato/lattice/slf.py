"""HTK's Standard Lattice Format (The HTK Book, chapter 20): fields ``name=value``, a line for each node and link.

Words stand on links or on nodes; a word, variant, segmentation or acoustic score of a node belongs to the links that
enter it. Logarithms are to any base, or plain probabilities where ``base=0``; in memory they are natural. What is
written has base e, words on links unless asked otherwise, and numbers that are read again as they were.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ostinato.errors import LatticeError
from ostinato.lattice.draft import Arc, Block, build
from ostinato.lattice.lattice import ACOUSTIC, LM, PRONUNCIATION, Lattice

NULL = "!NULL"
_LONG = {
    "VERSION": "V", "UTTERANCE": "U", "SUBLAT": "S", "NODES": "N", "LINKS": "L", "START": "S", "END": "E",
    "WORD": "W", "time": "t", "var": "v", "div": "d", "acoustic": "a", "language": "l", "ngram": "n",
}  # fmt: skip
_SCORES = {"a": ACOUSTIC, "l": LM, "r": PRONUNCIATION}
_SCALES = {"acscale": ACOUSTIC, "lmscale": LM, "prscale": PRONUNCIATION}
_READ = {"V", "U", "N", "L", "start", "end", "base", "tscale", "wdpenalty", *_SCALES}
"""Header fields that become something else than a line of text."""
_OF_A_WORD = ("W", "v", "d", "a")
"""What a node may say instead of the links that enter it."""
_FIELD = re.compile(r"""\s*([^\s=]+)=("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?!["'])(?:[^\s\\]|\\.)*)(?=\s|$)""")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_TO_ESCAPE = re.compile(r"""[\\\x00-\x20\x7f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]|^["']""")

Fields = dict[str, str]


@dataclass
class _File:
    """The fields of a file by what they describe, with their lines."""

    header: Fields
    header_lines: dict[str, int]
    nodes: dict[int, tuple[int, Fields]]
    links: list[tuple[int, Fields]]
    last_line: int


def parse(block: Block) -> Lattice:
    """The lattice of a file. Raises LatticeError, naming file and line, on what is wrong or missing."""
    file = _sort_fields(block)
    count = _check_sizes(block, file)
    convert = _converter(block, file)
    arcs = [_arc(block, file, line, fields, convert) for line, fields in file.links]
    first, last = _ends(block, file, arcs)
    if lost := sorted(set(range(count)) - {node for arc in arcs for node in (arc.start, arc.end)} - {first}):
        line = file.nodes.get(lost[0], (file.last_line,))[0]
        block.fail(line, f"no link leads to or from node {lost[0]}; expected every node to be on a path")
    times = _times(block, file, count)
    if word := _word(file.nodes.get(first, (0, {}))[1]):
        # What is said on the first node needs an arc that enters it.
        arcs = [Arc(file.nodes[first][0], -1, first, word, {}), *arcs]
        times = times and {-1: times[first], **times}
        first = -1
    scales = {of: number for name, of in _SCALES.items() if (number := _setting(block, file, name)) is not None}
    penalty = 0.0
    if "wdpenalty" in file.header:
        penalty = convert(file.header_lines["wdpenalty"], file.header["wdpenalty"], "wdpenalty")
    header = {name: value for name, value in file.header.items() if name not in _READ}
    named = replace(block, name=file.header.get("U") or block.name)
    return build(named, arcs, first, last, times, scales=scales, penalty=penalty, header=header)


def _setting(block: Block, file: _File, name: str) -> float | None:
    """A number of the header, where it says one."""
    return block.number(file.header_lines[name], file.header[name], name) if name in file.header else None


def _word(fields: Mapping[str, str]) -> str:
    word = fields.get("W", NULL)
    return "" if word == NULL else word


def _sort_fields(block: Block) -> _File:
    file = _File({}, {}, {}, [], max((number for number, line in block.lines if line.strip()), default=1))
    for number, line in block.lines:
        if not line.strip() or line.startswith("#"):
            continue
        fields = _fields(block, number, line)
        kind = next(iter(fields))
        if kind == "I":
            node = block.integer(number, fields.pop("I"), "a node")
            if node in file.nodes:
                block.fail(number, f"node {node} comes a second time; it is on line {file.nodes[node][0]}")
            file.nodes[node] = number, fields
        elif kind == "J":
            file.links.append((number, fields))
        elif file.nodes or file.links:
            block.fail(number, f"{kind}= after the first node or link; expected I= or J=")
        elif "S" in fields:
            block.fail(number, "a sub-lattice (SUBLAT=); expected one flat lattice, as HTK's lattices of words are")
        else:
            file.header.update(fields)
            file.header_lines.update(dict.fromkeys(fields, number))
    return file


def _fields(block: Block, number: int, line: str) -> Fields:
    fields: Fields = {}
    place = 0
    line = line.rstrip()
    while place < len(line):
        match = _FIELD.match(line, place)
        if not match:
            block.fail(number, f"{line[place:].strip()[:40]!r} is no field; expected name=value")
        name = _LONG.get(match[1], match[1])
        if name in fields:
            block.fail(number, f"{name}= comes twice")
        try:
            fields[name] = _unescaped(match[2])
        except UnicodeDecodeError:
            block.fail(number, f"{match[2]!r} is not UTF-8 once its escapes are undone")
        place = match.end()
    return fields


def _unescaped(text: str) -> str:
    if len(text) >= 2 and text[0] in "\"'" and text[0] == text[-1]:
        text = text[1:-1]
    if "\\" not in text:
        return text
    one = lambda match: bytes([int(match[1], 8) & 255]) if len(match[1]) == 3 else match[1]  # noqa: E731
    return _ESCAPE.sub(one, text.encode()).decode()


def _check_sizes(block: Block, file: _File) -> int:
    """The number of nodes. Nothing is made of that size before it is known to be small enough."""
    sizes = []
    for name, what, found in (("N", "nodes", len(file.nodes)), ("L", "links", len(file.links))):
        if name not in file.header:
            block.fail(file.last_line, f"no {name}= up to here; expected the number of {what} before the first of them")
        line = file.header_lines[name]
        sizes.append(said := block.integer(line, file.header[name], f"{name}="))
        if said != found and (name == "L" or found):
            block.fail(line, f"{name}={said} says {said:,} {what}, there are {found:,}; the file may be cut")
    count, links = sizes
    if not 1 <= count <= links + 1:
        block.fail(file.header_lines["N"], f"{count:,} nodes, {links:,} links; expected every node to be on a path")
    if file.nodes and max(file.nodes) >= count:
        block.fail(file.nodes[max(file.nodes)][0], f"node {max(file.nodes)}; expected 0 to {count - 1}, as N={count}")
    return count


def _converter(block: Block, file: _File) -> _Converter:
    base = _setting(block, file, "base")
    if base is None:
        return _Converter(block, 1.0)
    if base < 0 or base == 1:
        line = file.header_lines["base"]
        block.fail(line, f"base is {base}; expected 0 (plain probabilities) or a base of logarithms")
    return _Converter(block, math.log(base) if base else 0.0)


@dataclass(frozen=True)
class _Converter:
    """What a file writes as a score to a natural logarithm."""

    block: Block
    factor: float
    """0: plain probabilities."""

    def __call__(self, line: int, text: str, what: str) -> float:
        value = self.block.number(line, text, what)
        if self.factor:
            return value * self.factor
        if value <= 0:
            self.block.fail(line, f"{what} is {text}; expected a probability above 0, as base=0")
        return math.log(value)


def _arc(block: Block, file: _File, line: int, link: Fields, convert: _Converter) -> Arc:
    for name in ("S", "E"):
        if name not in link:
            block.fail(line, f"a link without {name}=; expected the numbers of both its nodes")
    start, end = (block.integer(line, link[name], f"{name}=") for name in ("S", "E"))
    for node in (start, end):
        if node >= int(file.header["N"]):
            block.fail(line, f"a link to or from node {node}; expected 0 to {int(file.header['N']) - 1}")
    node_fields = file.nodes.get(end, (0, {}))[1]
    fields = {**{name: node_fields[name] for name in _OF_A_WORD if name in node_fields}, **link}
    scores = {_SCORES[name]: convert(line, fields[name], f"{name}=") for name in fields if name in _SCORES}
    notes = {name: fields[name] for name in fields if name not in _SCORES and name not in ("J", "S", "E", "W")}
    return Arc(line, start, end, _word(fields), scores, notes)


def _ends(block: Block, file: _File, arcs: Sequence[Arc]) -> tuple[int, int]:
    """The first and the last node: what the header says, else the only one that no link enters or leaves."""
    starts, ends = {arc.start for arc in arcs}, {arc.end for arc in arcs}
    found = []
    for name, alone, what in (("start", starts - ends, "enters"), ("end", ends - starts, "leaves")):
        if name in file.header:
            found.append(block.integer(file.header_lines[name], file.header[name], f"{name}="))
        elif len(alone) == 1 or not arcs:
            found.append(alone.pop() if arcs else 0)
        elif not alone:
            block.fail(file.last_line, f"there is no {name}: each of the nodes is on a cycle, or tied to one by links")
        else:
            nodes = ", ".join(map(str, sorted(alone)[:5]))
            block.fail(
                file.last_line, f"no link {what} {len(alone)} nodes ({nodes}); expected one, or {name}= in the header"
            )
    return found[0], found[1]


def _times(block: Block, file: _File, count: int) -> dict[int, float] | None:
    """Of all nodes, in seconds; None where not every node has one."""
    unit = _setting(block, file, "tscale")
    if len(file.nodes) < count or any("t" not in fields for _, fields in file.nodes.values()):
        return None
    return {
        node: block.number(line, fields["t"], "t=") * (1.0 if unit is None else unit)
        for node, (line, fields) in file.nodes.items()
    }


def write(lattice: Lattice, *, words_on_nodes: bool = False) -> Iterator[str]:
    """The lines of a file. Raises LatticeError on a score that the format has no field for.

    With ``words_on_nodes`` a node that words of several kinds enter becomes several, with the same arcs leaving each.
    """
    if extra := lattice.scores.keys() - set(_SCORES.values()):
        raise LatticeError(f"{lattice.name}: SLF has no field for the score {min(extra)!r}; expected acoustic, lm ...")
    if words_on_nodes and lattice.arcs:
        lattice = _split_by_word(_with_null_at_the_end(lattice))
    yield "VERSION=1.0"
    yield f"UTTERANCE={escaped(lattice.name)}"
    yield from (f"{name}={escaped(value)}" for name, value in lattice.header.items())
    yield from (f"{name}={lattice.scales[of]!r}" for name, of in _SCALES.items() if of in lattice.scales)
    yield f"wdpenalty={float(lattice.penalty)!r}"
    yield f"N={lattice.nodes} L={lattice.arcs}"
    labels = [f" W={escaped(word) if word else NULL}" for word in lattice.words]
    for name, values in lattice.notes.items():
        labels = [f"{one} {name}={escaped(value)}" if value else one for one, value in zip(labels, values, strict=True)]
    on_nodes = [""] * lattice.nodes
    if words_on_nodes:
        on_nodes[0] = f" W={NULL}"
        for end, label in zip(lattice.ends.tolist(), labels, strict=True):
            on_nodes[end] = label
        labels = [""] * lattice.arcs
    times = [""] * lattice.nodes if lattice.times is None else [f" t={time!r}" for time in lattice.times.tolist()]
    yield from (f"I={node}{time}{label}" for node, (time, label) in enumerate(zip(times, on_nodes, strict=True)))
    short = {of: name for name, of in _SCORES.items()}
    scores = {short[name]: values.tolist() for name, values in lattice.scores.items()}
    for arc, (start, end) in enumerate(zip(lattice.starts.tolist(), lattice.ends.tolist(), strict=True)):
        numbers = "".join(f" {name}={values[arc]!r}" for name, values in scores.items())
        yield f"J={arc} S={start} E={end}{labels[arc]}{numbers}"


def escaped(text: str) -> str:
    """``text`` as a field's value: what would end or open it behind a backslash, blanks as octal bytes."""

    def one(match: re.Match[str]) -> str:
        if match[0] in "\\\"'":
            return "\\" + match[0]
        return "".join(f"\\{byte:03o}" for byte in match[0].encode())

    return _TO_ESCAPE.sub(one, text)


def _with_null_at_the_end(lattice: Lattice) -> Lattice:
    """The same paths, where arcs of one word alone enter the last node."""
    into_last = np.flatnonzero(lattice.ends == lattice.nodes - 1)
    if len({(lattice.words[arc], *(each[arc] for each in lattice.notes.values())) for arc in into_last}) < 2:
        return lattice
    return replace(
        lattice,
        starts=np.append(lattice.starts, lattice.nodes - 1),
        ends=np.append(lattice.ends, lattice.nodes),
        words=(*lattice.words, ""),
        scores={name: np.append(values, 0.0) for name, values in lattice.scores.items()},
        times=None if lattice.times is None else np.append(lattice.times, lattice.times[-1]),
        notes={name: (*values, "") for name, values in lattice.notes.items()},
    )


def _split_by_word(lattice: Lattice) -> Lattice:
    """The same paths, where all arcs that enter a node have the same word and notes."""
    notes = list(zip(*lattice.notes.values(), strict=True)) or [()] * lattice.arcs
    labels = list(zip(lattice.words, notes, strict=True))
    starts, ends = lattice.starts.tolist(), lattice.ends.tolist()
    kinds: dict[int, dict[tuple[str, tuple[Any, ...]] | None, int]] = {0: {None: 0}}
    for end, label in zip(ends, labels, strict=True):
        kinds.setdefault(end, {}).setdefault(label, 0)
    count = 0
    for node in range(lattice.nodes):
        for kind in kinds[node]:
            kinds[node][kind] = count
            count += 1
    arcs = [
        (new, kinds[end][label], arc)
        for arc, (start, end, label) in enumerate(zip(starts, ends, labels, strict=True))
        for new in kinds[start].values()
    ]
    new_starts, new_ends, old = (np.array(column, np.int64) for column in zip(*sorted(arcs), strict=True))
    of = [node for node in range(lattice.nodes) for _ in kinds[node]]
    return replace(
        lattice,
        starts=new_starts,
        ends=new_ends,
        words=tuple(lattice.words[arc] for arc in old),
        scores={name: values[old] for name, values in lattice.scores.items()},
        times=None if lattice.times is None else lattice.times[of],
        notes={name: tuple(values[arc] for arc in old) for name, values in lattice.notes.items()},
    )
