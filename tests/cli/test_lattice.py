"""``ostinato lattice``: what is printed and written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Outcome, command
from small_models import write_folder

from ostinato.score.kneser_ney import learn_arpa

Capture = pytest.CaptureFixture[str]

# Three ways: TO SEE (-7), TWO SEE (-6), TO SEA (-6.5); by the sound alone, TO SEA.
SLF = """VERSION=1.0
UTTERANCE={name}
lmscale=2
N=4 L=5
I=0
I=1
I=2
I=3
J=0 S=0 E=1 W=TO a=-1 l=-1
J=1 S=0 E=1 W=TWO a=-2 l=0
J=2 S=1 E=2 W=SEE a=-2 l=-1
J=3 S=1 E=2 W=SEA a=-1.5 l=-1
J=4 S=2 E=3 W=!NULL a=0 l=0
"""


@pytest.fixture
def lattice(tmp_path: Path) -> Path:
    path = tmp_path / "a.slf"
    path.write_text(SLF.format(name="a"))
    return path


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    """A model that has heard ``to see`` more often than anything else."""
    (tmp_path / "text").write_text("to see\n" * 30 + "two sea\nsea to\nsee two\n")
    learn_arpa([tmp_path / "text"], tmp_path / "lm.arpa", order=2)
    return tmp_path / "lm.arpa"


def ok(outcome: Outcome) -> str:
    assert outcome.status == 0, outcome.err
    return outcome.out


def test_the_best_path_by_the_scales_of_the_file_or_of_the_call(capsys: Capture, lattice: Path) -> None:
    assert ok(command(capsys, ["lattice", lattice])) == "a\tTWO SEA\n"
    assert ok(command(capsys, ["lattice", lattice, "--lm-scale", "0"])) == "a\tTO SEA\n"


def test_several_with_their_scores(capsys: Capture, lattice: Path) -> None:
    lines = ok(command(capsys, ["lattice", lattice, "--nbest", "9"])).splitlines()
    rows = [line.split("\t") for line in lines]
    assert [row[5] for row in rows] == ["TWO SEA", "TWO SEE", "TO SEA", "TO SEE"]
    assert [row[1] for row in rows] == ["1", "2", "3", "4"]
    assert [[float(x) for x in row[2:4]] for row in rows] == [[-5.5, -3.5], [-6, -4], [-6.5, -2.5], [-7, -3]]
    (record,) = map(json.loads, ok(command(capsys, ["lattice", lattice, "--nbest", "2", "--json"])).splitlines())
    assert record["id"] == "a"
    best = {"text": "TWO SEA", "total": -5.5, "acoustic": -3.5, "lm": -1.0, "words": 2.0}
    assert best.items() <= record["hyps"][0].items()


def test_a_model_takes_the_place_of_the_old_scores(capsys: Capture, lattice: Path, arpa: Path) -> None:
    given = ["lattice", lattice, "--model", arpa, "--lowercase"]
    assert ok(command(capsys, given)) == "a\tTO SEE\n"
    assert ok(command(capsys, [*given, "--old-lm", "1"])) == "a\tTWO SEA\n"


def test_what_is_written_is_read_again(capsys: Capture, lattice: Path, tmp_path: Path) -> None:
    expected = ok(command(capsys, ["lattice", lattice, "--nbest", "9"]))
    ok(command(capsys, ["lattice", lattice, "--to", "slf", "--out", tmp_path / "written"]))
    (again,) = (tmp_path / "written").iterdir()
    assert ok(command(capsys, ["lattice", again, "--nbest", "9"])) == expected


def test_pruning_keeps_what_is_near(capsys: Capture, lattice: Path, tmp_path: Path) -> None:
    """Within 0.3 nats of the language model, 0.6 of the score, of the best: TWO SEA and TWO SEE."""
    ok(command(capsys, ["lattice", lattice, "--prune", "0.3", "--to", "slf", "--out", tmp_path / "near"]))
    (near,) = (tmp_path / "near").iterdir()
    lines = ok(command(capsys, ["lattice", near, "--nbest", "9"])).splitlines()
    assert [line.split("\t")[5] for line in lines] == ["TWO SEA", "TWO SEE"]


def test_a_bad_lattice_does_not_stop_the_others(capsys: Capture, lattice: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.slf"
    bad.write_text(SLF.format(name="b").replace("a=-1.5", "a=nan"))
    outcome = command(capsys, ["lattice", tmp_path / "none.slf", bad, lattice])
    assert (outcome.status, outcome.out) == (1, "a\tTWO SEA\n")
    first, second = outcome.err.splitlines()
    assert "none.slf" in first
    assert f"{bad}, line 12: a= is 'nan'; expected a finite number" in second


def test_one_that_cannot_be_scored_or_written_does_not_stop_the_others(
    capsys: Capture, lattice: Path, tmp_path: Path
) -> None:
    bad, out = tmp_path / "bad.slf", tmp_path / "out"
    bad.write_text(SLF.format(name="b").replace("W=SEA", "W=NEW\\040YORK"))
    outcome = command(capsys, ["lattice", bad, lattice, "--to", "kaldi", "--out", out])
    assert outcome.status == 1
    assert outcome.err.splitlines() == [
        "ostinato: b: the word 'NEW YORK' cannot be written where blanks part columns",
        "ostinato: Kaldi's text has no scales; read it with --acoustic-scale 0.5",
    ]
    said = command(capsys, ["lattice", lattice]).out
    assert command(capsys, ["lattice", out, "--acoustic-scale", "0.5"]).out == said
    assert out.read_text().startswith("a\n0 1 ")
    symbols = tmp_path / "words.txt"
    symbols.write_text("<eps> 0\nTO 1\nTWO 2\nSEE 3\nSEA 4\n")
    outcome = command(capsys, ["lattice", bad, lattice, "--to", "kaldi", "--symbols", symbols])
    assert outcome.status == 1
    assert "b: " in outcome.err
    assert "has no number for the word 'NEW YORK'" in outcome.err
    assert "a\n0 1 1 1.0,1.0," in outcome.out
    folder = write_folder(tmp_path / "model", "char", seed=1)
    outcome = command(capsys, ["lattice", bad, lattice, "--model", folder, "--lowercase"])
    assert outcome.status == 1
    assert outcome.err.startswith("ostinato: b: 'new york' is not a word; expected")
    assert outcome.out.startswith("a\tT")


def test_what_is_read_is_not_written_over(capsys: Capture, lattice: Path, tmp_path: Path) -> None:
    symbols = tmp_path / "words.txt"
    symbols.write_text("<eps> 0\nTO 1\nTWO 2\nSEE 3\nSEA 4\n")
    here = lattice.rename(tmp_path / "a.slf")
    before = {path: path.read_bytes() for path in (symbols, here)}
    for given in (
        ["--to", "kaldi", "--symbols", symbols, "--out", symbols],
        ["--to", "kaldi", "--out", here],
        ["--to", "slf", "--out", tmp_path],
    ):
        outcome = command(capsys, ["lattice", here, *given])
        assert outcome.status == 1
        assert "this is what is read; give what is written another name" in outcome.err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--old-lm", "0.5"], "--old-lm belongs to rescoring; expected --model beside it"),
        (["--beam", "3"], "--beam belongs to rescoring; expected --model beside it"),
        (["--lowercase"], "--lowercase belongs to rescoring; expected --model beside it"),
        (["--to", "kaldi", "--nbest", "3"], "--to writes lattices, --nbest and --json are for paths"),
        (["--to", "kaldi", "--json"], "--to writes lattices, --nbest and --json are for paths"),
        (["--prune", "-1"], "--prune is -1.0"),
        (["--posterior", "2"], "--posterior is 2.0"),
        (["--to", "kaldi", "--out", "/"], "/: this is a folder; expected the name of a file"),
        (["--to", "slf", "--out", __file__], "expected a folder: slf has a file for each"),
        (["--old-lm", "3", "--model"], "--old-lm is 3.0; expected a number from 0.0 to 1.0"),
        (["--beam", "-1", "--model"], "--beam is -1.0"),
        (["--merge", "2", "--merge-distance", "0.1", "--model"], "are two ways to merge; leave one of them out"),
        (["--merge-distance", "0.1", "--model"], "--merge-distance needs the states of a recurrent model"),
    ],
)
def test_flags_that_do_not_go_together(
    capsys: Capture, lattice: Path, arpa: Path, flags: list[str], message: str
) -> None:
    given = [*flags, arpa] if flags[-1] == "--model" else flags
    outcome = command(capsys, ["lattice", lattice, *given])
    assert outcome.status in (1, 2)
    assert message in outcome.message
