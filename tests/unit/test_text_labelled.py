"""Labelled lines: both forms, plain and packed, and the line that a complaint is about."""

import gzip

import pytest

from ostinato.errors import TextError
from ostinato.text.corpus import lines
from ostinato.text.labelled import read_labelled


def write(folder, content, name="data.txt"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(*paths):
    found = read_labelled(paths)
    assert len(found) == len(found.labels) == len(found.texts)
    return list(zip(found.labels, found.texts, strict=True))


def test_tabs_and_blanks(tmp_path):
    tabs = write(tmp_path, "very good\ta fine film\r\nbad \t a\ttab in it \nx\ty", "tabs.txt")
    assert pairs(tabs) == [("very good", "a fine film"), ("bad", "a\ttab in it"), ("x", "y")]
    blanks = write(tmp_path, "1 a fine film\n0  two blanks\n", "blanks.txt")
    assert pairs(blanks) == [("1", "a fine film"), ("0", "two blanks")]
    assert pairs(blanks, tabs) == [*pairs(blanks), *pairs(tabs)]


def test_packed_files_and_other_line_ends_in_a_text(tmp_path):
    path = write(tmp_path, gzip.compress("a\tone\u2028two\x85three\nb\té\n".encode()), "data.gz")
    assert pairs(path) == [("a", "one\u2028two\x85three"), ("b", "é")]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_of_a_text_in_pieces(size):
    text = "one\r\n\ntwo\rthree\nfour"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert [*lines(pieces)] == ["one", "", "two\rthree", "four"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tone\n\ttwo\n", r"data.txt, line 2 has no label; expected label<TAB>text$"),
        ("a\tone\nb\t \n", r"data.txt, line 2 has no text: 'b\\t '; expected label<TAB>text$"),
        ("a\tone\nb two\n", r"data.txt, line 2 has no text: 'b two'; expected label<TAB>text$"),
        ("a one\nb\n", r"data.txt, line 2 has no text: 'b'; expected label<TAB>text or label text$"),
        ("a one\n\nb two\n", r"data.txt, line 2 is empty; expected"),
        ("a " + "x" * 99 + "\n" + "y" * 99 + "\n", "line 2 has no text: '" + "y" * 39 + "…'"),
        ("", "data.txt is empty"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, content, message):
    with pytest.raises(TextError, match=message):
        read_labelled([write(tmp_path, content)])
