"""``ostinato sample --abc``: tunes to their end, their sound, and what is no tune."""

from __future__ import annotations

import json
import random
import shutil
import wave
from pathlib import Path

import pytest
import symusic
from runs import command

import ostinato
from ostinato import music
from ostinato.errors import ConfigError, OstinatoError
from ostinato.language_model import LanguageModel, Writing
from ostinato.text.abc import Tune, read_tunes
from ostinato.text.metre import faults
from ostinato.tunes import Composed, compose

Capture = pytest.CaptureFixture[str]

TUNES = [
    "X:1\nR:jig\nM:6/8\nL:1/8\nK:G\nGAB cde|dcB A3|Bcd efg|fed G3|\n",
    "X:1\nR:reel\nM:4/4\nL:1/8\nK:D\nDEFG ABcd|edcB A4|BcdB ABAG|FEDE D4|\n",
]
HEADER = "X:1\nR:jig\nM:6/8\nL:1/8\nK:G\n"


@pytest.fixture(scope="module")
def fiddler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt two tunes by heart. Tests must not change it."""
    folder = tmp_path_factory.mktemp("fiddler")
    (folder / "tunes.abc").write_text("\n".join(random.Random(0).choices(TUNES, k=80)) + "\n")
    sizes = {"level": "char", "hidden": 64, "embed": 16, "batch": 8, "bptt": 64, "evaluations": 2, "dropout": 0.0}
    ostinato.train(folder / "tunes.abc", out=folder / "model", steps=250, lr=0.02, threads=1, **sizes)
    return folder / "model"


def test_a_tune_goes_on_from_its_header_and_ends(capsys: Capture, fiddler: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.abc"
    outcome = command(capsys, ["sample", fiddler, "--abc", out, "--prompt", HEADER, "--temperature", "0"])
    assert outcome.status == 0, outcome.err
    assert out.read_text() == TUNES[0]
    assert outcome.out == "tune 1: jig, 6/8, G; 4 bars, 4 as long as the metre says\n"
    escaped = HEADER.replace("\n", "\\n")
    command(capsys, ["sample", fiddler, "--abc", out, "--prompt", escaped, "--temperature", "0"])
    assert out.read_text() == TUNES[0]


def test_several_tunes_are_numbered_and_each_begins_anew(capsys: Capture, fiddler: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.abc"
    arguments = ["sample", fiddler, "--abc", out, "--count", "12", "--seed", "2", "--temperature", "0.3", "--json"]
    outcome = command(capsys, [*arguments, "--prompt", "X:1\nR:"])
    assert outcome.status == 0, outcome.err
    found = read_tunes(out)
    assert [tune.header["X"] for tune in found] == [str(number) for number in range(1, 13)]
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [record["index"] for record in records] == list(range(12))
    assert {record["seed"] for record in records} == {2}
    assert all(record["ended"] for record in records)
    assert {tune.header["R"] for tune in found} == {"jig", "reel"}


def test_what_breaks_the_metre_is_drawn_again(fiddler: Path) -> None:
    lm = ostinato.load(fiddler)
    assert isinstance(lm, LanguageModel)
    wrong = {}
    for redraw in (0, 30):
        options: Writing = {"temperature": 3.0, "seed": 3}
        made = [compose(lm, HEADER, tokens=300, redraw=redraw, options={**options, "index": k}) for k in range(6)]
        again = [compose(lm, HEADER, tokens=300, redraw=redraw, options={**options, "index": k}) for k in range(6)]
        assert made == again
        assert len({one.text for one in made}) == 6
        assert all(one.redrawn == 0 for one in made) == (redraw == 0)
        wrong[redraw] = sum(len(faults(Tune(one.text), whole=one.ended)) for one in made)
    assert wrong[30] < wrong[0] / 4
    assert wrong[0] >= 8


def test_what_was_learnt_by_heart_is_not_drawn_again(tmp_path: Path) -> None:
    """Ties to notes with octaves, fields and chord names among the bars: no beginning of them is at fault."""
    tune = "X:1\nR:jig\nM:6/8\nL:1/8\nK:G\nG,3 G2c'-|c'3 \"A\"G,3-|G,3 [K:D]A3|Z2|dcd G3|\n"
    (tmp_path / "tunes.abc").write_text(f"{tune}\n" * 80)
    sizes = {"level": "char", "hidden": 64, "embed": 16, "batch": 8, "bptt": 64, "evaluations": 2, "dropout": 0.0}
    lm = ostinato.train(tmp_path / "tunes.abc", out=tmp_path / "model", steps=250, lr=0.02, threads=1, **sizes)
    options: Writing = {"temperature": 0.1, "seed": 1}
    assert compose(lm, HEADER, options=options) == Composed(tune.rstrip("\n"), True, 0)


def test_a_tune_ends_before_a_stop_string_in_whatever_bar(fiddler: Path) -> None:
    lm = ostinato.load(fiddler)
    options: Writing = {"temperature": 0.0}
    whole = TUNES[0].rstrip("\n")
    assert compose(lm, HEADER, options=options) == Composed(whole, True, 0)
    for stop in ("fed", "3|Bcd", "|f"):
        found = compose(lm, HEADER, options={**options, "stop": [stop]})
        assert found == Composed(whole[: whole.index(stop, len(HEADER))], True, 0)
    with pytest.raises(ConfigError, match="a stop string is empty"):
        compose(lm, HEADER, options={**options, "stop": [""]})


def test_a_prompt_may_hold_music_and_a_limit_cuts_just_there(fiddler: Path) -> None:
    lm = ostinato.load(fiddler)
    options: Writing = {"temperature": 0.0}
    begun = HEADER + "GAB cde|dc"
    rest = len(TUNES[0]) + 1 - len(begun)
    assert compose(lm, begun, tokens=rest, options=options) == Composed(TUNES[0].rstrip("\n"), True, 0)
    assert not compose(lm, begun, tokens=rest - 1, options=options).ended


def test_a_tune_that_is_cut_says_so(capsys: Capture, fiddler: Path, tmp_path: Path) -> None:
    arguments = ["sample", fiddler, "--abc", tmp_path / "out.abc", "--prompt", HEADER, "--temperature", "0"]
    assert command(capsys, [*arguments, "--tokens", "12"]).out.endswith("cut: give more --tokens\n")


def test_what_is_no_tune_is_reported_and_left_out(capsys: Capture, fiddler: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.abc"
    outcome = command(capsys, ["sample", fiddler, "--abc", out, "--prompt", "GAB ", "--tokens", "9", "--count", "2"])
    assert outcome.status == 1
    lines = outcome.err.splitlines()
    assert [line.split(": ")[:3] for line in lines[:2]] == [
        ["ostinato", f"sample {number}", "the model wrote no tune"] for number in (0, 1)
    ]
    assert "no tune was written, so" in lines[2]
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--abc", "out.txt"], "out.txt ends in '.txt'; expected .abc"),
        (["--redraw", "3"], "--redraw is for tunes; give --abc FILE too"),
        (["--abc", "out.abc", "--redraw", "-1"], "redraw is -1; expected a whole number from 0"),
        (["--abc", "out.abc", "--no-repeat-ngram", "3"], "tunes repeat themselves"),
        (["--sound"], "--sound plays tunes; give --abc FILE too"),
        (["--abc", "out.abc", "--tokens", "0"], "tokens is 0; expected a whole number from 1"),
        (["--abc", "none/out.abc", "--prompt", HEADER], "none/out.abc cannot be written"),
        (["--abc", "out.abc", "--prompt", "X:1\nK:Ü\n"], "the text holds 1 character that the model never saw: 'Ü'"),
    ],
)
def test_wrong_use(
    capsys: Capture, fiddler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = command(capsys, ["sample", fiddler, *arguments])
    assert outcome.status == 1
    assert message in outcome.message


def played(path: Path, midi: Path, player: tuple[str, str]) -> None:
    """In place of fluidsynth."""
    assert symusic.Score.from_midi(midi.read_bytes()).note_num() > 10
    path.write_bytes(b"RIFF")


def test_the_sound_of_tunes(capfd: Capture, fiddler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(music, "find_player", lambda: ("fluidsynth", "font"))
    monkeypatch.setattr(music, "write_wav", played)
    arguments = ["sample", fiddler, "--abc", tmp_path / "one.abc", "--prompt", HEADER, "--sound", "--temperature", "0"]
    outcome = command(capfd, arguments)
    assert (outcome.status, outcome.err) == (0, "")
    score = symusic.Score.from_midi((tmp_path / "one.mid").read_bytes())
    assert [note.pitch for note in score.tracks[0].notes][:3] == [67, 69, 71]
    arguments = ["sample", fiddler, "--abc", tmp_path / "two.abc", "--temperature", "0", "--count", "2", "--sound"]
    command(capfd, arguments)
    assert {path.name for path in tmp_path.iterdir()} == {
        "one.abc", "one.mid", "one.wav", "two.abc", "two-1.mid", "two-1.wav", "two-2.mid", "two-2.wav",
    }  # fmt: skip


def test_what_remarks_abc2midi_has_do_not_reach_the_terminal(capfd: Capture, tmp_path: Path) -> None:
    music.write_tune_midi(tmp_path / "a.mid", "X:1\nM:6/8\nK:G\nGA|GABCDEF|[[\n")
    assert capfd.readouterr() == ("", "")
    print("heard again")
    assert capfd.readouterr().out == "heard again\n"
    with pytest.raises(OstinatoError, match="no MIDI of 'no tune'"):
        music.write_tune_midi(tmp_path / "b.mid", "no tune")


def test_what_is_missing_is_said_and_the_rest_is_done(
    capsys: Capture, fiddler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["sample", fiddler, "--abc", tmp_path / "a.abc", "--prompt", HEADER, "--sound", "--temperature", "0"]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    outcome = command(capsys, arguments)
    assert outcome.status == 1
    assert "no .wav: sound needs fluidsynth, which is not here; install it" in outcome.message
    assert (tmp_path / "a.mid").exists()
    monkeypatch.setattr(shutil, "which", lambda _: "fluidsynth")
    monkeypatch.setattr(music, "SOUNDFONTS", (str(tmp_path),))
    assert "fluidsynth needs a soundfont, none is in" in command(capsys, arguments).message
    (tmp_path / "a.mid").unlink()
    monkeypatch.setitem(__import__("sys").modules, "symusic", None)
    outcome = command(capsys, arguments)
    assert outcome.status == 1
    assert 'MIDI needs symusic, which is not here: pip install "ostinato[music]"' in outcome.err
    assert (tmp_path / "a.abc").exists()
    assert not (tmp_path / "a.mid").exists()


def test_a_player_that_fails(tmp_path: Path) -> None:
    with pytest.raises(OstinatoError, match=r"a\.wav: fluidsynth could not play"):
        music.write_wav(tmp_path / "a.wav", tmp_path / "none.mid", ("false", "font"))
    with pytest.raises(OstinatoError, match=r"a\.wav: fluidsynth could not play"):
        music.write_wav(tmp_path / "a.wav", tmp_path / "none.mid", (str(tmp_path / "no program"), "font"))
    program = tmp_path / "half"
    program.write_text('#!/bin/sh\nwhile [ "$1" != -F ]; do shift; done; echo RIFF > "$2"; exit 1\n')
    program.chmod(0o755)
    with pytest.raises(OstinatoError, match=r"a\.wav: fluidsynth could not play"):
        music.write_wav(tmp_path / "a.wav", tmp_path / "none.mid", (str(program), "font"))
    assert list(tmp_path.iterdir()) == [program]


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is a program of its own")
def test_fluidsynth_plays(tmp_path: Path) -> None:
    music.write_tune_midi(tmp_path / "a.mid", TUNES[0])
    music.write_wav(tmp_path / "a.wav", tmp_path / "a.mid", music.find_player())
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getframerate() == 44100
        assert file.getnframes() > 44100
