from __future__ import annotations

from pathlib import Path

import pytest
from runs import command, prose

import ostinato
from ostinato.cli import demo

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _small_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_language_reference", lambda: ("a small text", prose()))


def test_the_demo_trains_compares_samples_and_scores(capsys: Capture) -> None:
    outcome = command(capsys, ["demo", "--minutes", "0.03"])
    assert outcome.status == 0, outcome.err
    found = [line.split() for line in outcome.out.splitlines() if line.startswith("  unigram") or "5-gram" in line]
    bits = [float(words[-1]) for words in found]
    assert len(bits) == 2
    assert bits[1] < bits[0]
    for part in ("a small text -> ostinato-demo/text.txt", "this model", "It writes", "It scores", "Try next"):
        assert part in outcome.out
    assert ostinato.load("ostinato-demo/model").model.vocab == len(set(prose())) + 1
    again = command(capsys, ["demo", "--minutes", "0.03"])
    assert again.status == 1
    assert "ostinato-demo/model holds a model; use another -o, --force to replace it" in again.message


def test_the_demo_overwrites_no_text_of_others(capsys: Capture) -> None:
    Path("text.txt").write_text("my diary")
    outcome = command(capsys, ["demo", "-o", ".", "--minutes", "0.03"])
    assert outcome.status == 1
    assert "text.txt is there already and holds another text; use another -o, or --force" in outcome.message
    assert Path("text.txt").read_text() == "my diary"
    assert [path.name for path in Path().iterdir()] == ["text.txt"]


def test_where_the_reference_is_left_out_docstrings_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_language_reference", lambda: None)
    assert demo.write_text(tmp_path / "text.txt") == "docstrings of Python's standard library"
    assert len((tmp_path / "text.txt").read_text()) > 100_000
