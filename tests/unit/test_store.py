from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ostinato.data import store
from ostinato.data.store import count_tokens, open_store, release, smallest_dtype, write_store
from ostinato.errors import OstinatoError


def write(folder: Path, vocab: int = 300, facts: dict[str, object] | None = None) -> None:
    parts = {"train": iter([np.array([1, 2, 299]), np.array([], np.int64), np.array([4])]), "valid": iter([])}
    write_store(folder, vocab, parts, facts or {}, {"tokenizer.json": "{}\n"})


def test_what_is_written_is_read_back_memory_mapped_and_read_only(tmp_path: Path) -> None:
    write(tmp_path / "store", facts={"train": {"chars": 9}})
    store = open_store(tmp_path / "store")
    assert store is not None
    ids = store.parts["train"]
    assert isinstance(ids, np.memmap)
    assert ids.dtype == np.uint16
    assert ids.tolist() == [1, 2, 299, 4]
    assert store.parts["valid"].shape == (0,)
    assert store.facts["train"]["chars"] == 9
    assert (tmp_path / "store" / "tokenizer.json").read_text() == "{}\n"
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 7


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i8"])
def test_tokens_are_counted_piece_by_piece(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setattr(store, "_PIECE", 3)
    assert count_tokens(np.array([4, 1, 1, 0, 4, 4, 1, 4], dtype), 6).tolist() == [1, 3, 0, 0, 4, 0]
    assert count_tokens(np.array([], dtype), 2).tolist() == [0, 0]


def test_a_mapped_text_can_be_counted(tmp_path: Path) -> None:
    write(tmp_path / "store")
    found = open_store(tmp_path / "store")
    assert found is not None
    assert np.flatnonzero(count_tokens(found.parts["train"], 300)).tolist() == [1, 2, 4, 299]


@pytest.mark.parametrize(
    ("vocab", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (1 << 16, "u2"), ((1 << 16) + 1, "u4")]
)
def test_ids_take_the_smallest_type_that_holds_them(vocab: int, dtype: str) -> None:
    assert smallest_dtype(vocab) == np.dtype(dtype)
    assert np.array([vocab - 1]).astype(smallest_dtype(vocab))[0] == vocab - 1


def test_facts_may_be_filled_while_the_parts_are_read(tmp_path: Path) -> None:
    facts: dict[str, int] = {}

    def chunks() -> object:
        yield np.array([1])
        facts["seen"] = 1

    assert write_store(tmp_path / "s", 10, {"train": chunks()}, facts, {}).facts == {"seen": 1}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "store.json").unlink(),
        lambda folder: (folder / "store.json").write_text('{"format": 1'),
        lambda folder: (folder / "store.json").write_text("[]"),
        lambda folder: (folder / "train.ids").unlink(),
        lambda folder: (folder / "train.ids").write_bytes(b"\0" * 7),
        lambda folder: (folder / "train.ids").write_bytes(b"\0" * 9),
        lambda folder: (folder / "store.json").write_text(
            json.dumps({**json.loads((folder / "store.json").read_text()), "format": 99})
        ),
        shutil.rmtree,
    ],
)
def test_a_store_that_is_not_whole_is_none_and_can_be_written_anew(tmp_path: Path, damage: object) -> None:
    folder = tmp_path / "store"
    write(folder)
    damage(folder)  # type: ignore[operator]
    assert open_store(folder) is None
    write(folder)
    assert open_store(folder) is not None


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def chunks() -> object:
        yield np.array([1])
        raise OstinatoError("the text is bad")

    with pytest.raises(OstinatoError, match="the text is bad"):
        write_store(tmp_path / "s", 10, {"train": chunks()}, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_quicker_is_let_be(tmp_path: Path) -> None:
    folder = tmp_path / "store"

    def chunks() -> object:
        write(folder)  # somebody else, in the meantime
        yield np.array([1, 2, 299, 4])

    store = write_store(folder, 300, {"train": chunks()}, {}, {})
    assert store.parts["train"].tolist() == [1, 2, 299, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_place_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OstinatoError, match=r"cannot keep the prepared text: .*; set OSTINATO_CACHE"):
        write(tmp_path / "file" / "store")


def test_what_was_read_is_given_back_and_can_be_read_again(tmp_path: Path) -> None:
    write(tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store is not None
    for ids in (store.parts["train"], store.parts["train"][1:3], store.parts["valid"], np.arange(3)):
        before = ids.tolist()
        release(ids)
        assert ids.tolist() == before
