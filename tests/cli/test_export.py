"""export as a user meets it: a copy that runs, is a quarter of the size, and cannot be trained on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import QUICK, command, flags, prose
from small_models import write_folder

import ostinato
from ostinato import bundle
from ostinato.engine.compiled import EightBitEngine
from ostinato.kernels import native
from ostinato.pipeline import record

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: Capture, *arguments: str | Path) -> str:
    outcome = command(capsys, ["export", *arguments])
    assert outcome.status == 0, outcome.err
    return outcome.out


def refused(capsys: Capture, *arguments: str | Path) -> str:
    """The message of a command that must fail."""
    outcome = command(capsys, arguments)
    assert outcome.status == 1, outcome.err
    assert outcome.out == ""
    return outcome.message


def contents(folder: str | Path) -> dict[str, str]:
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def bits(folder: str | Path, text: str) -> float:
    return ostinato.load(folder).score(text, tokens=False).bits_per_char


def test_a_copy_in_eight_bits_is_as_good(capsys: Capture, trained: Path) -> None:
    before = contents(trained)
    out = run(capsys, trained, "-o", "small", "--int8")
    share = Path("small/model.safetensors").stat().st_size / (trained / "model.safetensors").stat().st_size
    assert re.search(rf"small: weights in int8, [\d,]+ bytes, {share:.1%} of the original's", out)
    assert contents(trained) == before
    names = {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert {path.name for path in Path("small").iterdir()} == names
    assert Path("small/tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()
    text = prose(50, seed=1)
    assert bits("small", text) == pytest.approx(bits(trained, text), rel=0.005)
    assert bits("small", text) != bits(trained, text)
    assert isinstance(ostinato.load("small").engine, EightBitEngine) == native.available()


def test_a_wide_model_takes_a_quarter(capsys: Capture) -> None:
    write_folder(Path("wide"), hidden=(256,), embed=64)
    found = json.loads(run(capsys, "wide", "-o", "small", "--int8", "--json"))
    assert (found["folder"], found["weights"]) == ("small", "int8")
    assert found["weights_bytes"] == Path("small/model.safetensors").stat().st_size
    assert found["original_bytes"] == Path("wide/model.safetensors").stat().st_size
    assert 0.25 < found["weights_bytes"] / found["original_bytes"] < 0.27


def test_the_card_says_what_it_is_a_copy_of(capsys: Capture, trained: Path) -> None:
    run(capsys, trained, "-o", "small", "--int8")
    card = Path("small/README.md").read_text("utf-8")
    original = (trained / "README.md").read_text("utf-8")
    assert card.startswith("# small\n")
    assert "copy of the recurrent model `model`" in card
    assert "in eight bits" in card
    assert "The figures are the original's" in card
    assert "training/" not in card
    (held_out,) = [line for line in original.splitlines() if line.startswith("| held out")]
    assert held_out in card
    assert bundle.load("small").training == {**bundle.load(trained).training, "copy_of": "model"}


def test_a_copy_in_float32_is_the_model_without_its_training(capsys: Capture, trained: Path) -> None:
    run(capsys, trained, "-o", "copy")
    copy, original = bundle.load("copy"), bundle.load(trained)
    assert (copy.weights, copy.model) == ("float32", original.model)
    for name, tensor in original.tensors.items():
        np.testing.assert_array_equal(copy.tensors[name], tensor)
    assert not Path("copy/training").exists()
    card = Path("copy/README.md").read_text("utf-8")
    assert "copy of the recurrent model `model`" in card
    assert "eight bits" not in card
    assert "holds no run to resume" in refused(capsys, "train", "-o", "copy", "--resume")


@pytest.mark.parametrize("core", [True, False])
def test_a_copy_samples_scores_and_fills(capsys: Capture, monkeypatch: pytest.MonkeyPatch, core: bool) -> None:
    if not core:
        monkeypatch.setattr(native, "available", lambda: False)
    write_folder(Path("forward"), cell="gru", layer_norm=True)
    write_folder(Path("both"), "word", bidirectional=True)
    Path("text.txt").write_text("to be or not to be\n")
    for name in ("forward", "both"):
        run(capsys, name, "-o", f"{name}-8", "--int8")
        scores = [command(capsys, ["score", folder, "text.txt", "--json"]).out for folder in (name, f"{name}-8")]
        whole, small = (json.loads(score)["nats"] for score in scores)
        assert small == pytest.approx(whole, rel=0.03)
        assert small != whole
    assert command(capsys, ["sample", "forward-8", "--tokens", "20"]).status == 0
    filled = command(capsys, ["fill", "both-8", "to be or ___ to be"])
    assert filled.status == 0
    assert filled.out.startswith("to be or ")
    assert "ostinato fill both-8" in Path("both-8/README.md").read_text()


def test_inspect_shows_kind_and_size_of_the_weights(capsys: Capture, trained: Path) -> None:
    run(capsys, trained, "-o", "small", "--int8")
    for folder, kind in ((trained, "float32"), ("small", "int8")):
        shown = json.loads(command(capsys, ["inspect", folder, "--json"]).out)
        assert shown["weights"] == kind
        assert shown["weights_bytes"] == Path(folder, "model.safetensors").stat().st_size
    words = command(capsys, ["inspect", "small"]).out
    assert re.search(r"weights +int8, a scale for each row of a matrix, \d+\.\d kB", words)
    assert re.search(r"copy of +model", words)
    words = command(capsys, ["inspect", trained]).out
    assert re.search(r"weights +float32, \d+\.\d kB", words)
    assert "copy of" not in words


def test_a_copy_in_eight_bits_is_not_trained_on(capsys: Capture, trained: Path, text: Path) -> None:
    run(capsys, trained, "-o", "small", "--int8")
    message = "small is a copy in eight bits, which cannot be trained on; resume the original"
    assert message in refused(capsys, "train", "-o", "small", "--resume")
    message = refused(capsys, "train", text, "-o", "small", "--steps", "3")
    assert message.endswith("small holds a model; use another -o, --force to replace it")
    assert bundle.load("small").weights == "int8"


def test_training_may_replace_a_copy(capsys: Capture, trained: Path, text: Path) -> None:
    run(capsys, trained, "-o", "small", "--int8")
    outcome = command(capsys, ["train", text, "-o", "small", "--force", "--steps", "3", *flags(**QUICK)])
    assert outcome.status == 0, outcome.err
    assert bundle.load("small").weights == "float32"


def test_a_run_that_began_to_replace_a_copy_is_resumed(capsys: Capture, trained: Path) -> None:
    run(capsys, trained, "-o", "small", "--int8")
    note = {"texts": ["a.txt"], "given": {}, "budget": {"steps": 3}, "fingerprint": "f"}
    record.begin(Path("small"), note, {"steps": 3}, {})
    assert record.read_note(Path("small")) == note


def test_only_force_replaces_and_leaves_no_run_to_resume(capsys: Capture, trained: Path) -> None:
    shutil.copytree(trained, "old")
    before = contents("old")
    message = refused(capsys, "export", trained, "-o", "old", "--int8")
    assert message.endswith("old holds a model; use another -o, --force to replace it")
    assert contents("old") == before
    run(capsys, trained, "-o", "old", "--int8", "--force")
    assert bundle.load("old").weights == "int8"
    assert not Path("old/training").exists()
    run(capsys, trained, "-o", "old", "--force")
    assert bundle.load("old").weights == "float32"


def test_what_cannot_be_exported(capsys: Capture, trained: Path) -> None:
    run(capsys, trained, "-o", "small", "--int8")
    for kind in (["--int8"], []):
        message = refused(capsys, "export", "small", "-o", "smaller", *kind)
        assert "small is in eight bits already; copy the folder, or export the model it was made from" in message
    Path("link").symlink_to(trained)
    message = refused(capsys, "export", trained, "-o", "link", "--int8", "--force")
    assert "link is the model itself; give -o another folder" in message
    assert "nowhere does not exist" in refused(capsys, "export", "nowhere", "-o", "smaller", "--int8")
    assert "config.json is missing" in refused(capsys, "export", ".", "-o", "smaller", "--int8")
    shutil.copytree(trained, "damaged")
    Path("damaged/model.safetensors").write_bytes(b"short")
    assert "damaged/model.safetensors" in refused(capsys, "export", "damaged", "-o", "smaller", "--int8")
    assert not Path("smaller").exists()


def test_where_nothing_can_be_put(capsys: Capture, trained: Path) -> None:
    Path("file").write_text("x")
    assert "file is a file; give -o the name of a folder" in refused(capsys, "export", trained, "-o", "file")
    assert "cannot be written to file/m" in refused(capsys, "export", trained, "-o", "file/m")
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").write_text("years of work")
    assert "thesis holds something else" in refused(capsys, "export", trained, "-o", "thesis")
    outcome = command(capsys, ["export", trained])
    assert outcome.status != 0
    assert "--out" in outcome.err


def test_in_python(trained: Path) -> None:
    copy = ostinato.export(trained, "small", int8=True)
    assert (copy.folder, copy.weights) == (Path("small"), "int8")
    assert copy.weights_bytes < copy.original_bytes
    lm = ostinato.load("small")
    assert lm.generate("The ", 20, seed=1) == lm.generate("The ", 20, seed=1)


def test_a_model_that_a_crash_left_half_in_place_is_exported(capsys: Capture) -> None:
    write_folder(Path("model"))
    Path("model").rename(".ready")
    Path("model").mkdir()
    Path(".ready").rename("model/.ready")
    run(capsys, "model", "-o", "small", "--int8")
    assert command(capsys, ["inspect", "model"]).status == 0
    assert bundle.load("small").weights == "int8"
