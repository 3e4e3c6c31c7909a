from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ostinato.errors import OstinatoError
from ostinato.pipeline import record

NOTE: dict[str, Any] = {"texts": ["a.txt"], "given": {"hidden": [8]}, "budget": {"steps": 3}}


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
