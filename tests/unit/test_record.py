from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ostinato.errors import ConfigError, OstinatoError, TrainingError
from ostinato.pipeline import record

NOTE: dict[str, Any] = {"texts": ["a.txt"], "given": {"hidden": [8]}, "budget": {"steps": 3}, "fingerprint": "f"}


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("book.txt", "book-model"),
        ("a/b/book.txt.gz", "book-model"),
        ("tiny-shakespeare", "tiny-shakespeare-model"),
        ("-", "text-model"),
        (".hidden", "hidden-model"),
        ("..txt", "txt-model"),
    ],
)
def test_a_model_is_named_after_its_first_text(text: str, folder: str) -> None:
    assert record.default_folder([text, "other.txt"]) == Path(folder)


@pytest.mark.parametrize("owner_and_name", [(os, "fsync"), (Path, "replace"), (Path, "open")])
def test_a_crash_leaves_the_old_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner_and_name: tuple[Any, str]
) -> None:
    record.begin(tmp_path, NOTE, {"lr": 0.5}, {})

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*owner_and_name, fail)
        with pytest.raises(OstinatoError, match=r"run.json: cannot write: No space left on device; .*--resume"):
            record.write_note(tmp_path, {**NOTE, "done": True})
    assert record.read_note(tmp_path) == NOTE
    record.write_note(tmp_path, {**NOTE, "done": True})
    assert record.read_note(tmp_path)["done"]


def test_a_budget_given_anew_counts_and_is_otherwise_the_last_one(tmp_path: Path) -> None:
    record.begin(tmp_path, NOTE, {"lr": 0.5, "steps": 3, "threads": 2}, {})
    assert record.recall(NOTE, tmp_path, {}) == {"lr": 0.5, "steps": 3, "threads": 2}
    assert record.recall(NOTE, tmp_path, {"epochs": 2.0, "lr": 0.5}) == {"lr": 0.5, "epochs": 2.0, "threads": 2}
    longer = {**NOTE, "budget": {"steps": 9}}  # a longer budget that a run before this one was resumed with
    assert record.recall(longer, tmp_path, {"threads": 1}) == {"lr": 0.5, "steps": 9, "threads": 1}


def test_a_budget_in_time_does_not_go_on_in_steps_nor_the_reverse(tmp_path: Path) -> None:
    record.begin(tmp_path, NOTE, {"steps": 3}, {})
    with pytest.raises(ConfigError, match=r"the run was given in steps; to go on, give a larger --steps"):
        record.recall(NOTE, tmp_path, {"minutes": 1.0})
    timed = {**NOTE, "budget": {"minutes": 1.0}}
    with pytest.raises(ConfigError, match=r"the run was given in minutes"):
        record.recall(timed, tmp_path, {"epochs": 1.0})
    assert record.recall(timed, tmp_path, {"minutes": 2.0})["minutes"] == 2.0


@pytest.mark.parametrize("change", [{"budget": {}}, {"texts": 3}, {"minutes": 1.0}, {"fingerprint": None}])
def test_a_note_that_lacks_something_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    broken = {name: value for name, value in {**NOTE, **change}.items() if value is not None}
    record.begin(tmp_path, broken, {"steps": 3}, {})
    with pytest.raises(TrainingError, match=r"run.json is damaged"):
        record.read_note(tmp_path)
