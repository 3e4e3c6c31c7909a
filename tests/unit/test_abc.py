"""Tunes in ABC: where they end, bars and notes against counts by hand, and near copies."""

from __future__ import annotations

import importlib.util
import json
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

from ostinato.errors import TextError
from ostinato.text.abc import Tune, bars, intervals, notes, numbered, read_tunes, split_tunes


def tune(body: str, **header: str) -> Tune:
    """A tune in four four time with an eighth as its unit, unless the header says otherwise."""
    fields = {"X": "1", "M": "4/4", "L": "1/8", "K": "C", **header}
    return Tune("".join(f"{letter}:{value}\n" for letter, value in fields.items() if value) + body)


def lengths(body: str, **header: str) -> list[str]:
    return [str(bar.length) for bar in bars(tune(body, **header))]


def pitches(body: str, **header: str) -> list[int]:
    return [note.pitch for note in notes(tune(body, **header))]


def test_where_a_tune_begins_and_ends() -> None:
    text = "some words\n\nX:1\nT:a\nK:C\nCDE\n\nX: 2\nK:D\nF\nX:3\nK:E\n%% end\n \nmore words\n"
    found = split_tunes(text, "f")
    assert [one.text for one in found] == ["X:1\nT:a\nK:C\nCDE\n", "X: 2\nK:D\nF\n", "X:3\nK:E\n%% end\n"]
    assert [one.place for one in found] == ["f, line 3", "f, line 8", "f, line 11"]
    assert dict(found[0].header) == {"X": "1", "T": "a", "K": "C"}
    assert found[0].body == "CDE\n"
    assert Tune("X:1\nCDE\n").body == ""


def test_the_header_ends_with_the_key() -> None:
    assert dict(Tune("X:1\nM:6/8 % jig\nK: D \nM:9/8\n").header) == {"X": "1", "M": "6/8", "K": "D"}


def test_a_file_without_a_tune(tmp_path: Path) -> None:
    (tmp_path / "a.abc").write_text("T:no number\nK:C\nCDE\n")
    with pytest.raises(TextError, match=r"a\.abc has no tune: no line begins with X:; expected ABC notation"):
        read_tunes(tmp_path / "a.abc")
    with pytest.raises(TextError, match="no such file"):
        read_tunes(tmp_path / "none.abc")
    (tmp_path / "b.abc").write_bytes(b"X:1\nK:C\nC\xff\n")
    with pytest.raises(TextError, match="line 3"):
        read_tunes(tmp_path / "b.abc")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("CDEF GABc|", ["1"]),
        ("C2D/E// F3/2G3/4 z4|x8|", ["9/8", "1"]),
        ("[CEG]4 [C2E2]2|", ["1"]),
        ("(3CDE F2|(3:2:4CDEF|(5CDEFG|", ["1/2", "1/3", "1/4"]),
        ("C>D E<F G>>A|", ["3/4"]),
        ("C3>D E|", ["3/4"]),
        ('"Am7"C"G/b"D !trill!E {gf}G ~A .B vC uD|', ["1"]),
        ("C8-|C8 % c8\n|D4|", ["1", "1", "1/2"]),
        ("C8|[L:1/4]C4|[M:3/4]C3|\nL:1/16\nC|", ["1", "1", "3/4", "1/16"]),
        ("|:C8:|[1D4:|[2E8||", ["1", "1/2", "1"]),
        ("C8|1D8:|2E8|]", ["1", "1", "1"]),
        ("C8::D8:||:E8|", ["1", "1", "1"]),
        ("^C_D=E,,F'^^G__A c'|", ["7/8"]),
        ("Z2|y C|", ["1", "1", "1/8"]),
        ("", []),
        ("|||", []),
    ],
)
def test_bars_by_hand(body: str, expected: list[str]) -> None:
    assert lengths(body) == expected


def test_what_is_long_beyond_use_is_cut_short() -> None:
    assert len(lengths("Z999 " * 50)) == 999  # else a file of 4 kB is a million bars
    assert lengths("(3:" + "9" * 5000 + "CDE F5|")  # Python refuses to read such numbers
    assert lengths("C8|" + '"' + "x" * 499 + '"D8|') == ["1", "1"]
    assert len(lengths("[" * 20_000)) < 2  # each of them looked for its end up to the end of the line


def test_the_unit_depends_on_the_metre_where_it_is_not_given() -> None:
    assert lengths("C|", L="", M="2/4") == ["1/16"]
    assert lengths("C|", L="", M="3/4") == ["1/8"]
    assert lengths("C|", L="", M="") == ["1/8"]
    assert lengths("(5CDEFG|", M="6/8") == ["3/8"]


def test_which_bars_fit() -> None:
    def fit(body: str, **header: str) -> list[bool]:
        return [bar.fits for bar in bars(tune(body, **header))]

    assert fit("C2|C8|C7|C9|C6|") == [True, True, False, False, True]  # an upbeat, and what it leaves
    assert fit("C8|C8|C6:|C2|C8|C6:|") == [True] * 6
    assert fit("|:C8|C6|C8|[1C7:|[2C6||C2|C8|") == [True, False, True, True, True, True, True]
    assert fit("C10|C8|C8|") == [False, True, True]
    assert fit("C6|C6|C5|C6|", M="6/8") == [True, True, False, True]
    assert fit("C|C3|C9|", M="none") == [True, True, True]
    assert fit("C8|C8|\nP:B\nC2|C8|C8|") == [True] * 5
    assert fit("C8|C8|[M:3/4]C6|C8|C6|C6|") == [True, True, True, False, True, True]


def test_pitches_by_hand() -> None:
    assert pitches("C D E c c' C,") == [60, 62, 64, 72, 84, 48]
    assert pitches("F f C ^F =F", K="D") == [66, 78, 61, 66, 65]
    assert pitches("F f C ^F =F") == [65, 77, 60, 66, 65]
    assert pitches("B e", K="Bb") == [70, 75]
    assert pitches("^c c d | c", K="C") == [73, 73, 74, 72]  # an accidental holds to the end of its bar
    assert pitches("F B", K="Em") == [66, 71] == pitches("F B", K="G")
    assert pitches("F B", K="Dmix") == pitches("F B", K="G")
    assert pitches("B", K="Ddor") == [71]
    assert pitches("B", K="Gm") == [70]
    assert pitches("F\nK:D\nF [K:C]F") == [65, 66, 65]
    assert pitches("[CEG]2 z c") == [67, 72]
    assert pitches("C", K="HP") == [60]


def test_lengths_of_notes() -> None:
    found = notes(tune("C>D (3EFG c2"))
    assert [note.length for note in found] == [
        Fraction(3, 16), Fraction(1, 16), *[Fraction(1, 12)] * 3, Fraction(1, 4),
    ]  # fmt: skip


def test_a_melody_is_the_same_in_every_key_metre_and_rhythm() -> None:
    first = intervals(tune("C2 E2 G2 c2|", K="C"))
    assert first == (4, 3, 5)
    assert intervals(tune("D F/A d|", K="D", M="3/4", L="1/4")) == first
    assert intervals(tune("D F/A d|", K="Dm")) != first


def test_numbers() -> None:
    assert numbered(["X:9\nK:C\nC\n\n", "X: 1\nK:D\nX:3"]) == "X:1\nK:C\nC\n\nX:2\nK:D\nX:3\n"


def test_odd_numbers_do_not_break_it() -> None:
    assert lengths("C0 C/0 C99999999999999999999 (0CDE (9:0:0C|") != []
    assert bars(tune("C|", M="0/4", L="1/0")) == bars(tune("C|", M=""))


# The recipe


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    path = Path(__file__).parents[2] / "recipes" / "music_abc" / "prepare.py"
    spec = importlib.util.spec_from_file_location("music_abc_prepare", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_copies_are_one_family(prepare: ModuleType) -> None:
    walk = [2, -1, 3, 5, -4, 1, -2, 7, -6, 2, 2, -3, 1, 4, -5, 3, 2, 1]
    other = [-number for number in walk]
    melodies = [tuple(walk), tuple(other), (9, *walk[:16], 9), (7, *walk[:15], 8), (*other, *walk), (1, 2), (1, 2)]
    assert prepare.families([*melodies[:4], *melodies[5:]]) == [0, 1, 0, 3, 4, 4]
    assert prepare.families(melodies) == [0, 0, 0, 3, 0, 5, 5]


def test_repeats_pair_up(prepare: ModuleType) -> None:
    assert prepare.mended("AB:|cd:|ef:|") == "AB::cd::ef:|"
    assert prepare.mended("|:AB:|\n|:cd:|") == "|:AB:|\n|:cd:|"
    assert prepare.mended("|:AB|CD||\n|:cd:|") == "||AB|CD||\n|:cd:|"
    assert prepare.mended("|:AB|[1c:|[2d||ef|[1g:|[2a||") == "|:AB|[1c:|[2d||ef|[1g:|[2a||"
    assert prepare.mended("AB|CD") == "AB|CD"


def test_signs_that_every_reader_knows(prepare: ModuleType) -> None:
    assert prepare.spelled('A2-A B-c d-|d e3-"G"e f-f\'') == 'A2-A Bc d-|d e3-"G"e ff\''
    assert prepare.spelled("A'C'") == "ac"
    assert prepare.spelled('"am"A"Cd"B"Ea7/b"c') == '"Am"A"Cdim"B"Eaug/b"c'


def test_what_is_kept_of_a_tune(prepare: ModuleType) -> None:
    text = "X:7\nT:A Title\nS:Someone\nM:4/4\nK:A\nM:6/8\nP:A\nf|ecc c2f|\\\nabc abc|\nP:B\nK:D\nd3-d3:|\n"
    assert prepare.plain(Tune(text), "jig") == ("X:1\nR:jig\nM:6/8\nL:1/8\nK:A\nf|ecc c2f|abc abc|\nK:D\nd3-d3:|\n")
    assert prepare.rhythm("reelsa-c") == "reel"
    assert prepare.rhythm("unheard") == "tune"


def test_no_melody_is_in_two_parts(prepare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sixty tunes, of which every third is the one before it, in another key and with other first notes."""
    import random

    rng, written = random.Random(0), []
    for number in range(60):
        key = "G"
        if number % 3 == 2:
            body, key = "GGG|" + "|".join(written[-1].splitlines()[-1].split("|")[1:]), "A"
            body = body.translate(str.maketrans("ABCDEFGabcdef", "BCDEFGAbcdefg")).replace("GGG", "AAA")
        else:
            body = "|".join("".join(rng.choices("ABCDEFGabcde", k=6)) for _ in range(8)) + "|"
        written.append(f"X:{number}\nM:6/8\nL:1/8\nK:{key}\n{body}\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "jigs.abc").write_text("\n".join(written))
    prepare.main(tmp_path / "in", tmp_path / "out")
    report = json.loads(capsys.readouterr().out)
    parts = {part: read_tunes(tmp_path / "out" / f"{part}.abc") for part in ("train", "valid", "test")}
    assert report["tunes"] == 60 == sum(map(len, parts.values())) + report["same_melody_dropped"]
    runs = {
        part: {melody[t : t + 16] for melody in map(intervals, found) for t in range(len(melody) - 15)}
        for part, found in parts.items()
    }
    assert all(runs.values())
    assert not runs["train"] & runs["test"]
    assert not runs["train"] & runs["valid"]
    assert not runs["valid"] & runs["test"]
    assert (tmp_path / "out" / "train.abc").read_text().endswith("|\n\n")
