"""HTK SLF, Kaldi and OpenFst text: what they mean, and what is refused with file and line."""

import gzip
import math

import numpy as np
import pytest
from lattices import all_paths, random_lattice, same

from ostinato.errors import ConfigError, LatticeError, TextError
from ostinato.lattice import files
from ostinato.lattice.lattice import ACOUSTIC, LM, PRONUNCIATION, Lattice
from ostinato.lattice.symbols import Symbols

LINKS = """# words on links
VERSION=1.0
UTTERANCE="one two"
lmscale=8.5 wdpenalty=-0.5 acscale=0.9 prscale=2
vocab=words.dct
N=4 L=4
I=0 t=0.00
I=1 t=0.25
I=2 t=0.31
I=3 t=1.5
J=0 S=0 E=1 W=!NULL v=0 a=-10.5 l=0
J=1 S=0 E=2 WORD=to v=1 acoustic=-20 language=-1.5 r=-0.25
J=2 S=1 E=3 W="\\"be\\"" v=2 a=-30 l=-2
J=3 S=2 E=3 W=\\'em a=-40 l=-2.5
"""
NODES = """VERSION=1.0
UTTERANCE=nodes
lmscale=14.0
N=4 L=4
I=0 t=0 W=!NULL
I=1 t=.1 W=<s> v=1
I=2 t=.2 W=OH a=-7
I=3 t=.3 W=</s>
J=0 S=0 E=1 a=-1 l=0
J=1 S=1 E=2 l=-2
J=2 S=1 E=3 a=-3 l=-4
J=3 S=2 E=3 a=-5 l=-6
"""
KALDI = """utt-1
0 1 to 1.5,20.25,1_2_3
0 2 <eps> 0,3.5,4
1 2 be 2,30,
1 0.5,0,9
2 0,0,

utt-2
0 1 or 1,2,
1
"""
PLAIN = """utt
0 1 17 to 1.5,20.25
0 1 18 <eps> 0,3.5
1 2 19 0 0.5,0.25
2 0,0
"""


def write(tmp_path, text, name="file.lat"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path, text, symbols=None, name="file.lat"):
    return list(files.read(write(tmp_path, text, name), symbols))


def test_slf_with_words_on_links(tmp_path):
    (lattice,) = read(tmp_path, LINKS)
    assert lattice.name == "one two"
    assert (lattice.starts.tolist(), lattice.ends.tolist()) == ([0, 0, 1, 2], [1, 2, 3, 3])
    assert lattice.words == ("", "to", '"be"', "'em")
    assert lattice.scores[ACOUSTIC].tolist() == [-10.5, -20.0, -30.0, -40.0]
    assert lattice.scores[LM].tolist() == [0.0, -1.5, -2.0, -2.5]
    assert lattice.scores[PRONUNCIATION].tolist() == [0.0, -0.25, 0.0, 0.0]
    assert (lattice.scales, lattice.penalty) == ({LM: 8.5, ACOUSTIC: 0.9, PRONUNCIATION: 2.0}, -0.5)
    assert lattice.times.tolist() == [0.0, 0.25, 0.31, 1.5]
    assert (lattice.notes, lattice.header) == ({"v": ("0", "1", "2", "")}, {"vocab": "words.dct"})
    np.testing.assert_allclose(lattice.totals, [-9.45, -18 - 12.75 - 0.5 - 0.5, -27 - 17 - 0.5, -36 - 21.25 - 0.5])


def test_slf_with_words_on_nodes(tmp_path):
    (lattice,) = read(tmp_path, NODES)
    assert lattice.words == ("<s>", "OH", "</s>", "</s>")
    assert lattice.scores[ACOUSTIC].tolist() == [-1.0, -7.0, -3.0, -5.0]  # that of node 2 is the link's
    assert lattice.notes["v"] == ("1", "", "", "")
    assert lattice.text(range(4)) == ("OH",)


def test_a_word_on_the_first_node_gets_an_arc(tmp_path):
    (lattice,) = read(tmp_path, NODES.replace("W=!NULL", "W=WELL"))
    assert (lattice.nodes, lattice.words[0], lattice.starts[0], lattice.ends[0]) == (5, "WELL", 0, 1)
    assert lattice.times.tolist() == [0.0, 0.0, 0.1, 0.2, 0.3]
    assert {lattice.text(arcs) for arcs in all_paths(lattice)} == {("WELL", "OH"), ("WELL",)}


@pytest.mark.parametrize(("base", "factor"), [("10", math.log(10)), ("2", math.log(2)), ("0.5", math.log(0.5))])
def test_logarithms_become_natural(tmp_path, base, factor):
    (lattice,) = read(tmp_path, LINKS.replace("vocab=", f"base={base} vocab="))
    np.testing.assert_allclose(lattice.scores[LM], np.array([0.0, -1.5, -2.0, -2.5]) * factor)
    assert lattice.penalty == pytest.approx(-0.5 * factor)
    assert lattice.scales[LM] == 8.5


def test_probabilities_become_logarithms(tmp_path):
    (lattice,) = read(tmp_path, "base=0\nN=2 L=2\nJ=0 S=0 E=1 W=a l=.25\nJ=1 S=0 E=1 W=b l=1\n")
    assert lattice.scores[LM].tolist() == [math.log(0.25), 0.0]
    with pytest.raises(LatticeError, match=r"file.lat, line 3: l= is 0; expected a probability above 0"):
        read(tmp_path, "base=0\nN=2 L=1\nJ=0 S=0 E=1 W=a l=0\n")


def test_escapes_and_quotes(tmp_path):
    links = [r"W=\303\251t\303\251", r"W='a b\'c'", r"W=a\=b\\", 'W="#=\\040"', r"W=\!NULL"]
    text = "N=2 L=5\n" + "".join(f"J={n} S=0 E=1 {word}\n" for n, word in enumerate(links))
    (lattice,) = read(tmp_path, text)
    assert lattice.words == ("été", "a b'c", "a=b\\", "#= ", "")


def test_times_are_scaled_and_left_out_where_some_are_missing(tmp_path):
    (lattice,) = read(tmp_path, LINKS.replace("vocab=", "tscale=0.01 vocab="))
    assert lattice.times.tolist() == pytest.approx([0.0, 0.0025, 0.0031, 0.015])
    (lattice,) = read(tmp_path, LINKS.replace("I=2 t=0.31", "I=2"))
    assert lattice.times is None
    (lattice,) = read(tmp_path, "".join(line for line in LINKS.splitlines(True) if not line.startswith("I=")))
    assert (lattice.times, lattice.nodes) == (None, 4)


def test_nodes_of_any_order_are_put_in_topological_order(tmp_path):
    text = "N=3 L=3\nI=0\nI=1\nI=2\nJ=0 S=0 E=1 W=c\nJ=1 S=2 E=0 W=b\nJ=2 S=2 E=1 W=a\n"
    (lattice,) = read(tmp_path, text)
    assert {lattice.text(arcs) for arcs in all_paths(lattice)} == {("b", "c"), ("a",)}


def test_gz_windows_lines_and_names(tmp_path):
    packed = write(tmp_path, gzip.compress(NODES.replace("\n", "\r\n").encode()), "my.lat.gz")
    (lattice,) = files.read(packed)
    assert same(lattice, read(tmp_path, NODES)[0])
    (lattice,) = read(tmp_path, NODES.replace("UTTERANCE=nodes\n", ""), name="their.slf.gz")
    assert lattice.name == "their"


def test_a_start_and_an_end_that_are_named(tmp_path):
    text = "start=1 end=0\nN=2 L=1\nJ=0 S=1 E=0 W=a\n"
    assert read(tmp_path, text)[0].words == ("a",)


SLF_FAULTS = [
    ("J=1 S=0 E=2", "J=1 S=3 E=2", "line 14: the arc from node 2 to 3 is part of a cycle", "start=0 end=3"),
    ("J=3 S=2 E=3", "J=3 S=3 E=0", "there is no start", ""),
    ("a=-30", "a=nan", "line 13: a= is 'nan'; expected a finite number", ""),
    ("l=-2.5", "l=-inf", "line 14: l= is '-inf'; expected a finite number", ""),
    ("a=-40", "a=x", "line 14: a= is 'x'", ""),
    ("t=0.31", "t=soon", "line 9: t= is 'soon'", ""),
    ("J=3 S=2 E=3", "J=3 S=2", "line 14: a link without E=", ""),
    ("J=3 S=2 E=3", "J=3 S=2 E=4", "line 14: a link to or from node 4; expected 0 to 3", ""),
    ("J=3 S=2 E=3", "J=3 S=2 E=-1", "line 14: E= is '-1'; expected a whole number", ""),
    ("J=3 S=2 E=3", "J=3 S=0 E=3", "node 2 does not lead to the end, node 3", "end=3"),
    ("J=3 S=2 E=3", "J=3 S=0 E=3", "line 14: no link leaves 2 nodes (2, 3); expected one, or end= in the header", ""),
    ("J=1 S=0 E=2", "J=1 S=0 E=3", "node 2 cannot be reached from the start, node 0", "start=0"),
    ("J=1 S=0 E=2", "J=1 S=0 E=3", "no link enters 2 nodes (0, 2); expected one, or start= in the header", ""),
    ("L=4", "L=5", "line 6: L=5 says 5 links, there are 4; the file may be cut", ""),
    ("N=4", "N=5", "line 6: N=5 says 5 nodes, there are 4; the file may be cut", ""),
    ("N=4 L=4", "N=4", "no L= up to here", ""),
    ("N=4 L=4", "L=4", "no N= up to here", ""),
    ("N=4", "N=99999999999999999999", "line 6: N= is '99999999999999999999'", ""),
    ("I=2 t=0.31", "I=1 t=0.31", "line 9: node 1 comes a second time; it is on line 8", ""),
    ("I=3 t=1.5", "I=7 t=1.5", "line 10: node 7; expected 0 to 3", ""),
    ("lmscale=8.5", "lmscale=x", "line 4: lmscale is 'x'", ""),
    ("lmscale=8.5", "lmscale", "line 4: 'lmscale wdpenalty=-0.5", ""),
    ("lmscale=8.5", "lmscale=8.5 lmscale=9", "line 4: lmscale= comes twice", ""),
    ("vocab=words.dct", "base=1", "line 5: base is 1.0; expected 0", ""),
    ("vocab=words.dct", "base=-2", "line 5: base is -2.0; expected 0", ""),
    ("vocab=words.dct", "SUBLAT=x", "line 5: a sub-lattice", ""),
    ("vocab=words.dct", "start=7", "node 0 cannot be reached from the start, node 7", ""),
    ("I=3 t=1.5", "x=3", "line 10: x= after the first node or link", ""),
    ("W=\\'em", 'W="em', "line 14: 'W=\"em", ""),
    ("W=\\'em", "W=\\377", "line 14: '\\\\377' is not UTF-8", ""),
]


@pytest.mark.parametrize(("old", "new", "says", "header"), SLF_FAULTS)
def test_slf_faults_are_refused_with_their_line(tmp_path, old, new, says, header):
    assert old in LINKS
    text = LINKS.replace(old, new).replace("VERSION=1.0", f"VERSION=1.0 {header}")
    with pytest.raises(LatticeError) as error:
        read(tmp_path, text)
    assert "file.lat, line " in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_node_that_no_link_touches_is_refused(tmp_path):
    text = LINKS.replace("N=4", "N=5").replace("I=3 t=1.5\n", "I=3 t=1.5\nI=4 t=2\n")
    with pytest.raises(LatticeError, match=r"line 11: no link leads to or from node 4"):
        read(tmp_path, text)
    with pytest.raises(LatticeError, match=r"line 1: 9,000,000,000 nodes, 1 links; expected every node"):
        read(tmp_path, "N=9000000000 L=1\nJ=0 S=0 E=1 W=a\n")


@pytest.mark.parametrize("size", range(0, len(LINKS), 7))
def test_a_cut_slf_file_is_never_taken_for_a_whole_one(tmp_path, size):
    whole = read(tmp_path, LINKS)[0]
    cut = write(tmp_path, LINKS[:size])
    if size >= LINKS.index("J=3 S=2 E=3") + len("J=3 S=2 E=3"):
        (found,) = files.read(cut)
        assert found.arcs == whole.arcs  # only what the last link says at its end is missing
    else:
        with pytest.raises((LatticeError, TextError), match=r"^[^\n]+$"):
            list(files.read(cut))


def test_kaldi(tmp_path):
    one, two = read(tmp_path, KALDI)
    assert (one.name, two.name) == ("utt-1", "utt-2")
    assert (one.starts.tolist(), one.ends.tolist()) == ([0, 0, 1, 1, 2], [1, 2, 2, 3, 3])
    assert one.words == ("to", "", "be", "", "")
    assert one.scores[LM].tolist() == [-1.5, 0.0, -2.0, -0.5, 0.0]
    assert one.scores[ACOUSTIC].tolist() == [-20.25, -3.5, -30.0, 0.0, 0.0]
    assert one.notes["alignment"] == ("1_2_3", "4", "", "9", "")
    assert (two.nodes, two.words) == (2, ("or",))


def test_plain_kaldi_lattices(tmp_path):
    (lattice,) = read(tmp_path, PLAIN)
    assert lattice.words == ("to", "", "0")
    assert lattice.notes["input"] == ("17", "18", "19")
    assert lattice.scores[LM].tolist() == [-1.5, 0.0, -0.5]


def test_numbers_are_looked_up(tmp_path):
    table = Symbols.read(write(tmp_path, "<eps> 0\nto 1\nbe 2\n", "words.txt"))
    (lattice,) = read(tmp_path, "utt\n0 1 1 1,2,\n1 2 0 1,2,\n2 3 2 1,2,\n3\n", table)
    assert lattice.words == ("to", "", "be")
    (without,) = read(tmp_path, "utt\n0 1 1 1,2,\n1 2 0 1,2,\n2 3 2 1,2,\n3\n")
    assert without.words == ("1", "", "2")
    (mixed,) = read(tmp_path, "utt\n0 1 a 1,2,\n1 2 0 1,2,\n2\n")
    assert mixed.words == ("a", "0")
    assert list(files.written(lattice, "kaldi", table))[1:5] == [
        "0 1 1 1.0,2.0,",
        "1 2 0 1.0,2.0,",
        "2 3 2 1.0,2.0,",
        "3 0,0,",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("utt\n0 1 3 1,2,\n1\n", "line 2: label 3 is not in the table"),
        ("utt\n0 1 be 1,2,\n1\n", "line 2: label 'be' with the table"),
        ("utt\n0 1 ² 1,2,\n1\n", "line 2: label '²' with the table"),
    ],
)
def test_labels_that_a_table_lacks(tmp_path, text, says):
    table = Symbols.read(write(tmp_path, "to 1\n", "words.txt"))
    with pytest.raises(LatticeError, match=says):
        read(tmp_path, text, table)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<eps> 0\nto one\n", "line 2: the number of a word is 'one'"),
        ("<eps> 0\nto 1\nto 2\n", "line 3: 'to' or 2 comes a second time"),
        ("<eps> 0\nto 1\nbe 1\n", "line 3: 'be' or 1 comes a second time"),
        ("to\n", "line 1: 1 columns; expected a word and its number"),
        ("to 0\n", "number 0 is 'to'; expected <eps>"),
    ],
)
def test_a_table_that_is_none(tmp_path, text, says):
    with pytest.raises(LatticeError, match=says):
        Symbols.read(write(tmp_path, text, "words.txt"))


KALDI_FAULTS = [
    ("2 0,0,\n\nutt-2", "\nutt-2", "line 3: node 2 does not lead to the end, node 3"),
    ("1 2 be 2,30,", "1 0 be 2,30,", "is part of a cycle"),
    ("1 2 be 2,30,", "1 2 be 2,nan,", "line 4: a cost is 'nan'"),
    ("1 2 be 2,30,", "1 2 be Infinity,1,", "line 4: a cost is 'Infinity'"),
    ("1 2 be 2,30,", "1 2 be 2,30", "line 4: weight '2,30'; expected graph,acoustic,alignment"),
    ("1 2 be 2,30,", "1 2 be 2,30, 7", "line 4: 5 columns; expected 3 or 4"),
    ("1 2 be 2,30,", "1 x be 2,30,", "line 4: a state is 'x'"),
    ("1 2 be 2,30,", "5 2 be 2,30,", "line 4: node 5 cannot be reached from the start, node 0"),
    ("1 0.5,0,9", "2 0.5,0,9", "line 6: state 2 is final a second time"),
    ("1 0.5,0,9\n2 0,0,\n", "", "line 4: utterance 'utt-1' has no final state; the file may be cut"),
]


@pytest.mark.parametrize(("old", "new", "says"), KALDI_FAULTS)
def test_kaldi_faults_are_refused_and_the_next_lattice_is_read(tmp_path, old, new, says):
    assert old in KALDI
    found = list(files.blocks(write(tmp_path, KALDI.replace(old, new))))
    with pytest.raises(LatticeError) as error:
        files.parse(*found[0])
    assert "file.lat, line " in str(error.value)
    assert says in str(error.value)
    assert files.parse(*found[1]).words == ("or",)


def test_an_utterance_without_arcs(tmp_path):
    (block, kind), _ = files.blocks(write(tmp_path, "utt-1\n\nutt-2\n0 1 or 1,2,\n1\n"))
    with pytest.raises(LatticeError, match="utterance 'utt-1' has no arcs"):
        files.parse(block, kind)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0 1 ah ah 1.5\n0 1 wait,what wait,what 2.5\n1\n", "openfst"),
        ("0 1 ah ah\n0 1 wait,what wait,what\n1\n", "openfst"),
        ("17\n0 1 wait,what 2.5,-30,1_2\n1\n\n", "kaldi"),
        ("17\n0 1 ah .5,-30,\n1\n\n", "kaldi"),
    ],
)
def test_a_comma_in_a_word_makes_no_kaldi(tmp_path, text, kind):
    assert next(files.blocks(write(tmp_path, text)))[1] == kind


def test_openfst(tmp_path):
    (acceptor,) = read(tmp_path, "0 1 to 1.5\n0 2 be\n1 2 or 2\n2 0.25\n", name="a.fst.txt")
    assert acceptor.name == "a"
    assert acceptor.words == ("to", "be", "or", "")
    assert acceptor.scores[ACOUSTIC].tolist() == [-1.5, 0.0, -2.0, -0.25]
    (transducer,) = read(tmp_path, "0 1 p to 1.5\n1 2 q <eps>\n2\n")
    assert transducer.words == ("to", "")
    assert transducer.notes["input"] == ("p", "q")
    (equal,) = read(tmp_path, "0 1 7 7\n1 2 8 8\n2\n")
    assert (equal.words, equal.scores[ACOUSTIC].tolist()) == (("7", "8"), [0.0, 0.0])
    (weighted,) = read(tmp_path, "0 1 7 7\n1 2 8 9.5\n2\n")
    assert weighted.scores[ACOUSTIC].tolist() == [-7.0, -9.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 1 to 1.5\n1 0 be 1\n1\n", "is part of a cycle"),
        ("0 1 to 1.5\n2 1 be 1\n1\n", "line 2: node 2 cannot be reached from the start, node 0"),
        ("0 1 to 1.5\n0 2 be 1\n1\n", "line 2: node 2 does not lead to the end, node 1"),
        ("0 1 to nan\n0 1 a\n1\n", "line 1: a weight is 'nan'"),
        ("0 1 to 1.5\n0 1 to be or 1.5\n1\n", "line 1: 4 columns|line 2: 6 columns"),
        ("0 1 to 1.5\n", "line 1: there is no final state"),
    ],
)
def test_openfst_faults_are_refused_with_their_line(tmp_path, text, says):
    with pytest.raises(LatticeError, match=says):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["to be or not to be\nthat is\n", "#!/bin/sh\nexit\nnow\n", "a b\nc d\n"])
def test_a_text_is_no_lattice(tmp_path, text):
    with pytest.raises(LatticeError, match=r"file.lat is no lattice: it begins with .*; expected HTK SLF"):
        read(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TextError, match=r"no\.lat"):
        list(files.read(tmp_path / "no.lat"))
    for damaged in (b"", b"\xff\xfe\x00\x01" * 9, gzip.compress(LINKS.encode())[:60]):
        with pytest.raises(TextError, match=r"file\.lat"):
            read(tmp_path, damaged)


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    def one(word="a", name="u", score=ACOUSTIC):
        return Lattice(name, np.array([0]), np.array([1]), (word,), {score: np.array([-1.0])})

    for kind in ("slf", "kaldi"):
        with pytest.raises(LatticeError, match="the score 'joy'"):
            list(files.written(one(score="joy"), kind))
    for kind in ("kaldi", "openfst"):
        for word in ("a b", "<eps>", "\u2028"):
            with pytest.raises(LatticeError, match="cannot be written where blanks part columns"):
                list(files.written(one(word), kind))
        with pytest.raises(LatticeError, match=r"words.txt has no number for the word 'a'"):
            list(files.written(one(), kind, Symbols("words.txt", {0: ""}, {"": 0})))
    for name in ("", " u", "a\nb"):
        with pytest.raises(LatticeError, match="expected a name on one line"):
            list(files.written(one(name=name), "kaldi"))
    with pytest.raises(LatticeError, match="an lm scale of 0"):
        list(files.written(one().weighted({LM: 0.0}, -1.0), "kaldi"))
    with pytest.raises(ConfigError, match="did you mean 'kaldi'"):
        list(files.written(one(), "kald"))
    with pytest.raises(LatticeError, match="2 lattices; expected one"):
        files.write([one(), one()], tmp_path / "out.slf")


def test_several_go_into_one_archive(tmp_path):
    several = [random_lattice(seed, words=("to", "be")) for seed in (1, 2)]
    files.write(several, tmp_path / "out.lat", "kaldi")
    assert [lattice.name for lattice in files.read(tmp_path / "out.lat")] == ["utterance-1", "utterance-2"]
