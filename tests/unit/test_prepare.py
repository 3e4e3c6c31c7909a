"""Text files to ids: where the held-out part begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.pipeline.prepare import Prepared, prepare
from ostinato.pipeline.settings import TextSettings


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))


def held_out(text: str, folder: Path, level: str, share: str) -> tuple[Prepared, str]:
    """What is prepared of a text, and its held-out part."""
    (folder / "text").write_text(text)
    found = prepare([folder / "text"], TextSettings(level=level, valid=share, pretokenized=level == "word" or None))
    return found, found.tokenizer.decode(found.store.parts["valid"].tolist())


@pytest.mark.parametrize("share", [f"{share / 100:.2f}" for share in range(8, 50)])
def test_of_words_none_is_cut(tmp_path: Path, share: str) -> None:
    text = "Pitch_60 Velocity_79\nDuration_1.0.8 Bar_None\n" * 3
    found, valid = held_out(text, tmp_path, "word", share)
    words = {found.tokenizer.piece(token).decode() for token in range(found.tokenizer.vocab_size)}
    assert words - {"\n", "<unk>"} <= {*text.split()}
    begin = int(len(text) * (1 - float(share)))
    assert found.facts("valid")["chars"] in range(len(text) - begin - len("Duration_1.0.8"), len(text) - begin + 1)
    assert "<unk>" not in valid


def test_of_characters_the_share_is_exact(tmp_path: Path) -> None:
    found, valid = held_out("abcdefghij" * 10, tmp_path, "char", "0.13")
    assert valid == "hijabcdefghij"
    assert found.facts("train")["chars"] == 87


def test_one_long_word_is_cut_where_it_must_be(tmp_path: Path) -> None:
    found, _ = held_out("a" * 100, tmp_path, "word", "0.1")
    assert found.facts("valid")["chars"] == 10
