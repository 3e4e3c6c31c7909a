"""What a strict reader remarks on a tune, beside abc2midi where it is there (Debian: abcmidi)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ostinato.text.abc import Tune, bar_lines
from ostinato.text.metre import faults

HEADER = "X:1\nR:jig\nM:6/8\nL:1/8\nK:G\n"
SOUND = [
    "GGG GGG|GGG GGG|",
    "GGG GGG|GGG GGG",
    "D|GGG GGG|GGG GGG|GGG GGG|",
    "D|GGG GGG|GGG GG:|",
    "|:D|GGG GGG|GGG GG:|",
    "|:D|GGG GGG|GGG GG::D|GGG GGG|GGG GG:|",
    "D|:GGG GGG|GGG GGG:|",
    "|:D|GGG GGG|GGG GG:|D|GGG GGG|GGG GG|]",
    "|:D|GGG GGG|1GGG GG:|2GGG GG:|",
    "|:D|GGG GGG|[1GGG GG:|[2GGG GG||D|GGG GGG|]",
    "|:D|GGG GGG|[1GGG GG:|[2GGG GG|:D|GGG GG:|",
    "DE|GGG GGG|GGG G||EF|GGG GGG|]",
    "GGG GGG|GGG||GGG|GGG GGG|]",
    "GGG GGG|GGG GGG|\nM:3/4\nG2G2G2|]",
    "|GGG GGG|GGG GGG|\n|GGG GGG|GGG GGG|",
    "GGG GGG|GGG GG|]",
    "GGG GGG-|GGG B3-|B3-B3|",
    "GGG [GB]3-|[BGd]3 B3|",
    'GGG G3 -|"D7/f+"G3 -"Am7"G3|"Bb"GGG "^slow"GGG|',
    "GGG G2c'-|c'3 G,3-|G,3 G2G-y|GGG GGG|",
    "GGG GGG|Z2|GGG GGG|",
    'GGG "A"GGG|[M:3/4]G2G2G2|[M:6/8]GGG {A}GGG|',
    "|:D|GGG GGG|1,3GGG GG:|2GGG GG:|3GGG GG|]",
]
FAULTY = {
    "GGG GGG|GGG GG|GGG GGG|": "bar 2 has 5/8 of a whole note, expected 3/4",
    "D|GGG GGGG|GGG GGG|": "bar 2 has 7/8 of a whole note, expected 3/4",
    "D|GGG GGG|GGG GGG:|": "the repeat after bar 3 makes a bar of 1/8, expected 3/4",
    "|:GGG GGG|GGG GG:|": "the repeat after bar 2 makes a bar of 11/8, expected 3/4",
    "|:D|GGG GGG|GGG GG::D2|GGG GGG|GGG G:|": "bar 4 has 7/8 of a whole note, expected 3/4",
    "|:D|GGG GGG|[1GGG GGG:|[2GGG GG|]": "the repeat after bar 3 makes a bar of 1/8, expected 3/4",
    "|:D|GGG GGG|[1GGG GG:|[2GGG GG||GGG GGG|]": "bar 5 has 11/8 of a whole note, expected 3/4",
    "DE|GGG GGG|GGG G||E|GGG GGG|]": "bar 4 has 5/8 of a whole note, expected 3/4",
    "GGG|GGG|GGG GGG|]": "bar 2 has 3/8 of a whole note, expected 3/4",
    "GGG GGG|GGG GGG::GGG GGG|GGG GGG|]": "a repeat is not closed",
    "|:GGG GGG|GGG GGG|": "a repeat is not closed",
    "GGG GGG|GGG GGG:|GGG GGG|GGG GGG:|": "the repeat after bar 4 was not opened",
    "GGG GGG|:GGG GGG|:GGG GGG:|": "a repeat is opened after bar 2 where one is open",
    'GGG G3 -|"D"A3 G3|': "G is tied to another note",
    'GGG "C#g"GGG|GGG GGG|': "'C#g' names no chord",
    'GGG GGG|"\nGGG GGG|': "a chord's name is not closed",
    'GGG "G\nGGG|GGG GGG|': "bar 1 has 7/8 of a whole note, expected 3/4",
    "|:GGG GGG|[1GGG GGG||": "the first ending has no :|",
    "|:GGG GGG|[1GGG GGG|[1GGG GGG:|": "two first endings with no :| between them, after bar 2",
    "GGG GGG-|AGG GGG|": "G is tied to another note",
    "GGG GGG|GGG GGg-|[Gb]GG GGG|": "g is tied to another note",
    "GGG GGG|[2GGG GGG|GGG GGG|]": "ending 2 comes before the first one",
}


@pytest.mark.parametrize("body", SOUND)
def test_nothing_is_said_of_a_sound_tune(body: str) -> None:
    assert faults(Tune(f"{HEADER}{body}\n")) == []


@pytest.mark.parametrize("body", FAULTY)
def test_a_fault_is_named(body: str) -> None:
    assert faults(Tune(f"{HEADER}{body}\n"))[0] == FAULTY[body]


def test_of_a_tune_that_goes_on_only_what_is_past_is_judged() -> None:
    begun = Tune(f"{HEADER}|:GGG GGG|GG")
    assert faults(begun, whole=False) == []
    assert faults(begun) == ["a repeat is not closed"]
    assert faults(Tune(f"{HEADER}GGG GGG|GGG GG|G"), whole=False) == ["bar 2 has 5/8 of a whole note, expected 3/4"]


@pytest.mark.parametrize("body", SOUND)
def test_no_beginning_of_a_sound_tune_has_a_fault(body: str) -> None:
    for end in range(len(body) + 1):
        assert faults(Tune(HEADER + body[:end]), whole=False) == []


def test_a_tune_without_a_metre_has_no_wrong_bar() -> None:
    assert faults(Tune("X:1\nL:1/8\nK:G\nGG|GGG|G|\n")) == []


def test_where_bar_lines_end() -> None:
    text = f'{HEADER}G"|"G|A[M:3/4]G:|2BB\nM:2/4\nA||'
    assert [text[end - 2 : end] for end in bar_lines(Tune(text))] == ["G|", "|2", "||"]
    assert bar_lines(Tune("X:1\nM:4/4\n")) == []


@pytest.mark.skipif(shutil.which("abc2midi") is None, reason="abc2midi is not here (apt install abcmidi)")
@pytest.mark.parametrize("body", [*SOUND, *FAULTY])
def test_abc2midi_says_the_same(body: str, tmp_path: Path) -> None:
    path = tmp_path / "tune.abc"
    path.write_text(f"{HEADER}{body}\n")
    command = ["abc2midi", str(path), "-o", str(tmp_path / "tune.mid")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert bool(re.search("warning|error", said.stdout + said.stderr, re.I)) == (body in FAULTY)
