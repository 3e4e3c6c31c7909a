"""What is written of a lattice is read again as it was, by every format, whatever its words are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import SEEDS, all_paths, path_score, random_lattice, same

from ostinato.lattice import files
from ostinato.lattice.draft import Block
from ostinato.lattice.kaldi import ALIGNMENT, INPUT
from ostinato.lattice.lattice import ACOUSTIC, LM
from ostinato.lattice.symbols import Symbols

FEW = settings(max_examples=60, deadline=None)
ODD = st.text(st.sampled_from("ab\"'\\= \t\r#!\u00e9\u4e2d\u00a0\u2028\x01\U0001f600,0"), min_size=1, max_size=5)
NO_BLANK = ODD.filter(lambda word: word.split() == [word] and word != "0")
WORDS = st.lists(st.sampled_from(["to", "be", "or", "not"]) | NO_BLANK, min_size=2, max_size=5)


def again(lattice, kind, symbols=None):
    text = "\n".join(files.written(lattice, kind, symbols))
    lines = list(enumerate(text.split("\n"), start=1))
    if kind == "kaldi":
        assert lines[0][1] == lattice.name
        lines = lines[1:]
    return files.parse(Block("file", lattice.name, lines), kind.removesuffix("-nodes"), symbols)


def paths(lattice):
    """Words (the silent ones as well), score, and time of the end of every path."""
    last = None if lattice.times is None else lattice.times[-1]
    return sorted(
        (tuple(filter(None, (lattice.words[a] for a in arcs))), round(path_score(lattice, arcs), 7), last)
        for arcs in all_paths(lattice)
    )


@FEW
@given(seed=SEEDS, nodes=st.integers(1, 9), words=st.lists(ODD, min_size=1, max_size=5), name=ODD, times=st.booleans())
def test_slf(seed, nodes, words, name, times):
    lattice = random_lattice(seed, nodes, words=["", *words])
    notes = {"v": tuple("12"[arc % 2] for arc in range(lattice.arcs)), "d": ("", *words * lattice.arcs)[: lattice.arcs]}
    if not any(notes["d"]):
        notes.pop("d")
    lattice = replace(
        lattice, name=name, notes=notes if lattice.arcs else {}, header={"lmname": words[0], "hmms": name},
        times=lattice.times if times else None, scores=lattice.scores if lattice.arcs else {},
    )  # fmt: skip
    assert same(again(lattice, "slf"), lattice)


@FEW
@given(seed=SEEDS, nodes=st.integers(1, 8), words=st.lists(ODD, min_size=1, max_size=4))
def test_slf_with_words_on_nodes(seed, nodes, words):
    """Nodes are split by their words; the paths stay, and a second time changes nothing more."""
    lattice = random_lattice(seed, nodes, words=["", *words])
    split = again(lattice, "slf-nodes")
    assert paths(split) == paths(lattice)
    assert same(again(split, "slf-nodes"), split)


@FEW
@given(seed=SEEDS, nodes=st.integers(2, 9), words=WORDS, table=st.booleans())
def test_kaldi(seed, nodes, words, table):
    lattice = random_lattice(seed, nodes, words=["", *words])
    scores = {name: lattice.scores[name] for name in (LM, ACOUSTIC)}
    alignments = tuple("_".join(map(str, range(arc % 4))) for arc in range(lattice.arcs))
    lattice = replace(lattice, scores=scores, scales={}, penalty=0.0, times=None, notes={ALIGNMENT: alignments})
    symbols = symbols_of(words) if table else None
    read = again(lattice, "kaldi", symbols)
    assert paths(read) == paths(lattice)
    assert same(again(read, "kaldi", symbols), read)


@FEW
@given(seed=SEEDS, nodes=st.integers(2, 9), words=WORDS)
def test_plain_kaldi_lattices(seed, nodes, words):
    lattice = random_lattice(seed, nodes, words=["", *words])
    notes = {INPUT: tuple(str(arc % 3) for arc in range(lattice.arcs))}
    scores = {name: lattice.scores[name] for name in (LM, ACOUSTIC)}
    lattice = replace(lattice, scores=scores, scales={}, penalty=0.0, times=None, notes=notes)
    assert same(again(lattice, "kaldi"), lattice)


@FEW
@given(seed=SEEDS, nodes=st.integers(2, 9), words=WORDS, table=st.booleans())
def test_openfst(seed, nodes, words, table):
    lattice = random_lattice(seed, nodes, words=["", *words])
    symbols = symbols_of(words) if table else None
    read = again(lattice, "openfst", symbols)
    assert paths(replace(read, times=None)) == paths(replace(lattice, times=None))
    assert same(again(read, "openfst", symbols), read)


@FEW
@given(seed=SEEDS, lm=st.floats(0.3, 20), acoustic=st.floats(0.05, 2))
def test_kaldi_takes_in_what_it_has_no_place_for(seed, lm, acoustic):
    """Pronunciations and the penalty, in such a way that the totals under the same scales are the same."""
    lattice = random_lattice(seed).weighted({LM: lm, ACOUSTIC: acoustic, "pronunciation": 3.0})
    read = again(lattice, "kaldi").weighted({LM: lm, ACOUSTIC: acoustic})
    silent = replace(lattice, times=None)
    assert read.scores.keys() == {LM, ACOUSTIC}
    np.testing.assert_allclose([p[1] for p in paths(read)], [p[1] for p in paths(silent)], rtol=1e-6)


def symbols_of(words):
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words), start=1)}
    return Symbols("words.txt", {0: "", **{n: w for w, n in numbers.items()}}, {"": 0, **numbers})


@pytest.mark.parametrize("kind", ["slf", "kaldi", "openfst"])
def test_a_file_is_recognised(tmp_path, kind):
    for seed in range(20):
        lattice = random_lattice(seed, words=("to", "be"))
        lattice = replace(lattice, scores={ACOUSTIC: lattice.totals}, scales={}, penalty=0.0, times=None)
        files.write([lattice], tmp_path / "one", kind)
        ((_, found),) = files.blocks(tmp_path / "one")
        assert found == kind
        (read,) = files.read(tmp_path / "one")
        assert paths(read) == paths(lattice)
