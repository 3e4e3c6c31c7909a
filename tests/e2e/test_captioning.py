"""From images and captions to a model that captions, through the command line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapes
import torch
from PIL import Image
from runs import Outcome, command, flags

import ostinato
from ostinato.errors import ConfigError
from ostinato.pipeline.caption import CaptionTask
from ostinato.pipeline.listener import Listener
from ostinato.pipeline.settings import defaults, gather
from ostinato.training.loop import Report

Capture = pytest.CaptureFixture[str]

QUICK: dict[str, Any] = {"task": "caption", "level": "word", "hidden": 20, "embed": 16, "channels": 16, "threads": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train.tsv`` and ``valid.tsv`` with their images, and ``all.zip`` with all images."""
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write_images(folder, "train", shapes.TRAINED, 4)
    shapes.write_images(folder, "valid", shapes.HELD_OUT, 4, seed=1)
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder).as_posix())
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a second's training. Tests must not change it."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    ostinato.train(data / "train.tsv", valid=str(data / "valid.tsv"), out=folder, steps=60, **QUICK)
    return folder


def ok(outcome: Outcome) -> str:
    assert outcome.status == 0, outcome.err
    return outcome.out


def test_what_training_reports_is_what_scoring_finds(trained: Path, data: Path) -> None:
    captioner = ostinato.load(trained)
    lines = [line.split("\t") for line in (data / "valid.tsv").read_text().splitlines()]
    scores = [captioner.score(data / path, caption) for path, caption in lines]
    chars = [len(caption) + 1 for _, caption in lines]
    reported = captioner.training["valid"]
    assert reported["bits_per_char"] == pytest.approx(np.average(scores, weights=chars), rel=1e-4)
    assert reported["captions"] == len(lines)
    assert reported["tokens"] == 4 * len(lines)
    card = (trained / "README.md").read_text()
    assert f"{reported['bits_per_char']:.4f} bits per character" in card
    assert "A recurrent model that captions images" in card


def test_captions_in_text_and_json(capsys: Capture, trained: Path, data: Path) -> None:
    images = [data / "valid" / f"{number}.png" for number in range(3)]
    lines = ok(command(capsys, ["caption", trained, *images])).splitlines()
    captioner = ostinato.load(trained)
    for image, line in zip(images, lines, strict=True):
        (expected,) = captioner.caption(image)
        assert line == f"{image}\t{expected.text}\t{expected.logprob:.2f}"
    drawn = ["caption", trained, *images, "--temperature", "1", "--count", "3", "--seed", "5", "--json"]
    records = [json.loads(line) for line in ok(command(capsys, drawn)).splitlines()]
    assert [record["image"] for record in records] == [str(image) for image in images]
    assert all(len(record["captions"]) == 3 for record in records)
    assert all({"text", "logprob", "ended"} == one.keys() for record in records for one in record["captions"])
    assert ok(command(capsys, drawn)).splitlines() == [json.dumps(record, ensure_ascii=False) for record in records]


def test_a_bad_image_does_not_stop_the_others(capsys: Capture, trained: Path, data: Path, tmp_path: Path) -> None:
    good = data / "valid" / "0.png"
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:60])
    outcome = command(capsys, ["caption", trained, tmp_path / "none.png", good, cut, good])
    assert outcome.status == 1
    assert [line.split("\t")[0] for line in outcome.out.splitlines()] == [str(good), str(good)]
    first, second = outcome.err.splitlines()
    assert first.startswith(f"ostinato: no such image: {tmp_path / 'none.png'}")
    assert second.startswith(f"ostinato: {cut} is a damaged image")


def test_wrong_use(capsys: Capture, trained: Path, data: Path) -> None:
    image = data / "valid" / "0.png"
    assert "no image was given; name one or more" in command(capsys, ["caption", trained]).message
    assert "count is 6, more than the beam of 5" in command(capsys, ["caption", trained, image, "--count", "6"]).message
    assert "this wants a model that writes" in command(capsys, ["sample", trained]).message


def test_images_in_an_archive_and_elsewhere_are_the_same_data(data: Path, tmp_path: Path) -> None:
    weights = []
    (tmp_path / "captions").mkdir()
    for name in ("train.tsv", "valid.tsv"):
        (tmp_path / "captions" / name).write_bytes((data / name).read_bytes())
    for number, (home, images) in enumerate(
        [(data, None), (tmp_path / "captions", data / "all.zip"), (tmp_path / "captions", data)]
    ):
        given = {} if images is None else {"images": images}
        out = tmp_path / str(number)
        ostinato.train(home / "train.tsv", valid=str(home / "valid.tsv"), out=out, steps=3, **QUICK, **given)
        weights.append((out / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]


class StopAfter(Listener):
    """Asks to stop after so many reports of a finished step."""

    def __init__(self, asked: int) -> None:
        self._left = asked

    def stop(self) -> bool:
        self._left -= 1
        return self._left <= 0


def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bytes(data: Path, tmp_path: Path) -> None:
    """Dropout and augmentation are on: both have to go on where they were."""
    settings = {**QUICK, "valid": str(data / "valid.tsv"), "steps": 30, "dropout": 0.3, "flip": True, "evaluations": 3}
    ostinato.train(data / "train.tsv", out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        ostinato.train(data / "train.tsv", out=tmp_path / "cut", listener=StopAfter(7), **settings)
    with pytest.raises(KeyboardInterrupt):
        ostinato.train(out=tmp_path / "cut", resume=True, listener=StopAfter(11))
    ostinato.train(out=tmp_path / "cut", resume=True)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


class Notices(Listener):
    """What a run says besides its figures."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def report(self, report: Report) -> None:
        if report.kind == "notice":
            self.said.append(report.message)


def test_what_sees_learns_words_first(data: Path, tmp_path: Path) -> None:
    """In its share of the budget, and it is where captions go on from; a blind model and a share of 0 have no such."""
    notices = {}
    for name, changes in {"first": {}, "blind": {"blind": True}, "off": {"words_first": 0.0}}.items():
        listener = Notices()
        settings = {**QUICK, "steps": 20, "evaluations": 1, **changes}
        model = ostinato.train(data / "train.tsv", out=tmp_path / name, listener=listener, **settings)
        notices[name] = listener.said
        assert model.training.get("before", {"steps": 0})["steps"] == (12 if name == "first" else 0)
        assert model.training["steps"] == (8 if name == "first" else 20)
    first = "first, in 60% of the budget, what sees the images learns which words captions have"
    assert [text for text in notices["first"] if "words" in text] == [first]
    assert not any("words" in text for name in ("blind", "off") for text in notices[name])


def test_captions_go_on_from_what_sees_words(data: Path) -> None:
    settings = {**QUICK, "valid": str(data / "valid.tsv"), "steps": 4}
    task = CaptionTask([str(data / "train.tsv")], {**defaults("caption"), **gather(settings, {}, None)})
    model = task.build()
    stage = task.before(model)
    assert stage is not None
    weights = stage.model.state_dict()
    assert any(not torch.equal(weights[f"encoder.{name}"], x) for name, x in model.encoder.state_dict().items())
    stage.hand_on()
    assert all(torch.equal(weights[f"encoder.{name}"], x) for name, x in model.encoder.state_dict().items())


def test_words_are_seen_before_they_are_written(data: Path, tmp_path: Path) -> None:
    """With so small a rest of the budget nothing is written yet; but shapes are told apart already."""
    settings = {**QUICK, "valid": str(data / "valid.tsv"), "steps": 240, "lr": 0.02, "words_first": 0.85}
    model = ostinato.train(data / "train.tsv", out=tmp_path / "model", **settings)
    lines = [json.loads(line) for line in (tmp_path / "model/training/before/metrics.jsonl").read_text().splitlines()]
    nats = [line["valid_nats"] for line in lines if "valid_nats" in line]
    assert nats[-1] < 0.85 * nats[0]  # at first what the frequencies of the words say; these combinations are new
    assert model.training["before"]["steps"] == 204


def test_resuming_with_other_images_is_refused(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shapes.write_images(copy, "train", shapes.TRAINED[:6], 2)
    ostinato.train(copy / "train.tsv", out=tmp_path / "model", steps=2, **QUICK)
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(copy / "train" / "3.png")
    with pytest.raises(ConfigError, match="--resume with another text"):
        ostinato.train(out=tmp_path / "model", resume=True, steps=4)


def test_a_copy_in_eight_bits_captions_nearly_the_same(trained: Path, data: Path, tmp_path: Path) -> None:
    ostinato.export(trained, tmp_path / "small", int8=True)
    images = [data / "valid" / f"{number}.png" for number in range(4)]
    tables = [ostinato.load(folder).retrieve(images, shapes.KINDS) for folder in (trained, tmp_path / "small")]
    assert 0.0 < np.abs(tables[0] - tables[1]).max() < 0.5


BAD: list[tuple[str, str, str]] = [
    ("no tab", "train/0.png red\n", "bad.tsv, line 9 has no tab"),
    ("no caption", "train/0.png\t \n", "bad.tsv, line 9 has no caption of 'train/0.png'"),
    ("outside", "../train/0.png\tred\n", "bad.tsv, line 9: '../train/0.png' leads out of the folder"),
    ("missing", "train/none.png\tred\n", "bad.tsv, line 9: no such image: "),
    ("no image", "train.tsv\tred\n", "bad.tsv, line 9: train.tsv in "),
]


@pytest.mark.parametrize(("line", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_captions_that_cannot_be_used(capsys: Capture, data: Path, tmp_path: Path, line: str, message: str) -> None:
    good = "".join((data / "train.tsv").read_text().splitlines(keepends=True)[:8])
    (data / "bad.tsv").write_text(good + line)
    try:
        outcome = command(capsys, ["train", data / "bad.tsv", "-o", tmp_path / "model", *flags(**QUICK, steps=2)])
    finally:
        (data / "bad.tsv").unlink()
    assert outcome.status == 1
    assert message in outcome.message
    assert not (tmp_path / "model").exists()


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"attention": "dot"}, "attention is 'dot'; expected one of none, additive"),
    ({"image_size": 4}, "image_size is 4; expected a whole number from 8 to 1024"),
    ({"shift": 20}, "shift is 20; expected a whole number from 0 to 16"),
    ({"background": 2}, "background is 2.0; expected a number from 0.0 to 1.0"),
    ({"words_first": 0.95}, "words_first is 0.95; expected a number from 0.0 to 0.9"),
    ({"channels": 2}, "channels is 2; expected a whole number from 4"),
    ({"images": "nowhere.zip"}, "nowhere.zip: no such folder or archive of images"),
    ({"sampled_softmax": 5}, "sampled_softmax is 5, which --task caption does not have; leave it out"),
    ({"bidirectional": True}, "bidirectional is True, which --task caption does not have"),
    ({"bptt": 2}, "bptt is 2, but a caption has 4 tokens with its end; captions are read whole"),
    ({"tied": True, "skip_output": True}, "skip_output"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_settings_that_cannot_be(
    capsys: Capture, data: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    given = flags(**{**QUICK, "steps": 2, **settings})
    outcome = command(capsys, ["train", data / "train.tsv", "-o", tmp_path / "model", *given])
    assert outcome.status == 1
    assert message in outcome.message


@pytest.mark.parametrize("level", ["char", "byte", "bpe", "unigram"])
def test_every_level_trains_and_captions(data: Path, tmp_path: Path, level: str) -> None:
    vocab = {"vocab": 258} if level in ("bpe", "unigram") else {}
    settings = {**QUICK, "level": level, "steps": 3, **vocab}
    captioner = ostinato.train(data / "train.tsv", out=tmp_path / "model", **settings)
    (caption,) = captioner.caption(data / "valid" / "0.png", tokens=20)
    assert caption.text == caption.text.strip()
    assert captioner.tokenizer.level == level


def test_a_budget_in_minutes_is_kept(data: Path, tmp_path: Path) -> None:
    captioner = ostinato.train(
        data / "train.tsv", valid=str(data / "valid.tsv"), out=tmp_path / "model", minutes=0.05, task="caption"
    )
    assert captioner.training["seconds"] < 8
    assert captioner.training["steps"] > 0


def test_one_caption_is_too_few(data: Path, tmp_path: Path) -> None:
    line = (data / "train.tsv").read_text().splitlines()[0]
    path = data / "one.tsv"
    path.write_text(line)
    with pytest.raises(ostinato.OstinatoError, match="there are no captions to train on, of 1 in all; give more, or"):
        ostinato.train(path, out=tmp_path / "model", steps=2, **QUICK)
    path.unlink()
