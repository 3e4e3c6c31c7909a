"""The main job through the command line: train, sample, score, fill, at every level."""

from __future__ import annotations

import itertools
import json
import math
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from runs import QUICK, command, flags, prose

import ostinato
from ostinato.pipeline.settings import known_settings
from ostinato.training.evaluate import HeldOut

Capture = pytest.CaptureFixture[str]


def ok(capsys: Capture, *arguments: str | Path) -> str:
    """What a command that must succeed prints."""
    outcome = command(capsys, arguments)
    assert outcome.status == 0, outcome.err
    return outcome.out


def unigram_bits(text: str) -> float:
    """Bits a character of a text when every character is drawn by its own frequency: what a model must beat."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def test_a_model_writes_and_scores(capsys: Capture, trained: Path, text: Path) -> None:
    arguments = ["sample", trained, "--prompt", "The king", "--tokens", "120", "--seed", "3"]
    first = ok(capsys, *arguments)
    assert first.startswith("The king")
    assert len(first) >= 120
    assert ok(capsys, *arguments) == first
    assert ok(capsys, *arguments[:-1], "4") != first
    report = json.loads(ok(capsys, "score", trained, text, "--json"))
    assert report["chars"] == len(prose())
    assert report["bits_per_char"] < 0.8 * unigram_bits(prose())
    assert report["bits_per_byte"] == pytest.approx(report["bits_per_char"])


def test_what_training_reports_is_what_scoring_finds(capsys: Capture, trained: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.txt"
    held_out.write_text(prose()[int(0.9 * len(prose())) :])
    report = json.loads(ok(capsys, "score", trained, held_out, "--json"))
    summary = ostinato.load(trained).training["valid"]
    assert summary["tokens"] == report["tokens"]
    assert summary["bits_per_char"] == pytest.approx(report["bits_per_char"], rel=1e-4)
    assert summary["perplexity"] == pytest.approx(report["perplexity"], rel=1e-4)


def test_a_folder_holds_all_that_was_promised(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "README.md", "training",
    }  # fmt: skip
    training = {path.name for path in (trained / "training").iterdir()}
    assert {"run.toml", "run.json", "metrics.jsonl", "resume"} <= training
    card = (trained / "README.md").read_text()
    assert f"{ostinato.load(trained).training['valid']['bits_per_char']:.4f} bits per character" in card
    assert re.search(r"\| training \| \d+\.\d seconds, ", card)
    settings = tomllib.loads((trained / "training" / "run.toml").read_text())
    groups = ("Attention", "Captions", "Classification", "Music", "Speech", "Translation")
    others = {name for name, setting in known_settings().items() if setting.group in groups}
    assert known_settings().keys() - others - settings.keys() <= {"vocab", "valid", "test", "minutes", "epochs"}
    assert not others & settings.keys()


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe", "unigram"])
def test_every_level_trains_and_scores(capsys: Capture, tmp_path: Path, level: str) -> None:
    source = tmp_path / "prose.txt"
    source.write_text(prose() + "Zürich, naïve café; 東京\n", "utf-8")
    vocab = ["--vocab", "270"] if level in ("bpe", "unigram") else []
    settings = flags(level=level, steps=8, **QUICK)
    printed = ok(capsys, "train", source, "-o", tmp_path / "model", "--json", *settings, *vocab)
    summary = json.loads(printed)
    assert summary["level"] == level
    assert summary["valid"]["bits_per_byte"] < 8.0
    report = json.loads(ok(capsys, "score", tmp_path / "model", source, "--json"))
    assert report["bytes"] == len(source.read_bytes())
    assert 0 < report["bits_per_byte"] < 8.0
    assert ok(capsys, "sample", tmp_path / "model", "--tokens", "9", "--seed", "1")


@pytest.mark.parametrize("level", ["bpe", "unigram", "auto"])
def test_a_level_needs_no_vocabulary_to_be_given(capsys: Capture, tmp_path: Path, text: Path, level: str) -> None:
    ok(capsys, "train", text, "-o", tmp_path / "model", *flags(level=level, steps=2, **QUICK))


def test_a_bidirectional_model_fills_and_scores(capsys: Capture, tmp_path: Path, text: Path) -> None:
    model = tmp_path / "model"
    settings = flags(**{**QUICK, "steps": 120, "lr": 0.01, "bidirectional": True, "evaluations": 2})
    outcome = command(capsys, ["train", text, "-o", model, *settings])
    assert outcome.status == 0, outcome.err
    assert "pseudo-perplexity" in outcome.err
    assert "The" in ok(capsys, "fill", model, "The k___g follows the ship.")
    assert ostinato.load(model).score(prose(20)).bits_per_char < 0.8 * unigram_bits(prose())
    assert command(capsys, ["sample", model]).status == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "gru_reset_after", "layers": 2, "skip_output": True},
        {"cell": "rnn", "activation": "relu", "residual": True, "layer_norm": True},
        {"cell": "peephole", "average": 0.9, "patience": 2},
        {"cell": "peephole_diagonal", "optimiser": "sgd", "zoneout": 0.1, "locked": True, "dropout": 0.3},
        {"cell": "gru", "optimiser": "rmsprop", "schedule": "plateau", "patience": 1, "weight_drop": 0.2},
        {"tied": True, "embed": 24, "activation_penalty": 1.0, "temporal_penalty": 1.0, "dropout_embedding": 0.1},
    ],
    ids=lambda settings: str(settings.get("cell", "tied")),
)
def test_options_train_and_come_back_the_same(tmp_path: Path, text: Path, settings: dict[str, object]) -> None:
    model = ostinato.train(text, out=tmp_path / "model", **{**QUICK, "steps": 8, **settings})
    again = ostinato.load(tmp_path / "model")
    assert again.score("The king").nats == model.score("The king").nats
    assert model.training["valid"]["bits_per_char"] < math.log2(model.model.vocab) + 1


def test_a_run_in_minutes_ends_on_time_and_goes_on(tmp_path: Path, text: Path, capsys: Capture) -> None:
    arguments = ["train", str(text), "-o", str(tmp_path / "model"), *flags(**{**QUICK, "evaluations": 2})]
    summary = json.loads(ok(capsys, *arguments, "--minutes", "0.03", "--json"))
    assert 0.9 <= summary["seconds"] < 30  # the time itself is measured in benchmarks
    again = json.loads(ok(capsys, *arguments, "--minutes", "0.05", "--json", "--resume"))
    assert again["steps"] > summary["steps"]
    assert again["seconds"] > summary["seconds"]
    toml = (tmp_path / "model" / "training" / "run.toml").read_text()
    assert "minutes = 0.03" in toml


def test_steps_that_were_left_out_are_told(
    tmp_path: Path, text: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = itertools.chain([math.nan] * 2, itertools.repeat(1.0))
    monkeypatch.setattr("ostinato.training.optim.Updater.step", lambda *_: (next(norms), 1.0))
    outcome = command(capsys, ["train", text, "-o", tmp_path / "model", *flags(steps=6, **QUICK)])
    assert "skipped  2 steps whose loss or gradient was not finite; 0 times back to a checkpoint" in outcome.err
    assert ostinato.load(tmp_path / "model").training["skipped_steps"] == 2


def test_the_settings_of_a_run_train_another_model(tmp_path: Path, text: Path, trained: Path) -> None:
    again = ostinato.train(text, out=tmp_path / "model", config=trained / "training" / "run.toml")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    assert again.training["valid"] == ostinato.load(trained).training["valid"]


def test_unknown_tokens_are_counted_in_what_was_scored(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = tmp_path / "valid.txt"
    valid.write_text(prose(40, seed=1) + "é\n", "utf-8")

    def scored(seconds: float) -> dict[str, Any]:
        monkeypatch.setattr(HeldOut, "seconds", lambda *_: seconds)
        settings = {**QUICK, "minutes": 0.01, "valid": str(valid)}
        return dict(ostinato.train(text, out=tmp_path / "model", force=True, **settings).training["valid"])

    assert scored(0.1)["unknown"] == 1
    part = scored(10.0)  # more than there is time for
    assert part["tokens"] < len(valid.read_text("utf-8"))
    assert part["unknown"] == 0
