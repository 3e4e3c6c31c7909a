"""What holds for every verb."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from runs import command
from small_models import write_folder

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sampel", "no verb 'sampel'; expected one of demo, train, sample, chat, score, rescore, fill, translate, "
         "classify, caption, lattice, transcribe, compose, inspect, export, data, bench, doctor; "
         "did you mean 'sample'?"),
        ("book.txt", "no verb 'book.txt'; expected one of demo, train"),
    ],
)  # fmt: skip
def test_an_unknown_verb(capsys: Capture, word: str, message: str) -> None:
    outcome = command(capsys, [word, "something"])
    assert outcome.status == 2
    assert message in outcome.message


def test_without_a_verb_the_list_of_verbs_is_shown(capsys: Capture) -> None:
    outcome = command(capsys, [])
    assert outcome.status == 0
    assert "ostinato train" in outcome.out


def test_a_full_disk_says_what_to_do(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ostinato.cli.sample._show", full)
    outcome = command(capsys, ["sample", write_folder(tmp_path / "model")])
    assert outcome.status == 1
    assert "No space left on device; make room and try again" in outcome.message
