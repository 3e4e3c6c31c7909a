"""Labelled lines to a classifier that says the label of a line: through the command line and in Python."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import command, flags
from tones import SOLVES, labelled

import ostinato
from ostinato.classifier import Classifier
from ostinato.errors import BundleError
from ostinato.pipeline.listener import Listener

Capture = pytest.CaptureFixture[str]
QUICK = {"task": "classify", "hidden": 16, "embed": 16, "batch": 16}
PRAISE, BLAME = "the film is not bad", "the song is lovely , but the actor is not very good"
TEST = labelled(300, seed=9)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    (folder / "train.tsv").write_text(labelled(1000, seed=1))
    (folder / "test.tsv").write_text(TEST)
    return folder


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A model folder. Tests must not change it."""
    folder = tmp_path_factory.mktemp("classifier") / "tones"
    ostinato.train(data / "train.tsv", out=folder, test=data / "test.tsv", **SOLVES)
    return folder


def test_tones_that_hang_on_the_order_of_words_are_learnt(tones: Path) -> None:
    summary = ostinato.load(tones).training
    # A bag of words is right half of the time. Of 300 texts a guess has 0.9 with a probability below 1e-40.
    assert summary["test"]["accuracy"] >= 0.97
    assert summary["test"]["macro_f1"] >= 0.97
    assert summary["labels"] == {"blame": pytest.approx(450, abs=60), "praise": pytest.approx(450, abs=60)}
    assert sum(map(sum, summary["test"]["confusion"])) == summary["test"]["texts"] == 300
    assert summary["valid"]["texts"] == 100
    assert {"before", "after"} == summary["test"]["calibration"].keys()
    assert "right" in (tones / "README.md").read_text()


def test_the_face_says_what_training_reported(tones: Path) -> None:
    model = ostinato.load(tones)
    assert isinstance(model, Classifier)
    labels, texts = zip(*(line.split("\t") for line in TEST.splitlines()), strict=True)
    found = model.classify(texts)
    right = sum(one.label == label for one, label in zip(found, labels, strict=True))
    assert right / 300 == pytest.approx(model.training["test"]["accuracy"])
    nats = [-math.log(one.probabilities[label]) for one, label in zip(found, labels, strict=True)]
    assert np.mean(nats) == pytest.approx(model.training["test"]["nats_calibrated"], rel=1e-3)
    for one in found:
        assert sum(one.probabilities.values()) == pytest.approx(1.0)
        assert one.probability == one.probabilities[one.label] == max(one.probabilities.values())
        assert tuple(one.probabilities) == model.labels == ("blame", "praise")
    assert model.model.temperature == model.training["temperature"] != 1.0
    assert model.classify(texts[3]) == [pytest.approx(found[3])] or model.classify(texts[3])[0].label == found[3].label
    assert [*model.stream(iter(texts[:5]))][4].label == found[4].label


def test_what_is_left_out_is_what_contributes(tones: Path) -> None:
    model = ostinato.load(tones)
    text = "the film is not bad"
    parts = model.contributions(text)
    assert [part.token for part in parts] == text.split()
    assert [text[part.start : part.end] for part in parts] == text.split()
    (whole,) = model.classify(text)
    log_odds = math.log(whole.probability / (1 - whole.probability))
    for part in parts:
        (without,) = model.classify((text[: part.start] + text[part.end :]).replace("  ", " ").strip())
        p = without.probabilities[whole.label]
        assert part.log_odds == pytest.approx(log_odds - math.log(p / (1 - p)), abs=1e-3)
    assert max(abs(part.log_odds) for part in parts) > 1.0
    assert model.contributions("") == []


def test_a_line_in_is_a_line_out(capsys: Capture, tones: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text(f"{PRAISE}\n\n{BLAME}\r\nnever seen words\n")
    outcome = command(capsys, ["classify", tones, path])
    assert outcome.status == 0, outcome.err
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert [row[2] for row in rows] == [PRAISE, "", BLAME, "never seen words"]
    assert (rows[0][0], rows[2][0]) == ("praise", "blame")
    assert all(0.5 <= float(row[1]) <= 1.0 for row in rows)
    outcome = command(capsys, ["classify", tones, path, "--json", "--contributions"])
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [record["label"] for record in records] == [row[0] for row in rows]
    assert records[0].keys() == {"label", "probability", "probabilities", "text", "contributions"}
    assert [part["token"] for part in records[0]["contributions"]] == PRAISE.split()
    outcome = command(capsys, ["classify", tones, path, "--contributions"])
    assert outcome.out.splitlines()[4].split("\t")[2] == "not"


def test_a_copy_in_eight_bits_says_the_same(tones: Path, tmp_path: Path) -> None:
    ostinato.export(tones, tmp_path / "small", int8=True)
    texts = [line.split("\t")[1] for line in TEST.splitlines()]
    labels = [[one.label for one in ostinato.load(folder).classify(texts)] for folder in (tones, tmp_path / "small")]
    assert sum(a == b for a, b in zip(*labels, strict=True)) >= 295


def test_a_run_that_is_stopped_goes_on_as_if_undisturbed(data: Path, tmp_path: Path) -> None:
    settings = {**QUICK, "steps": 40, "dropout": 0.3, "checkpoint_seconds": 0.0}
    ostinato.train(data / "train.tsv", out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        ostinato.train(data / "train.tsv", out=tmp_path / "parts", listener=StopAfter(17), **settings)
    ostinato.train(out=tmp_path / "parts", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("stop", [5, 20, 47])  # while the language model learns the texts, at its end, afterwards
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_start_from_a_language_model_resumes_too(data: Path, tmp_path: Path, bidirectional: bool, stop: int) -> None:
    lm = tmp_path / "lm"
    if bidirectional:
        shape = {"hidden": 12, "embed": 8, "bidirectional": True, "tied": False}
    else:
        shape = {"hidden": (8, 8), "embed": 8, "tied": True}
    ostinato.train(data / "train.tsv", out=lm, level="word", lower=True, steps=10, **shape)
    settings = {"task": "classify", "start_from": lm, "steps": 60, "tune": 0.34, "checkpoint_seconds": 0.0, "batch": 16}
    ostinato.train(data / "train.tsv", out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        ostinato.train(data / "train.tsv", out=tmp_path / "parts", listener=StopAfter(stop), **settings)
    ostinato.train(out=tmp_path / "parts", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    model = ostinato.load(tmp_path / "whole")
    assert model.model.reader == "language_model"
    assert model.training["before"]["steps"] + model.training["steps"] == 60
    assert model.model.pooling == ("last", "max", "mean")
    assert len(model.classify(["good", "bad film"])) == 2
    (tmp_path / "lm" / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer.json"):
        ostinato.train(out=tmp_path / "parts", resume=True, steps=80)


class StopAfter(Listener):
    """Asks to stop after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def stop(self) -> bool:
        self.left -= 1
        return self.left <= 0


def same_weights(a: Path, b: Path) -> bool:
    return (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def test_pictures_of_a_run(tones: Path) -> None:
    made = {path.name for path in (tones / "training").glob("*.svg")}
    assert made == {"loss.svg", "gradients.svg", "reliability.svg"}
    assert "nats" in (tones / "training" / "loss.svg").read_text()
    assert "probability of the label" in (tones / "training" / "reliability.svg").read_text()


def damage(folder: Path, change) -> None:
    """Edit the description of a model, with a digest that fits."""
    from ostinato import bundle

    path = folder / "config.json"
    values = json.loads(path.read_bytes())
    change(values["model"])
    path.write_bytes(bundle._render(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model["labels"].append("praise"), "the label 'praise' is there more than once"),
        (lambda model: model["labels"].append("third"), r"'output.weight' is F32 of shape \(2, 96\); expected F32"),
        (lambda model: model["labels"].pop(), "labels are 1; expected 2 to"),
        (lambda model: model.update(labels=["a\tb", "c"]), "a label is 'a\\\\tb'; expected some letters"),
        (lambda model: model.update(labels=["", "c"]), "a label is ''; expected some letters"),
        (lambda model: model.update(labels=[1, 2]), r"labels is \[1, 2\]; expected a list of texts"),
        (lambda model: model.update(labels="ab"), "labels is 'ab'; expected a list of texts"),
        (lambda model: model.update(temperature=0.0), "temperature is 0.0; expected a number from 0.001"),
        (lambda model: model.update(temperature="hot"), "temperature is 'hot'; expected a number"),
        (lambda model: model.update(pooling=["max", "min"]), "pooling is 'min'; expected one of max, mean"),
        (lambda model: model.update(reader="both"), "reader is 'both'; expected one of encoder"),
        (lambda model: model.pop("labels"), "labels"),
        (lambda model: model.update(layers=3), "does not describe a model"),
    ],
)
def test_a_damaged_description_is_refused(tones: Path, tmp_path: Path, change, message: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tones, folder)
    damage(folder, change)
    with pytest.raises(BundleError, match=message):
        ostinato.load(folder)


def test_another_kind_of_model_is_named(capsys: Capture, tones: Path, trained: Path) -> None:
    assert "wants a model that classifies texts" in command(capsys, ["classify", trained, "x"]).message
    assert "classifies texts (ostinato classify)" in command(capsys, ["sample", tones]).message


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", [], "is empty; expected text"),
        ("a\tone\n\ttwo\n", [], "line 2 has no label; expected label<TAB>text"),
        ("a\tone\nb\t\n", [], "line 2 has no text"),
        ("a\tone\na\ttwo\na\tthree\n", [], "every text to train on has the label 'a'; expected two labels or more"),
        ("a\tone\n", [], "there are 1 texts, too few to hold some out; give more, or --valid FILE"),
        ("a\tx\nb\ty\n", ["--valid", "other.tsv"], "the held-out texts have the label 'c', never seen in training"),
        ("a\tx\nb\ty\na\tz\nb\tz\n", ["--test", "other.tsv"], "the test texts have the label 'c', never seen in trai"),
        ("a\tx\nb\ty\n", ["--pooling", "max,min"], "pooling is 'min'; expected one of max, mean, last, attention"),
        ("a\tx\nb\ty\n", ["--pooling", "max,max"], "pooling is 'max,max'; expected one or more of"),
        ("a\tx\nb\ty\n", ["--class-weights", "some"], "class_weights is 'some'; expected one of none, balanced"),
        ("a\tx\nb\ty\n", ["--bidirectional"], "bidirectional is for language models; leave it out"),
        ("a\tx\nb\ty\n", ["--start-from", "no-model"], "no-model does not exist; give a model folder"),
        ("a\tx\nb\ty\n", ["--start-from", "m", "--hidden", "8"], "hidden is that of the model in --start-from"),
        (
            "a\tx\nb\ty\n",
            ["--task", "lm", "--pooling", "max"],
            "pooling is for --task classify; leave it out: the task is lm",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.tsv").write_text(content)
    Path("other.tsv").write_text("a\tx\nc\ty\n")
    words = ["train", "data.tsv", "-o", "model", *flags(**{**QUICK, "steps": 2, "hidden": 4})]
    if "--start-from" in arguments or "--task" in arguments:
        words = [
            "train",
            "data.tsv",
            "-o",
            "model",
            "--steps",
            "2",
            *([] if "--task" in arguments else ["--task", "classify"]),
        ]
    outcome = command(capsys, [*words, *arguments])
    assert outcome.status == 1
    assert message in outcome.message
    assert not Path("model").exists()
