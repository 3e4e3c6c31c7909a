"""From pieces to a model that composes and harmonises, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composing import chorale
from runs import Outcome, command, flags

import ostinato
from ostinato import music
from ostinato.data.rolls import melody_of, to_roll, to_steps
from ostinato.errors import ConfigError, MusicError
from ostinato.pipeline.listener import Listener

Capture = pytest.CaptureFixture[str]

QUICK: dict[str, Any] = {"task": "music", "hidden": 32, "embed": 24, "transpose": 2, "threads": 1, "evaluations": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``parts.json`` with three parts, and ``pieces.json`` with all of them in a row."""
    folder = tmp_path_factory.mktemp("chorales")
    pieces = [to_steps(chorale(seed)) for seed in range(40)]
    parts = {"train": pieces[:30], "valid": pieces[30:35], "test": pieces[35:]}
    (folder / "parts.json").write_text(json.dumps(parts))
    (folder / "pieces.json").write_text(json.dumps(pieces))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two seconds' training. Tests must not change it."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    ostinato.train(data / "parts.json", out=folder, steps=150, lr=0.02, **QUICK)
    return folder


@pytest.fixture(scope="module")
def harmoniser(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is given the whole melody."""
    folder = tmp_path_factory.mktemp("harmoniser") / "model"
    ostinato.train(data / "parts.json", out=folder, steps=150, lr=0.02, melody="whole", **QUICK)
    return folder


def ok(outcome: Outcome) -> str:
    assert outcome.status == 0, outcome.err
    return outcome.out


def test_what_training_reports_is_what_scoring_finds(trained: Path, data: Path) -> None:
    composer = ostinato.load(trained)
    pieces = json.loads((data / "parts.json").read_text())["test"]
    nats = np.concatenate([composer.nats(piece) for piece in pieces])
    reported = composer.training["test"]
    assert reported["nats_per_step"] == pytest.approx(nats.mean(), rel=1e-4)
    assert reported["steps"] == len(nats) == 5 * 24
    assert reported["pieces"] == 5
    assert f"{reported['nats_per_step']:.4f} nats per step" in (trained / "README.md").read_text()
    assert "30 pieces, 720 steps of parts.json" in (trained / "README.md").read_text()


def test_it_learns_the_chords_and_the_walk(trained: Path, data: Path) -> None:
    """Told apart from one of a few steps, and from shuffled steps: both chords and their order are learnt."""
    composer = ostinato.load(trained)
    piece = to_steps(chorale(99))
    shuffled = [piece[number] for number in np.random.default_rng(0).permutation(len(piece))]
    assert composer.score(piece) < 4.0
    assert composer.score(shuffled) > composer.score(piece) + 1.0
    assert composer.nats(shuffled).shape == (24,)


def test_inspect_says_the_sizes(capsys: Capture, trained: Path) -> None:
    report = json.loads(ok(command(capsys, ["inspect", trained, "--json"])))
    assert report["parameters"] == sum(report["parts"].values())
    assert set(report["parts"]) == {"embedding", "layer 0", "chain", "output"}
    assert report["state_bytes"] == 4 * (2 * 32 + 88)
    assert "vocab" not in report
    shown = ok(command(capsys, ["inspect", trained]))
    assert "lstm 1 x 32, embedding 24, output chain of 16 units" in shown
    assert "30 pieces, 720 steps of parts.json" in shown


def test_composing_into_midi_and_json(capsys: Capture, trained: Path, tmp_path: Path) -> None:
    composer = ostinato.load(trained)
    out = tmp_path / "piece.mid"
    line = ok(command(capsys, ["compose", trained, "-o", out, "--steps", "20", "--seed", "3"]))
    expected = composer.compose(20, seed=3)
    assert to_steps(music.read_pieces(out, 1.0)[0].roll) == expected[: _last_sound(expected)]
    assert line == (f"{out}\t20 steps\t{sum(map(len, expected))} keys\t{composer.score(expected):.3f} nats per step\n")
    arguments = ["compose", trained, "-o", tmp_path / "p.json", "--count", "3", "--seed", "3", "--steps", "9", "--json"]
    records = [json.loads(line) for line in ok(command(capsys, arguments)).splitlines()]
    assert [record["file"] for record in records] == [str(tmp_path / f"p-{number}.json") for number in (1, 2, 3)]
    pieces = [json.loads(Path(record["file"]).read_text())[0] for record in records]
    assert pieces == [composer.compose(9, seed=3, index=index) for index in range(3)]
    assert pieces[0] != pieces[1]
    assert records[1] == {
        "file": str(tmp_path / "p-2.json"), "steps": 9, "notes": sum(map(len, pieces[1])),
        "nats_per_step": pytest.approx(composer.score(pieces[1])), "seed": 3, "index": 1, "melody": None,
    }  # fmt: skip


def _last_sound(steps: list[list[int]]) -> int:
    return max(number for number, step in enumerate(steps, start=1) if step)


def test_a_prompt_stands_at_the_beginning(capsys: Capture, trained: Path, tmp_path: Path) -> None:
    begin = to_steps(chorale(7, steps=6))
    (tmp_path / "begin.json").write_text(json.dumps([begin]))
    out = tmp_path / "p.json"
    ok(
        command(
            capsys, ["compose", trained, "-o", out, "--prompt", tmp_path / "begin.json", "--steps", "8", "--seed", "1"]
        )
    )
    (piece,) = json.loads(out.read_text())
    assert piece[:6] == begin
    assert len(piece) == 14
    composer = ostinato.load(trained)
    assert piece[6:] == composer.compose(8, prompt=begin, seed=1)
    assert composer.compose(8, seed=1) != piece[6:]


def test_the_state_goes_on_where_a_piece_ended(trained: Path) -> None:
    """After a piece the model expects what it expects after having heard that piece."""
    composer = ostinato.load(trained)
    begin = composer.compose(10, seed=4)
    state = composer.state
    assert composer.compose(6, seed=5, state=state) == composer.compose(6, seed=5, prompt=begin)


def test_the_melody_is_kept_and_gets_its_chords(capsys: Capture, harmoniser: Path, tmp_path: Path) -> None:
    piece = chorale(77)
    melody = [[step[-1]] for step in to_steps(piece)]
    melody[5] = []
    (tmp_path / "melody.json").write_text(json.dumps([melody]))
    out = tmp_path / "out.json"
    arguments = ["compose", harmoniser, "--harmonise", tmp_path / "melody.json", "--temperature", "0", "--json"]
    record = json.loads(ok(command(capsys, [*arguments, "-o", out])))
    found = json.loads(Path(record["file"]).read_text())[0]
    assert [step[-1:] for step in found] == melody
    assert record["melody"] == f"{tmp_path / 'melody.json'}, piece 1"
    right = np.mean([step == chord for step, chord in zip(found, to_steps(piece), strict=True)])
    assert right > 0.5
    ok(command(capsys, [*arguments, "-o", tmp_path / "out.mid"]))
    (midi,) = music.read_pieces(tmp_path / "out.mid", 1.0)
    assert np.array_equal(melody_of(midi.roll), melody_of(to_roll(melody, "")))


def test_a_bad_melody_does_not_stop_the_others(capsys: Capture, harmoniser: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.mid"
    music.write_midi(good, [chorale(5)[:, :]], 1.0)
    cut = tmp_path / "cut.mid"
    cut.write_bytes(good.read_bytes()[:60])
    (tmp_path / "high.json").write_text("[[[60], [120]]]")
    (tmp_path / "empty.json").write_text("[[]]")
    files = [tmp_path / "none.mid", good, cut, tmp_path / "high.json", tmp_path / "empty.json", good]
    outcome = command(capsys, ["compose", harmoniser, "-o", tmp_path / "out.mid", "--seed", "1", "--harmonise", *files])
    assert outcome.status == 1
    assert [line.split("\t")[:2] for line in outcome.out.splitlines()] == [
        [str(tmp_path / f"out-{number}.mid"), "24 steps"] for number in (1, 2)
    ]
    errors = outcome.err.splitlines()
    assert [error.split(" ")[0] for error in errors] == ["ostinato:"] * 4
    assert "no such file of music" in errors[0]
    assert f"{cut} is cut: of the 1 tracks in its header 0 are whole" in errors[1]
    assert "high.json, piece 1, step 2 has pitch 120; expected a whole number from 21 to 108" in errors[2]
    assert "empty.json, piece 1 is empty" in errors[3]
    (tmp_path / "folder").mkdir()
    for name, source in (("bad.mid", cut), ("fine.mid", good)):
        (tmp_path / "folder" / name).write_bytes(source.read_bytes())
    some = ["compose", harmoniser, "-o", tmp_path / "one.mid", "--harmonise", tmp_path / "folder"]
    outcome = command(capsys, some)
    assert (outcome.status, len(outcome.out.splitlines())) == (1, 1)
    assert "bad.mid is cut" in outcome.message
    assert (tmp_path / "one.mid").exists()
    outcome = command(capsys, ["compose", harmoniser, "-o", good, "--harmonise", good])
    assert "good.mid: this is what is read" in outcome.message


def test_wrong_use(capsys: Capture, trained: Path, harmoniser: Path, tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text("[[[60]], [[61]]]")
    (tmp_path / "nothing.json").write_text("[]")
    for arguments, message in [
        ([trained, "-o", "a.wav"], "a.wav ends in '.wav'; expected .mid for MIDI, or .json"),
        (["no model", "-o", "/none/a.mid"], "/none/a.mid: there is no folder /none"),
        ([trained, "--count", "0"], "count is 0; expected a whole number from 1"),
        ([trained, "--steps", "0"], "steps is 0; expected 1 to"),
        ([trained, "--temperature", "-1"], "temperature is -1.0"),
        ([trained, "--seed", "-1"], "seed is -1"),
        ([trained, "--bpm", "0"], "bpm is 0.0; expected a number from 4.0"),
        ([trained, "--prompt", tmp_path / "none.mid"], "no such file of music"),
        ([trained, "--prompt", tmp_path / "two.json"], "two.json holds 2 pieces; expected one"),
        ([trained, "--harmonise", tmp_path / "two.json"], "not taught to harmonise a melody; train one with --melody"),
        ([harmoniser, "--harmonise"], "--harmonise names no file; expected one or more melodies behind it"),
        (
            [harmoniser, "--harmonise", tmp_path / "nothing.json"],
            "no melody is in those files, so nothing was composed",
        ),
        ([harmoniser], "this model finds the keys below a melody; harmonise one (compose --harmonise FILE)"),
        ([harmoniser, "--prompt", "a.mid", "--harmonise", "b.mid"], "--prompt begins a piece, --harmonise brings"),
    ]:
        outcome = command(capsys, ["compose", *arguments])
        assert outcome.status == 1, arguments
        assert message in outcome.message
    assert "this wants a model that writes or scores text" in command(capsys, ["sample", trained]).message
    assert "composes music (ostinato compose)" in command(capsys, ["score", trained, "x"]).message
    with pytest.raises(MusicError, match="the piece is empty"):
        ostinato.load(trained).score([])


class StopAfter(Listener):
    """Asks to stop after so many reports of a finished step."""

    def __init__(self, asked: int) -> None:
        self._left = asked

    def stop(self) -> bool:
        self._left -= 1
        return self._left <= 0


def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bytes(data: Path, tmp_path: Path) -> None:
    """Dropout and transposition are on: both have to go on where they were."""
    settings = {**QUICK, "steps": 24, "dropout": 0.3, "bptt": 10}
    ostinato.train(data / "parts.json", out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        ostinato.train(data / "parts.json", out=tmp_path / "cut", listener=StopAfter(7), **settings)
    ostinato.train(out=tmp_path / "cut", resume=True)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_resuming_with_other_pieces_is_refused(data: Path, tmp_path: Path) -> None:
    pieces = json.loads((data / "pieces.json").read_text())
    (tmp_path / "p.json").write_text(json.dumps(pieces))
    ostinato.train(tmp_path / "p.json", out=tmp_path / "model", steps=2, **QUICK)
    pieces[3][2] = []
    (tmp_path / "p.json").write_text(json.dumps(pieces))
    with pytest.raises(ConfigError, match="--resume with another text"):
        ostinato.train(out=tmp_path / "model", resume=True, steps=4)


def test_which_pieces_are_held_out(data: Path, tmp_path: Path) -> None:
    def parts(*texts: Path, **given: Any) -> list[int]:
        trained = ostinato.train(*texts, out=tmp_path / "model", force=True, steps=1, **QUICK, **given).training
        return [trained["train_pieces"], trained["valid"]["pieces"], trained.get("test", {"pieces": 0})["pieces"]]

    divided, row = data / "parts.json", data / "pieces.json"
    assert parts(divided) == [30, 5, 5]
    assert parts(row) == [36, 4, 0]
    assert parts(row, valid="0.25") == [30, 10, 0]
    assert parts(divided, valid="0.2") == [28, 7, 5]
    assert parts(divided, row) == [70, 5, 5]
    assert parts(row, valid=str(divided), test=str(divided)) == [40, 5, 5]
    assert parts(divided, valid=str(row)) == [30, 40, 5]


def test_a_folder_of_midi_trains_as_its_pieces_in_json(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "midi"
    folder.mkdir()
    rolls = [chorale(seed, 12) for seed in range(10)]
    for number, roll in enumerate(rolls):
        music.write_midi(folder / f"{number}.mid", [roll], 0.5)
    music.write_json(tmp_path / "row.json", rolls)
    files = sorted(folder.glob("*.mid"))
    for name, texts in (("folder", [folder]), ("files", files), ("json", [tmp_path / "row.json"])):
        ostinato.train(*texts, out=tmp_path / name, steps=3, beats=0.5, **QUICK)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("folder", "files", "json")]
    assert weights[0] == weights[1] == weights[2]
    assert ostinato.load(tmp_path / "json").model.beats == 0.5


def test_a_copy_in_eight_bits_says_nearly_the_same(trained: Path, tmp_path: Path) -> None:
    ostinato.export(trained, tmp_path / "small", int8=True)
    scores = [ostinato.load(folder).score(to_steps(chorale(3))) for folder in (trained, tmp_path / "small")]
    assert 0.0 < abs(scores[0] - scores[1]) < 0.2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[[60]]]", "there are no pieces to train on, of 1 in all; give more, or --valid FILE to hold out"),
        ("[]", "there are no pieces to train on, of 0 in all"),
        ('{"valid": [[[60]]]}', "there are no pieces to train on, of 1 in all"),
        ("no json", "line 1, is no JSON"),
        ("[[[60]], [[60], [110]]]", "piece 2, step 2 has pitch 110"),
        ('{"train": [[[60]]], "valid": []}', "there are no pieces held out"),
    ],
)
def test_pieces_that_cannot_be_used(capsys: Capture, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    outcome = command(capsys, ["train", tmp_path / "bad.json", "-o", tmp_path / "m", *flags(**QUICK, steps=2)])
    assert outcome.status == 1
    assert message in outcome.message
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": "chian"}, "output is 'chian'; expected one of chain, bernoulli; did you mean 'chain'?"),
        ({"melody": "half"}, "melody is 'half'; expected one of none, past, whole"),
        ({"beats": 0}, "beats is 0.0; expected a number from"),
        ({"transpose": 99}, "transpose is 99; expected a whole number from 0 to 48"),
        ({"level": "word"}, "level is for texts; leave it out"),
        ({"label_smoothing": 0.1}, "label_smoothing is for --task translate and classify"),
        ({"images": "x"}, "images is for --task caption"),
    ],
)
def test_settings_that_cannot_be(
    capsys: Capture, data: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    given = flags(**{**QUICK, "steps": 2, **settings})
    outcome = command(capsys, ["train", data / "parts.json", "-o", tmp_path / "m", *given])
    assert outcome.status == 1
    assert message in outcome.message


def test_a_budget_in_minutes_is_kept(data: Path, tmp_path: Path) -> None:
    composer = ostinato.train(data / "parts.json", out=tmp_path / "m", minutes=0.05, task="music", output="bernoulli")
    assert composer.training["seconds"] < 8
    assert composer.training["steps"] > 0
    assert "chain" not in (tmp_path / "m" / "training" / "run.toml").read_text().split()
