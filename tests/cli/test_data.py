"""``ostinato data``: what it prints, with copies at hand and without."""

from __future__ import annotations

import hashlib
import json

import pytest

from ostinato.cli.data import data
from ostinato.errors import TextError
from ostinato.text import sources


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OSTINATO_DATA", str(tmp_path / "local"))
    (tmp_path / "local" / "gutenberg").mkdir(parents=True)
    book = tmp_path / "local" / "gutenberg" / "pg11.txt"
    book.write_text("Alice was beginning to get very tired\n", encoding="utf-8")
    return book


def test_the_list_says_what_is_at_hand(capsys, places):
    data()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("alice") and "no checksum known" in line for line in lines)
    assert f"{'':16}  {places}" in lines
    assert any("to fetch, 6.0 MB" in line for line in lines)


def test_the_list_as_json(capsys, places):
    data(json=True)
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries.keys() == sources.SOURCES.keys()
    assert entries["alice"]["files"] == {"train": str(places)}
    assert entries["ptb"]["files"] == {}
    assert entries["ptb"]["verified"] is True
    assert entries["tiny-shakespeare"]["bytes"] == 1_115_394


def test_a_corpus_at_hand(capsys, places):
    data("alice")
    out = capsys.readouterr().out
    assert f"train  {places}" in out
    assert "unverified: no checksum of alice is known" in out
    data("alice", json=True)
    assert json.loads(capsys.readouterr().out) == {"train": str(places)}


def test_fetching_says_what_it_does(capsys, monkeypatch, tmp_path):
    def fetch(url, target, size, sha256, progress):
        for here in (1, size // 2, size):
            progress(target.name, here, size)
        target.write_bytes(b"x")

    monkeypatch.setattr(sources, "fetch", fetch)
    data("names")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["fetching makemore_names.txt, 0.2 MB", "fetched makemore_names.txt"]
    assert str(tmp_path / "cache" / "names" / "makemore_names.txt") in printed.out


def test_verify(capsys, places, monkeypatch):
    data(verify=True)
    assert capsys.readouterr().out.split() == ["unverified", str(places)]
    names = places.parent.parent / "names" / "makemore_names.txt"
    names.parent.mkdir()
    names.write_text("emma\n", encoding="utf-8")
    with pytest.raises(TextError, match="not what was published"):
        data("names", verify=True)
    assert "changed" in capsys.readouterr().out
    source = sources.SOURCES["names"]
    right = sources.Download("", "makemore_names.txt", 5, hashlib.sha256(b"emma\n").hexdigest())
    changed = sources.Source(source.name, source.about, source.folder, (right,), source.train)
    monkeypatch.setattr(sources, "SOURCES", {"names": changed})
    data("names", verify=True, json=True)
    assert json.loads(capsys.readouterr().out) == {str(names): "as published"}


def test_an_unknown_name():
    with pytest.raises(TextError, match="did you mean 'wikitext-2'"):
        data("wikitext2")
