"""From recordings to a model that transcribes, through the command line: made-up speech, a tone for each letter."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import speech
from runs import Outcome, command, flags

import ostinato
from ostinato.ctc import LabelModel, Labels
from ostinato.errors import ConfigError, SoundError
from ostinato.pipeline.listener import Listener
from ostinato.recogniser import Recogniser, Word
from ostinato.score.kneser_ney import learn_arpa

Capture = pytest.CaptureFixture[str]

QUICK: dict[str, Any] = {
    "task": "transcribe", "mels": 16, "layers": 1, "hidden": 24, "threads": 1, "dropout": 0.0, "speed": 0.0,
    "average": 0.0, "evaluations": 2,
}  # fmt: skip
SOLVES: dict[str, Any] = {**QUICK, "hidden": 48, "lr": 0.02, "join": 3, "steps": 500}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train.tsv`` and ``valid.tsv`` with their recordings; some of the held-out ones say several words."""
    folder = tmp_path_factory.mktemp("speech")
    speech.write_list(folder, "train", [*speech.TONES, *speech.texts(60)])
    held_out = speech.texts(9, seed=1)
    speech.write_list(folder, "valid", [*held_out, " ".join(held_out[:2]), " ".join(held_out[2:5])], seed=1)
    return folder


def train(data: Path, out: Path, **changes: Any) -> Recogniser:
    model = ostinato.train(data / "train.tsv", valid=str(data / "valid.tsv"), out=out, **{**QUICK, **changes})
    assert isinstance(model, Recogniser)
    return model


@pytest.fixture(scope="module")
def both(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads in both directions. Tests must not change it."""
    folder = tmp_path_factory.mktemp("both") / "model"
    train(data, folder, **SOLVES)
    return folder


@pytest.fixture(scope="module")
def forward(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that streams. Tests must not change it."""
    folder = tmp_path_factory.mktemp("forward") / "model"
    train(data, folder, **SOLVES, bidirectional=False)
    return folder


def ok(outcome: Outcome) -> str:
    assert outcome.status == 0, outcome.err
    return outcome.out


def lines(data: Path) -> list[list[str]]:
    return [line.split("\t") for line in (data / "valid.tsv").read_text().splitlines()]


@pytest.mark.parametrize("name", ["both", "forward"])
def test_it_learns_to_spell_what_it_hears(name: str, data: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    recogniser = ostinato.load(folder)
    reported = recogniser.training["valid"]
    heard = [recogniser.transcribe(data / path).text for path, *_ in lines(data)]
    meant = [text for _, text, *_ in lines(data)]
    assert reported["cer"] < 0.1
    assert reported["recordings"] == len(meant)
    wrong = sum(a != b for pair in zip(meant, heard, strict=True) for a, b in zip(*map(str.split, pair), strict=False))
    assert wrong <= reported["wer"] * reported["words"] + 1e-9
    card = (folder / "README.md").read_text()
    assert f"{reported['wer']:.2%} of words wrong" in card
    assert "A recurrent model that transcribes speech" in card


def test_words_have_times(both: Path) -> None:
    rng = np.random.default_rng(9)
    first, second = speech.say("abc", rng), speech.say("dab", rng)
    gap = np.zeros(speech.RATE // 2, np.float32)
    found = ostinato.load(both).transcribe(np.concatenate([gap, first, gap, second, gap]), speech.RATE)
    assert [word.text for word in found.words] == found.text.split() == ["abc", "dab"]
    begin = len(gap) / speech.RATE
    assert begin - 0.05 <= found.words[0].start < found.words[0].end <= begin + len(first) / speech.RATE + 0.1
    begin += (len(first) + len(gap)) / speech.RATE
    assert begin - 0.05 <= found.words[1].start < found.words[1].end <= begin + len(second) / speech.RATE + 0.1
    assert found.seconds == pytest.approx(3 * 0.5 + (len(first) + len(second)) / speech.RATE)
    assert found.logprob < 0.0
    for cut in range(len(second) // 2, len(second), 97):
        sound = np.concatenate([gap, second[:cut]])
        for beam in (1, 4):
            found = ostinato.load(both).transcribe(sound, speech.RATE, beam=beam)
            assert all(word.end <= found.seconds for word in found.words)


def test_other_rates_and_channels_sound_the_same(both: Path, tmp_path: Path) -> None:
    recogniser = ostinato.load(both)
    samples = speech.say("abcd", np.random.default_rng(2), 16_000)
    stereo = np.stack([samples, samples], axis=1)
    (tmp_path / "a.wav").write_bytes(speech.wav(stereo.astype(np.float32), 16_000, kind=3, bits=32))
    assert recogniser.transcribe(tmp_path / "a.wav").text == "abcd"
    assert recogniser.transcribe(samples, 16_000).text == "abcd"
    assert recogniser.transcribe(np.zeros(speech.RATE, np.float32), speech.RATE).text == ""
    assert recogniser.transcribe(np.zeros(1, np.float32), speech.RATE).words == ()


def test_a_stream_finds_what_the_whole_has(forward: Path, data: Path) -> None:
    recogniser = ostinato.load(forward)
    rng = np.random.default_rng(0)
    sound = speech.say("ab dca bd", rng)
    whole = recogniser.transcribe(sound, speech.RATE)
    assert len(whole.words) >= 2
    for size in (1, 77, 800, len(sound)):
        listening = recogniser.listen()
        found: list[Word] = []
        for at in range(0, len(sound), size):
            before = listening.partial
            found += listening.hear(sound[at : at + size])
            assert listening.partial.startswith(before) or found
        assert listening.seconds == pytest.approx(len(sound) / speech.RATE)
        found += listening.finish()
        assert tuple(found) == whole.words


def test_a_beam_with_a_language_model(both: Path, data: Path, tmp_path: Path) -> None:
    """A model of the words that are said makes no sound of another, however little it hears of it."""
    text = tmp_path / "said.txt"
    text.write_text("abcd abcd\nabcd\n" * 200, "utf-8")
    lm = ostinato.train(text, out=tmp_path / "lm", level="char", hidden=16, steps=60, threads=1)
    with pytest.raises(ConfigError, match="the language model has no token 'y'"):
        LabelModel(lm.engine, lm.tokenizer, Labels(("x", "y"), 0))
    recogniser = ostinato.load(both)
    sound = speech.say("abcd", np.random.default_rng(4))
    plain = recogniser.transcribe(sound, speech.RATE, beam=4)
    assert plain.text == recogniser.transcribe(sound, speech.RATE).text
    assert plain.logprob >= recogniser.transcribe(sound, speech.RATE).logprob  # of all paths, not of one
    strong = LabelModel(lm.engine, lm.tokenizer, recogniser.labels, weight=30.0, bonus=0.0)
    odd = speech.say("abd", np.random.default_rng(5))
    assert recogniser.transcribe(odd, speech.RATE).text == "abd"
    wide = recogniser.transcribe(odd, speech.RATE, beam=16, fusions=[strong])
    assert wide.text != "abd"
    assert recogniser.transcribe(odd, speech.RATE, fusions=[strong]) == wide


def test_models_of_words_and_hot_words(capsys: Capture, both: Path, tmp_path: Path) -> None:
    """What is heard as ``abd`` becomes the word that a model, or whoever asks, knows to be likely."""
    sound = speech.write_wav(tmp_path / "odd.wav", speech.say("abd", np.random.default_rng(5)))
    text = tmp_path / "said.txt"
    text.write_text("abcd\nabcd a\n" * 100)
    learn_arpa(text, tmp_path / "said.arpa", order=2)
    ostinato.train(text, out=tmp_path / "words", level="word", hidden=16, steps=40, threads=1)

    def heard(*arguments: Any) -> str:
        return ok(command(capsys, ["transcribe", both, sound, *arguments])).strip().split("\t")[1]

    assert heard() == heard("--hot", "abcd=0") == "abd"
    assert heard("--lm", tmp_path / "said.arpa", "--weight", "40") == "abcd"
    assert heard("--lm", tmp_path / "words", "--weight", "40", "--beam", "500") != "abd"
    assert heard("--hot", "abcd=60") == "abcd"
    text.write_text("ABCD\nABCD A\n" * 100)
    learn_arpa(text, tmp_path / "loud.arpa", order=2)
    (tmp_path / "few.txt").write_text("a c\n" * 50)
    ostinato.train(tmp_path / "few.txt", out=tmp_path / "few", level="char", hidden=16, steps=4, threads=1)
    few = command(capsys, ["transcribe", both, sound, "--lm", tmp_path / "few"])
    assert f"--lm {tmp_path}/few: the language model has no token 'b', 'd' (char level)" in few.message
    assert (
        "--hot ab is given twice"
        in command(capsys, ["transcribe", both, sound, "--hot", "ab=1", "--hot", "ab=2"]).message
    )
    loud = command(capsys, ["transcribe", both, sound, "--lm", tmp_path / "loud.arpa"])
    assert "the labels can spell 0 of the 2 words of the lexicon; 'A', for one, has 'A'" in loud.message
    wrong = {"abcd": "--hot is 'abcd'; expected WORD=NATS", "abcd=x": "expected WORD=NATS", "xy=1": "no label has"}
    for given, message in wrong.items():
        assert message in command(capsys, ["transcribe", both, sound, "--hot", given]).message


def test_files_in_text_and_json(capsys: Capture, both: Path, data: Path) -> None:
    sounds = [data / path for path, *_ in lines(data)[:3]]
    recogniser = ostinato.load(both)
    expected = [recogniser.transcribe(sound) for sound in sounds]
    printed = ok(command(capsys, ["transcribe", both, *sounds])).splitlines()
    assert printed == [f"{sound}\t{found.text}" for sound, found in zip(sounds, expected, strict=True)]
    records = [json.loads(line) for line in ok(command(capsys, ["transcribe", both, *sounds, "--json"])).splitlines()]
    for record, sound, found in zip(records, sounds, expected, strict=True):
        assert record.keys() == {"file", "text", "words", "seconds", "logprob"}
        assert (record["file"], record["text"], record["logprob"]) == (str(sound), found.text, found.logprob)
        assert [(word["text"], word["start"], word["end"]) for word in record["words"]] == [
            (word.text, word.start, word.end) for word in found.words
        ]


def test_streamed_files(capsys: Capture, forward: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = data / lines(data)[-1][0]
    whole = ostinato.load(forward).transcribe(sound)
    assert ok(command(capsys, ["transcribe", forward, sound, "--stream"])) == f"{sound}\t{whole.text}\n"
    printed = ok(command(capsys, ["transcribe", forward, sound, "--stream", "--json"])).splitlines()
    words = [json.loads(line) for line in printed]
    assert [word["text"] for word in words] == whole.text.split()
    assert all(word["start"] < word["end"] <= word["heard"] <= whole.seconds + 0.1 for word in words)
    assert words[0]["heard"] < whole.seconds  # before the sound has ended

    class Input:
        buffer = io.BytesIO(sound.read_bytes())

        @staticmethod
        def isatty() -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Input)
    assert ok(command(capsys, ["transcribe", forward, "-", "--stream"])) == f"-\t{whole.text}\n"


def test_a_bad_file_does_not_stop_the_others(
    capsys: Capture, both: Path, forward: Path, data: Path, tmp_path: Path
) -> None:
    good = data / "valid" / "0.wav"
    cut = tmp_path / "cut.wav"
    cut.write_bytes(good.read_bytes()[:-50])
    for folder, more in ((both, []), (forward, ["--stream"])):
        outcome = command(capsys, ["transcribe", folder, tmp_path / "none.wav", good, cut, good, *more])
        assert outcome.status == 1
        names = [line.split("\t")[0] for line in outcome.out.splitlines()]
        assert [name for name in names if name != str(cut)] == [str(good), str(good)]
        first, second = outcome.err.splitlines()
        assert first.startswith(f"ostinato: no such sound: {tmp_path / 'none.wav'}")
        assert second.startswith(f"ostinato: {cut} is cut: ")


def test_wrong_use(capsys: Capture, both: Path, forward: Path, data: Path, tmp_path: Path) -> None:
    sound = data / "valid" / "0.wav"
    (tmp_path / "fast.wav").write_bytes(speech.wav(np.zeros(99, np.int16), 16_000))
    cases: list[tuple[list[Any], str]] = [
        ([both], "no sound was given; name one or more WAV files"),
        ([both, "-"], "standard input is read as it comes: give --stream"),
        ([both, sound, "--stream"], "the model reads sounds in both directions"),
        ([forward, sound, "--stream", "--beam", "5"], "--stream shows words that stay as they are"),
        ([forward, tmp_path / "fast.wav", "--stream"], "has 16,000 samples a second, the model reads 8,000"),
        ([both, sound, "--beam", "0"], "--beam is 0; expected a whole number from 1"),
        ([both, sound, "--weight", "2"], "--weight is of a language model; expected --lm beside it"),
        ([both, sound, "--bonus", "0"], "--bonus is of a language model; expected --lm beside it"),
        ([both, sound, "--lm", both], "this wants a model that writes or scores text"),
    ]
    for arguments, message in cases:
        outcome = command(capsys, ["transcribe", *arguments])
        assert outcome.status == 1
        assert message in outcome.message
    assert "this wants a model that writes" in command(capsys, ["sample", both]).message
    assert "encoder lstm 1 x 48, 16 mel bands, 2 frames a step, 8000 Hz" in ok(command(capsys, ["inspect", both]))


def test_samples_that_cannot_be(both: Path) -> None:
    recogniser = ostinato.load(both)
    with pytest.raises(SoundError, match=r"an array of int16 of shape \(9,\); expected floats"):
        recogniser.transcribe(np.zeros(9, np.int16), 8000)
    with pytest.raises(SoundError, match="the sound holds numbers that are not finite"):
        recogniser.transcribe(np.array([0.0, np.inf]), 8000)
    with pytest.raises(SoundError, match="rate is None; say how many samples a second"):
        recogniser.transcribe(np.zeros(9))


class StopAfter(Listener):
    """Asks to stop after so many reports of a finished step."""

    def __init__(self, asked: int) -> None:
        self._left = asked

    def stop(self) -> bool:
        self._left -= 1
        return self._left <= 0


def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bytes(data: Path, tmp_path: Path) -> None:
    """Dropout, joining, noise and speed are on: all have to go on where they were."""
    settings = {"steps": 12, "dropout": 0.3, "join": 3, "noise": 0.5, "speed": 0.1, "average": 0.9}
    train(data, tmp_path / "whole", **settings)
    given = {**QUICK, **settings, "valid": str(data / "valid.tsv")}
    with pytest.raises(KeyboardInterrupt):
        ostinato.train(data / "train.tsv", out=tmp_path / "cut", listener=StopAfter(5), **given)
    ostinato.train(out=tmp_path / "cut", resume=True)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_a_copy_in_eight_bits_hears_the_same(both: Path, data: Path, tmp_path: Path) -> None:
    ostinato.export(both, tmp_path / "small", int8=True)
    sound = data / "valid" / "0.wav"
    plain, small = (ostinato.load(folder).logits(sound) for folder in (both, tmp_path / "small"))
    assert 0.0 < np.abs(plain - small).max() < 0.05 * np.abs(plain).max()


BAD: list[tuple[str, str, str]] = [
    ("no tab", "train/0.wav a\n", "bad.tsv, line 5 has no tab"),
    ("outside", "../train/0.wav\ta\n", "bad.tsv, line 5: '../train/0.wav' leads out of the folder"),
    ("missing", "train/none.wav\ta\n", "bad.tsv, line 5: no such sound: "),
    ("no sound", "train.tsv\ta\n", "bad.tsv, line 5: "),
    ("silent", "silent.wav\ta\n", "silent.wav is silent, but 'a' is said to be heard in it"),
    ("long text", f"train/0.wav\t{'abc' * 30}\n", "too few for 90 characters, which take 90; check the text"),
    ("long sound", "long.wav\ta\n", "has 61 seconds; expected 60 at most to train on: cut it at pauses"),
    (
        "several",
        "silent.wav\ta\ntrain/0.wav\ta\nlong.wav\ta\ntrain/none.wav\ta\n",
        "bad.tsv, line 5: {}/silent.wav is silent, but 'a' is said to be heard in it; "
        "2 more cannot be used, long.wav, none.wav",
    ),
]


@pytest.mark.parametrize(("line", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_lists_that_cannot_be_used(capsys: Capture, data: Path, tmp_path: Path, line: str, message: str) -> None:
    speech.write_wav(data / "silent.wav", np.zeros(4000, np.float32))
    speech.write_wav(data / "long.wav", 0.1 * np.ones(61 * speech.RATE, np.float32))
    good = "".join((data / "train.tsv").read_text().splitlines(keepends=True)[:4])
    (data / "bad.tsv").write_text(good + line)
    valid = ["--valid", data / "valid.tsv"]
    outcome = command(capsys, ["train", data / "bad.tsv", *valid, "-o", tmp_path / "m", *flags(**QUICK, steps=2)])
    assert outcome.status == 1
    assert message.format(data) in outcome.message
    assert not (tmp_path / "m").exists()


def test_the_first_recording_is_named_as_the_others_are(capsys: Capture, data: Path, tmp_path: Path) -> None:
    (data / "head.tsv").write_text("file\ttext\n" + (data / "train.tsv").read_text())
    outcome = command(capsys, ["train", data / "head.tsv", "-o", tmp_path / "m", *flags(**QUICK, steps=2)])
    assert f"{data}/head.tsv, line 1: no such sound: {data}/file" in outcome.message


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"mels": 4}, "mels is 4; expected a whole number from 8 to 80"),
    ({"stack": 0}, "stack is 0; expected a whole number from 1 to 8"),
    ({"join": 0}, "join is 0; expected a whole number from 1 to 64"),
    ({"noise": 2}, "noise is 2.0; expected a number from 0.0 to 1.0"),
    ({"speed": 0.9}, "speed is 0.9; expected a number from 0.05 to 0.5, or 0 for none"),
    ({"speed": 0.04}, "speed is 0.04; expected a number from 0.05 to 0.5"),
    ({"loudness": -1}, "loudness is -1.0; expected a number from 0.0 to 60.0"),
    ({"eq": -1}, "eq is -1.0; expected a number from 0.0 to 40.0"),
    ({"sample_rate": 100}, "sample_rate is 100; expected a whole number from 4000"),
    ({"level": "word"}, "level is 'word'; a recogniser spells in characters: leave it out"),
    ({"tied": True}, "tied is True, which --task transcribe does not have"),
    ({"embed": 7}, "embed is 7, which --task transcribe does not have"),
    ({"bptt": 2}, "bptt is 2, but a string of recordings has up to"),
    ({"images": "x"}, "images is for --task caption"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_settings_that_cannot_be(
    capsys: Capture, data: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    given = flags(**{**QUICK, "steps": 2, **settings})
    outcome = command(capsys, ["train", data / "train.tsv", "-o", tmp_path / "model", *given])
    assert outcome.status == 1
    assert message in outcome.message


def test_a_share_is_held_out_and_one_recording_is_too_few(data: Path, tmp_path: Path) -> None:
    model = ostinato.train(data / "train.tsv", out=tmp_path / "model", steps=2, **QUICK)
    assert (model.training["train_recordings"], model.training["valid"]["recordings"]) == (58, 6)
    (data / "one.tsv").write_text((data / "train.tsv").read_text().splitlines()[0])
    with pytest.raises(ostinato.OstinatoError, match="there are no recordings to train on, of 1 in all; give more, or"):
        ostinato.train(data / "one.tsv", out=tmp_path / "other", steps=2, **QUICK)
