"""``device="cuda"``: every task trains there, and what comes out runs here, without torch; a language model's score is
the one that it had there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import shapes
import speech
import torch
from composing import chorale
from dates import date_pairs, write_dates
from runs import prose
from tones import SOLVES, labelled

import ostinato
from ostinato.data.rolls import to_steps
from ostinato.language_model import LanguageModel

DEVICE = "cuda"
CELLS = ("rnn", "gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal")
QUICK: dict[str, Any] = {"hidden": 24, "embed": 12, "batch": 8, "bptt": 16, "evaluations": 2, "lr": 0.01}

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())["training"]["valid"]
    return found


def check_language(tmp_path: Path, below: float = 2.4, **changes: Any) -> None:
    """It learns, and the engine gives the held-out text what the GPU gave it."""
    text, held_out = tmp_path / "text.txt", tmp_path / "held_out.txt"
    text.write_text(prose())
    held_out.write_text(prose(60, seed=1))
    settings = {**QUICK, "steps": 120, "level": "char", **changes}
    lm = ostinato.train(text, valid=str(held_out), out=tmp_path / "model", device=DEVICE, **settings)
    assert isinstance(lm, LanguageModel)
    nats = scores(tmp_path / "model")["nats_per_token"]
    assert nats < below  # 3.4 at the start
    report = lm.score(held_out.read_text())
    assert report.nats / report.tokens == pytest.approx(nats, rel=0.1)  # there in lanes that begin anew


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_learns(cell: str, tmp_path: Path) -> None:
    check_language(tmp_path, cell=cell)


@pytest.mark.parametrize("cell", CELLS)
def test_zoneout_and_dropped_weights(cell: str, tmp_path: Path) -> None:
    check_language(tmp_path, below=3.0, cell=cell, zoneout=0.1, weight_drop=0.1, dropout_input=0.1, layers=2, steps=200)


def test_words_with_a_sampled_output_layer(tmp_path: Path) -> None:
    check_language(tmp_path, level="word", sampled_softmax=12, tied=True, embed=24)


def test_both_directions(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(prose())
    ostinato.train(text, out=tmp_path / "model", device=DEVICE, bidirectional=True, steps=120, level="char", **QUICK)
    assert scores(tmp_path / "model")["nats_per_token"] < 1.5


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(prose())
    settings = {**QUICK, "level": "char", "device": DEVICE, "dropout": 0.2}
    ostinato.train(text, out=tmp_path / "model", steps=40, **settings)
    first = scores(tmp_path / "model")["nats_per_token"]
    assert (tmp_path / "model" / "training" / "resume").exists()
    ostinato.train(text, out=tmp_path / "model", steps=120, resume=True, **settings)
    assert scores(tmp_path / "model")["nats_per_token"] < first


def test_translation(tmp_path: Path) -> None:
    files, held_out = write_dates(tmp_path, date_pairs(300, 0)), write_dates(tmp_path, date_pairs(40, 1), "held_out")
    model = ostinato.train(
        *files, task="translate", out=tmp_path / "model", valid=",".join(map(str, held_out)), device=DEVICE,
        level="char", steps=150, hidden=32, embed=16, batch=32, evaluations=2, attention="additive", lr=0.01,
    )  # fmt: skip
    assert next(iter(model.translate_lines(["5 May 2001"])))


def test_classification(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(labelled(1000, seed=1))
    ostinato.train(tmp_path / "train.tsv", out=tmp_path / "model", device=DEVICE, **SOLVES)
    assert scores(tmp_path / "model")["accuracy"] > 0.8


def test_captions(tmp_path: Path) -> None:
    shapes.write_images(tmp_path, "train", shapes.TRAINED, 2)
    shapes.write_images(tmp_path, "valid", shapes.HELD_OUT, 2, seed=1)
    ostinato.train(
        tmp_path / "train.tsv", valid=str(tmp_path / "valid.tsv"), task="caption", out=tmp_path / "model",
        device=DEVICE, level="word", hidden=20, embed=16, channels=16, epochs=2,
    )  # fmt: skip
    assert all(math.isfinite(value) for value in scores(tmp_path / "model").values())


def test_music(tmp_path: Path) -> None:
    (tmp_path / "pieces.json").write_text(json.dumps([to_steps(chorale(seed)) for seed in range(20)]))
    ostinato.train(
        tmp_path / "pieces.json", task="music", out=tmp_path / "model", device=DEVICE, hidden=24, embed=24, steps=30
    )
    assert all(math.isfinite(value) for value in scores(tmp_path / "model").values())


def test_speech(tmp_path: Path) -> None:
    speech.write_list(tmp_path, "train", [*speech.TONES, *speech.texts(20)])
    speech.write_list(tmp_path, "valid", speech.texts(5, seed=1), seed=1)
    ostinato.train(
        tmp_path / "train.tsv", valid=str(tmp_path / "valid.tsv"), task="transcribe", out=tmp_path / "model",
        device=DEVICE, mels=16, layers=1, hidden=24, steps=30,
    )  # fmt: skip
    assert all(math.isfinite(value) for value in scores(tmp_path / "model").values() if isinstance(value, float))
