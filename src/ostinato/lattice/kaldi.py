"""Kaldi's text archives of lattices: the utterance on a line of its own, arcs and final states, an empty line.

A *CompactLattice* has one label and ``graph,acoustic,alignment`` on an arc; a plain *Lattice* two labels, of which the
second is the word, and ``graph,acoustic``. Both numbers are costs, natural logarithms negated; the graph cost is taken
for the language model's, though transitions and pronunciations are in it. There are no scales in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ostinato.errors import LatticeError
from ostinato.lattice.draft import Arc, Block, Final, build, with_one_end
from ostinato.lattice.lattice import ACOUSTIC, LM, PRONUNCIATION, Lattice
from ostinato.lattice.symbols import Labels, Symbols, written

ALIGNMENT, INPUT = "alignment", "input"
"""Notes: the transitions of a compact arc, the transition of a plain one."""


def parse(block: Block, symbols: Symbols | None = None) -> Lattice:
    """The lattice of a block. Raises LatticeError, naming file and line, on what is wrong or missing."""
    rows = [(line, text.split()) for line, text in block.lines if text.strip()]
    if not rows:
        raise LatticeError(f"{block.file}: utterance {block.name!r} has no arcs; expected some after its name")
    compact = _is_compact(rows)
    labels = Labels(block, {row[2 if compact else 3] for _, row in rows if len(row) > (2 if compact else 3)}, symbols)
    arcs: list[Arc] = []
    finals: list[Final] = []
    for line, row in rows:
        if len(row) in ((3, 4) if compact else (4, 5)):
            scores, notes = _weight(block, line, row[3:] if compact else row[4:], compact)
            if not compact:
                notes = {INPUT: row[2]}
            start, end = (block.integer(line, text, "a state") for text in row[:2])
            arcs.append(Arc(line, start, end, labels.word(line, row[2 if compact else 3]), scores, notes))
        elif len(row) in (1, 2):
            scores, notes = _weight(block, line, row[1:], compact)
            finals.append(Final(line, block.integer(line, row[0], "a state"), scores, notes))
        else:
            block.fail(line, f"{len(row)} columns; expected {'3 or 4' if compact else '4 or 5'}, or 1 or 2 for an end")
    if not finals:
        block.fail(rows[-1][0], f"utterance {block.name!r} has no final state; the file may be cut")
    first = arcs[0].start if arcs and rows[0][0] == arcs[0].line else int(rows[0][1][0])
    arcs, last = with_one_end(block, arcs, finals)
    return build(block, arcs, first, last)


def _is_compact(rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Five columns are a plain lattice's; of a weight, the number of commas tells."""
    weights = [row[-1] for _, row in rows if "," in row[-1]]
    if weights:
        return weights[0].count(",") > 1
    return all(len(row) < 4 for _, row in rows)


def _weight(block: Block, line: int, texts: Sequence[str], compact: bool) -> tuple[dict[str, float], dict[str, str]]:
    """Scores and notes of a weight; none stands for one that costs nothing."""
    parts = texts[0].split(",") if texts else ["0", "0", ""][: 3 if compact else 2]
    if len(parts) != (3 if compact else 2):
        expected = "graph,acoustic,alignment" if compact else "graph,acoustic"
        block.fail(line, f"weight {texts[0][:40]!r}; expected {expected}")
    graph, acoustic = (0.0 - block.number(line, part, "a cost") for part in parts[:2])
    return {LM: graph, ACOUSTIC: acoustic}, {ALIGNMENT: parts[2]} if compact else {}


def write(lattice: Lattice, symbols: Symbols | None = None) -> Iterator[str]:
    """The lines of one lattice, with the empty one after it. Raises LatticeError on what the format cannot hold.

    What Kaldi has no place for, pronunciation scores and the word penalty, goes into the graph cost in such a way that
    ``lm scale * graph + acoustic scale * acoustic`` is the total.
    """
    name = lattice.name
    if not name or name != name.strip() or any(ord(char) < 32 for char in name):
        raise LatticeError(f"utterance {name!r} cannot be written; expected a name on one line")
    if extra := lattice.scores.keys() - {ACOUSTIC, LM, PRONUNCIATION}:
        raise LatticeError(f"{name}: Kaldi's text has no place for the score {min(extra)!r}; expected acoustic, lm ...")
    weights = _weights(lattice)
    plain = INPUT in lattice.notes
    inputs = [f" {text or 0}" for text in lattice.notes[INPUT]] if plain else [""] * lattice.arcs
    yield name
    ends = set(final_arcs(lattice))
    words = written(lattice.words, symbols, name)
    for arc, (start, end, word) in enumerate(zip(lattice.starts, lattice.ends, words, strict=True)):
        if arc in ends:
            yield f"{start} {weights[arc]}"
        else:
            yield f"{start} {end}{inputs[arc]} {word} {weights[arc]}"
    if not ends:
        yield f"{lattice.nodes - 1} {'0,0' if plain else '0,0,'}"
    yield ""


def _weights(lattice: Lattice) -> list[str]:
    nothing = 0.0 * lattice.totals
    graph = lattice.scores.get(LM, nothing)
    if lattice.penalty or PRONUNCIATION in lattice.scores:
        if not lattice.scale(LM):
            raise LatticeError(f"{lattice.name}: an lm scale of 0 leaves no place for penalties in Kaldi's graph cost")
        rest = lattice.penalty * lattice.spoken
        rest = rest + lattice.scale(PRONUNCIATION) * lattice.scores.get(PRONUNCIATION, nothing)
        graph = graph + rest / lattice.scale(LM)
    costs = zip((0.0 - graph).tolist(), (0.0 - lattice.scores.get(ACOUSTIC, nothing)).tolist(), strict=True)
    pairs = [f"{graph!r},{acoustic!r}" for graph, acoustic in costs]
    if INPUT in lattice.notes:
        return pairs
    alignments = lattice.notes.get(ALIGNMENT, ("",) * lattice.arcs)
    return [f"{pair},{alignment}" for pair, alignment in zip(pairs, alignments, strict=True)]


def final_arcs(lattice: Lattice) -> list[int]:
    """The arcs to the last node, where all of them can be written as final states of their starts.

    They can where all are epsilon and no two leave one node. One alone that costs nothing and is all that leaves its
    node would be read as that node being the last; so it stays an arc.
    """
    last = lattice.nodes - 1
    arcs = [arc for arc, end in enumerate(lattice.ends.tolist()) if end == last]
    starts = [int(lattice.starts[arc]) for arc in arcs]
    inputs: Sequence[str] = lattice.notes.get(INPUT, ("",) * lattice.arcs)
    if any(lattice.words[arc] or inputs[arc] for arc in arcs) or len(set(starts)) < len(starts):
        return []
    if len(arcs) == 1:
        costs = any(each[arcs[0]] for each in lattice.scores.values()) or any(
            each[arcs[0]] for each in lattice.notes.values()
        )
        others = lattice.firsts[starts[0] + 1] - lattice.firsts[starts[0]] > 1
        return arcs if costs or others else []
    return arcs
