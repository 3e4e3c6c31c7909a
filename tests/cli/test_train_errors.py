"""Bad input: one line that says what came, what was expected and what to do; exit status 1; nothing lost."""

from __future__ import annotations

import gzip
import hashlib
import json
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import QUICK, command, flags, prose

from ostinato.bundle import load

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))


def fails(capsys: Capture, *arguments: str | Path, status: int = 1) -> str:
    """The message of a run that must fail without leaving anything behind."""
    outcome = command(capsys, ["train", *arguments])
    assert outcome.status == status, outcome.err
    assert outcome.out == ""
    assert not Path("model").exists()
    return outcome.message


def write(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


TEXTS: list[tuple[str, bytes, str]] = [
    ("empty", b"", "bad.txt is empty; expected text"),
    ("one character", b"x", "the text has 1 characters, too few to hold some out; give more text"),
    ("five characters", b"hello", "the text has 4 tokens to train on; expected at least 16, two for each of 8 lanes"),
    ("binary junk", bytes(range(256)) * 20, "bad.txt looks binary"),
    ("zeros", b"text\0text" * 99, "bad.txt looks binary"),
    ("a bad byte", b"one\ntwo\nthree \xff four\n" * 20, "bad.txt, line 3, byte offset 14: byte 0xff is not UTF-8"),
    ("latin 1", "naïve café\n".encode("latin-1") * 20, "bad.txt, line 1, byte offset 2: byte 0xef is not UTF-8"),
    ("utf 16", prose(5).encode("utf-16"), "bad.txt is UTF-16; expected UTF-8"),
    ("a cut .gz", gzip.compress(prose(50).encode())[:-20], "bad.txt is a damaged .gz file"),
]


@pytest.mark.parametrize(("content", "message"), [text[1:] for text in TEXTS], ids=[text[0] for text in TEXTS])
def test_a_text_that_cannot_be_used(capsys: Capture, content: bytes, message: str) -> None:
    assert message in fails(capsys, write("bad.txt", content), "-o", "model", "--steps", "3")


def test_a_bad_byte_far_into_the_second_file_is_named(capsys: Capture) -> None:
    good, bad = write("good.txt", prose(40)), write("bad.txt", prose(40000).encode() + b"\xc3\x28")
    line = 40001
    message = fails(capsys, good, bad, "-o", "model", "--steps", "3")
    assert f"bad.txt, line {line}, byte offset {len(prose(40000).encode())}: byte 0xc3" in message


def test_a_missing_file_and_a_near_miss(capsys: Capture) -> None:
    write("prose.txt", prose())
    assert "did you mean 'prose.txt'?" in fails(capsys, "prosa.txt", "-o", "model")
    assert "no such file: nowhere/at.txt" in fails(capsys, "nowhere/at.txt", "-o", "model")
    assert "did you mean 'tiny-shakespeare'?" in fails(capsys, "tiny-shakespear", "-o", "model")
    Path("folder").mkdir()
    assert "folder is a folder" in fails(capsys, "folder", "-o", "model")
    assert "no text was given; name one or more files" in fails(capsys, "-o", "model")


SETTINGS: list[tuple[list[str], str]] = [
    (["--hidden", "0"], "hidden is 0; expected a whole number from 1"),
    (["--hidden", "64,0"], "hidden is 0"),
    (["--hidden", "wide"], "hidden is 'wide'; expected a width such as 256"),
    (["--layers", "0"], "layers is 0; expected a whole number from 1 to 64"),
    (["--layers", "3", "--hidden", "8,8"], "layers is 3, but hidden gives 2 widths"),
    (["--embed", "0"], "embed is 0; expected a whole number from 1"),
    (["--dropout", "1.5"], "dropout is 1.5; expected a number from 0.0 to 0.95"),
    (["--batch", "0"], "batch is 0; expected a whole number from 1"),
    (["--bptt", "-3"], "bptt is -3"),
    (["--lr", "0"], "lr is 0.0; expected a number from"),
    (["--lr", "nan"], "lr is nan"),
    (["--clip", "-1"], "clip is -1.0"),
    (["--minutes", "-1"], "minutes is -1.0; expected a number from 0.01"),
    (["--minutes", "0"], "minutes is 0.0"),
    (["--epochs", "0"], "epochs is 0.0"),
    (["--steps", "0"], "steps is 0; expected a whole number from 1"),
    (["--steps", "5", "--minutes", "1"], "give exactly one of minutes, epochs and steps"),
    (["--tied", "--embed", "64", "--hidden", "128"], "tied embeddings need the last layer (128) to be as wide as the"),
    (["--cell", "lstm", "--activation", "relu"], "activation 'relu' is for --cell rnn; lstm has its own"),
    (["--cell", "transformer"], "cell is 'transformer'; expected one of rnn, gru"),
    (["--level", "words"], "level is 'words'; expected one of auto, char, byte, word, bpe, unigram; did"),
    (["--level", "byte", "--vocab", "300"], "vocab is 300; byte level has 256 tokens"),
    (["--vocab", "5000"], "vocab is 5000, but the text gives 29 char tokens"),
    (["--level", "word", "--vocab", "5000"], "word tokens"),
    (["--level", "bpe", "--vocab", "50000"], "vocab is 50000"),
    (["--valid", "0.9"], "valid is 0.9; expected a number from 0.0001 to 0.5"),
    (["--valid", "missing.txt"], "no such file: missing.txt"),
    (["--test", "missing.txt"], "no such file: missing.txt"),
    (["--valid", "blank.txt", "--level", "word"], "the held-out text holds no word tokens"),
    (["--device", "cuda"], "device is 'cuda', but torch sees no CUDA device"),
    (["--device", "tpu"], "device is 'tpu'; expected one of auto, cpu, cuda"),
    (["--threads", "0"], "threads is 0"),
    (["--seed", "-1"], "seed is -1"),
    (["--sampled-softmax", "-1"], "sampled_softmax is -1; expected a whole number from 0"),
    (["--sampled-softmax", "29"], "sampled_softmax is 29, but the text has 29 tokens to draw from; give fewer, or"),
    (["--schedule", "plateau"], "plateau needs patience"),
    (["--images", "folder"], "images is for --task caption; leave it out: the task is lm"),
    (["--blind"], "blind is for --task caption"),
    (["--melody", "whole"], "melody is for --task music; leave it out: the task is lm"),
    (["--config", "none.toml"], "none.toml: no such file"),
    (["--config", "prose.txt"], "prose.txt: not readable as TOML"),
    (["--config", "typo.toml"], "unknown key 'hiden' in typo.toml; did you mean 'hidden'?"),
    (["--config", "type.toml"], "batch in type.toml is 'many'; expected a whole number"),
    (["-o", "prose.txt"], "prose.txt is a file; give -o the name of a folder"),
    (["-o", "prose.txt/model"], "cannot write to prose.txt/model"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), SETTINGS, ids=[" ".join(setting[0]) for setting in SETTINGS])
def test_a_setting_that_cannot_be(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write("prose.txt", prose())
    write("blank.txt", "  \t " * 9)
    write("typo.toml", "hiden = 3\n")
    write("type.toml", 'batch = "many"\n')
    budget = [] if {"--minutes", "--epochs", "--steps"} & set(arguments) else ["--steps", "3"]
    out = [] if "-o" in arguments else ["-o", "model"]
    assert message in fails(capsys, "prose.txt", *out, *budget, *arguments)


def test_an_unknown_variable_in_the_environment(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_TRAIN_MINUTS", "3")
    message = fails(capsys, write("prose.txt", prose()), "-o", "model")
    assert "unknown key 'minuts' in the environment; did you mean 'minutes'?" in message


@pytest.mark.parametrize(
    "arguments", [["--minuts", "3"], ["--minutes", "soon"], ["--steps", "2.5"], ["--hidden"], ["-x"]]
)
def test_wrong_usage_exits_with_two(capsys: Capture, arguments: list[str]) -> None:
    outcome = command(capsys, ["train", write("prose.txt", prose()), "-o", "model", *arguments])
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
    assert not Path("model").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minuts", "3"], "Unknown option: --minuts. Did you mean --minutes?"),
        (["--no-tide"], "Unknown option: --no-tide. Did you mean --no-tied?"),
        (["-x"], "Unknown option: -x."),
    ],
)
def test_an_unknown_option_comes_with_the_nearest_one(capsys: Capture, arguments: list[str], message: str) -> None:
    assert message in " ".join(command(capsys, ["train", "prose.txt", *arguments]).err.split())


def test_without_torch_it_says_what_to_install(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("ostinato.pipeline.run.train", missing)
    message = fails(capsys, write("prose.txt", prose()), "-o", "model")
    assert 'this needs torch, which is not installed; install it with: pip install "ostinato[train]"' in message


# Folders that hold something


def run(capsys: Capture, *arguments: str | Path, **settings: Any) -> None:
    """A small run that must succeed."""
    outcome = command(capsys, ["train", *arguments, "-o", "model", *flags(**{"steps": 4, **QUICK, **settings})])
    assert outcome.status == 0, outcome.err


def contents(folder: Path | str) -> dict[str, str]:
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_folder_that_holds_something_else_is_left_alone(capsys: Capture) -> None:
    write("prose.txt", prose())
    Path("model").mkdir()
    write("model/thesis.tex", "years of work")
    outcome = command(capsys, ["train", "prose.txt", "-o", "model", "--steps", "3"])
    assert outcome.status == 1
    assert "model holds something else; use another -o, --force to replace it" in outcome.message
    assert list(contents("model")) == ["model/thesis.tex"]
    run(capsys, "prose.txt", force=True)
    assert Path("model/thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("bad", [["missing.txt"], ["prose.txt", "--hidden", "0"], ["short.txt"], ["bad.txt"]])
def test_a_model_is_replaced_only_by_force_and_only_by_a_run_that_begins(capsys: Capture, bad: list[str]) -> None:
    write("prose.txt", prose())
    write("short.txt", "hello")
    write("bad.txt", b"\xff" * 99)
    run(capsys, "prose.txt")
    before = contents("model")
    outcome = command(capsys, ["train", "prose.txt", "-o", "model", "--steps", "3"])
    assert "model holds a model; use another -o, --force to replace it, or --resume to go on" in outcome.message
    assert command(capsys, ["train", *bad, "-o", "model", "--steps", "3", "--force"]).status == 1
    assert contents("model") == before


# Resuming


def test_resuming_without_a_run(capsys: Capture) -> None:
    write("prose.txt", prose())
    assert "model holds no run to resume; train without --resume" in fails(
        capsys, "prose.txt", "-o", "model", "--resume"
    )


def resumed(capsys: Capture, *arguments: str) -> str:
    before = contents("model")
    outcome = command(capsys, ["train", "-o", "model", "--resume", *arguments])
    assert outcome.status == 1, outcome.err
    assert contents("model") == before
    return outcome.message


def test_resuming_with_another_text_or_other_settings(capsys: Capture) -> None:
    write("prose.txt", prose())
    write("other.txt", prose(seed=1))
    run(capsys, "prose.txt", steps=6)
    assert "--resume with another text" in resumed(capsys, "other.txt", "--steps", "9")
    assert "--resume goes on with lr = " in resumed(capsys, "--lr", "0.5", "--steps", "9")
    assert "to use 0.5, train anew with --force" in resumed(capsys, "--lr", "0.5", "--steps", "9")
    assert "--resume goes on with hidden = (24,)" in resumed(capsys, "--hidden", "8", "--steps", "9")
    assert "--resume goes on with valid = its default; to use 0.2" in resumed(capsys, "--valid", "0.2", "--steps", "9")
    write("prose.txt", prose(401))
    assert "--resume with another text" in resumed(capsys, "--steps", "9")


def test_resuming_a_run_that_is_complete(capsys: Capture) -> None:
    write("prose.txt", prose())
    run(capsys, "prose.txt")
    weights = Path("model/model.safetensors").read_bytes()
    outcome = command(capsys, ["train", "-o", "model", "--resume"])
    assert outcome.status == 1
    assert "the run in model is complete; to go on, give a larger budget with --resume" in outcome.message
    assert Path("model/model.safetensors").read_bytes() == weights
    run(capsys, "prose.txt", resume=True, steps=9)  # the same command with a larger budget
    assert load("model").training["steps"] == 9


def test_the_command_of_a_run_can_be_repeated_with_resume(capsys: Capture) -> None:
    write("prose.txt", prose())
    write("valid.txt", prose(20, seed=3))
    settings: dict[str, Any] = {
        "level": "auto", "hidden": 8, "layers": 2, "valid": "valid.txt", "min_count": 2, "dropout": 0.25,
    }  # fmt: skip
    run(capsys, "prose.txt", **settings)
    run(capsys, "prose.txt", resume=True, **{**settings, "steps": 7})
    assert load("model").training["steps"] == 7
    run(capsys, resume=True, **{**settings, "steps": 8})  # the texts are known


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"texts": 3}', "\x00"])
def test_a_damaged_note_is_stated(capsys: Capture, damage: str) -> None:
    write("prose.txt", prose())
    run(capsys, "prose.txt")
    write("model/training/run.json", damage)
    assert "run.json is damaged, so the run cannot be resumed; train anew with --force" in resumed(capsys)


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_checkpoint_is_stated(capsys: Capture, keep: int) -> None:
    write("prose.txt", prose())
    run(capsys, "prose.txt")
    path = Path("model/training/resume/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    outcome = command(capsys, ["train", "-o", "model", "--resume", "--steps", "9"])
    assert outcome.status == 1
    assert "damaged checkpoint" in outcome.message
    assert load("model").training["steps"] == 4


def test_a_lost_checkpoint_does_not_make_the_run_begin_anew(capsys: Capture) -> None:
    write("prose.txt", prose())
    run(capsys, "prose.txt")
    shutil.rmtree("model/training/resume")
    outcome = command(capsys, ["train", "-o", "model", "--resume", "--steps", "9"])
    assert "no such checkpoint, so there is nothing to resume" in outcome.message
    assert load("model").training["steps"] == 4


# A full disk


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: what a full disk does, at a place of our choice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("size", [0, 400, 4000, 20_000, 40_000])
def test_a_full_disk_loses_nothing(capsys: Capture, size: int) -> None:
    write("prose.txt", prose())
    arguments = ["prose.txt", *flags(steps=8, checkpoint_seconds=0.0, **QUICK)]
    with room(size):
        outcome = command(capsys, ["train", *arguments, "-o", "model"])
    assert outcome.status == 1, outcome.err
    assert "File too large" in outcome.message
    assert any(advice in outcome.message for advice in ("--resume", "OSTINATO_CACHE", "-o", "free some space"))
    again = ["--resume"] if Path("model/training/run.json").exists() else ["--force"]
    assert command(capsys, ["train", *arguments, "-o", "model", *again]).status == 0
    assert command(capsys, ["train", *arguments, "-o", "whole"]).status == 0
    for name, tensor in load("whole").tensors.items():
        np.testing.assert_array_equal(tensor, load("model").tensors[name])


def test_a_full_disk_keeps_the_model_that_was_there(capsys: Capture) -> None:
    write("prose.txt", prose())
    run(capsys, "prose.txt")
    before = load("model").tensors["output.bias"]
    with room(4000):
        outcome = command(capsys, ["train", "prose.txt", "-o", "model", "--force", *flags(steps=8, **QUICK)])
    assert outcome.status == 1
    np.testing.assert_array_equal(load("model").tensors["output.bias"], before)


# What is not an error


def test_a_short_text_trains(capsys: Capture) -> None:
    write("short.txt", "abc abc abc abc abc ")
    assert command(capsys, ["train", "short.txt", "-o", "model", "--steps", "3"]).status == 0
    assert json.loads(Path("model/config.json").read_text())["training"]["train_chars"] == 18


def test_a_corpus_is_known_by_its_name(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from ostinato.text.sources import SOURCES

    name, source = next((name, source) for name, source in SOURCES.items() if source.valid and source.test)
    folder = Path("data") / source.folder
    for number, file in enumerate(source.parts.values()):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(prose(200 - 50 * number, seed=number))
    monkeypatch.setenv("OSTINATO_DATA", str(Path("data").absolute()))
    run(capsys, name)
    summary = load("model").training
    assert summary["train_chars"] == len(prose(200))
    assert {"valid", "test"} <= summary.keys()


def test_standard_input_is_a_text(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write("prose.txt", prose())
    with Path("prose.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        run(capsys, "-")
    assert load("model").training["train_chars"] == int(0.9 * len(prose()))
