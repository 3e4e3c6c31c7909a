"""OpenFst's text, as ``fstprint`` writes and ``fstcompile`` reads: arcs and final states with tropical weights.

A weight is a cost, a natural logarithm negated. There is one for each arc, so it is read as the acoustic score, which
rescoring leaves alone, and what is written is the total under the scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ostinato.errors import LatticeError
from ostinato.lattice.draft import Arc, Block, Final, build, with_one_end
from ostinato.lattice.kaldi import INPUT, final_arcs
from ostinato.lattice.lattice import ACOUSTIC, Lattice
from ostinato.lattice.symbols import Labels, Symbols, written


def parse(block: Block, symbols: Symbols | None = None) -> Lattice:
    """The lattice of a file, an acceptor or a transducer, whose outputs are the words.

    Raises LatticeError, naming file and line, on what is wrong or missing.
    """
    rows = [(line, text.split()) for line, text in block.lines if text.strip()]
    if not rows:
        raise LatticeError(f"{block.file}: there is nothing in it; expected arcs, as fstprint writes them")
    word = 3 if _is_transducer(rows) else 2
    labels = Labels(block, {row[word] for _, row in rows if len(row) > word}, symbols)
    arcs: list[Arc] = []
    finals: list[Final] = []
    for line, row in rows:
        if len(row) in (word + 1, word + 2):
            start, end = (block.integer(line, text, "a state") for text in row[:2])
            notes = {INPUT: row[2]} if word == 3 else {}
            arcs.append(
                Arc(line, start, end, labels.word(line, row[word]), _score(block, line, row[word + 1 :]), notes)
            )
        elif len(row) in (1, 2):
            finals.append(Final(line, block.integer(line, row[0], "a state"), _score(block, line, row[1:])))
        else:
            block.fail(line, f"{len(row)} columns; expected {word + 1} or {word + 2}, or 1 or 2 for a final state")
    if not finals:
        block.fail(rows[-1][0], "there is no final state; the file may be cut")
    first = int(rows[0][1][0]) if len(rows[0][1]) < 3 else arcs[0].start
    arcs, last = with_one_end(block, arcs, finals)
    return build(block, arcs, first, last)


def _is_transducer(rows: Sequence[tuple[int, list[str]]]) -> bool:
    """By the number of columns; four are a transducer's without weights where the last is no weight, or all are equal.

    The file itself does not say; ``fstprint`` writes an acceptor with three or four columns, a transducer with four or
    five.
    """
    widths = {len(row) for _, row in rows if len(row) > 2}
    if 5 in widths or 3 in widths or not widths:
        return 5 in widths
    fours = [row for _, row in rows if len(row) == 4]
    return not all(_is_number(row[3]) for row in fours) or all(row[2] == row[3] for row in fours)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _score(block: Block, line: int, texts: Sequence[str]) -> dict[str, float]:
    return {ACOUSTIC: 0.0 - block.number(line, texts[0], "a weight") if texts else 0.0}


def write(lattice: Lattice, symbols: Symbols | None = None) -> Iterator[str]:
    """The lines of an acceptor; of a transducer, where it was read from one. Raises LatticeError on an odd word."""
    costs = (0.0 - lattice.totals).tolist()
    ends = set(final_arcs(lattice))
    inputs = [f" {text or 0}" for text in lattice.notes[INPUT]] if INPUT in lattice.notes else [""] * lattice.arcs
    words = written(lattice.words, symbols, lattice.name)
    for arc, (start, end, word) in enumerate(zip(lattice.starts, lattice.ends, words, strict=True)):
        if arc in ends:
            yield f"{start} {costs[arc]!r}"
        else:
            yield f"{start} {end}{inputs[arc]} {word} {costs[arc]!r}"
    if not ends:
        yield f"{lattice.nodes - 1}"
