"""Fetching from a server on this machine: whole and right, or not there."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ostinato.errors import TextError
from ostinato.text import fetch, sources
from ostinato.text.sources import Download, Source

TEXT = "".join(f"line {number}\n" for number in range(40_000)).encode()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.ranges, self.requests = {}, {}, True, []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name, asked = self.path.lstrip("/"), self.headers.get("Range")
        self.server.requests.append((name, asked))
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if begin and begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin : self.server.cut.pop(name, None)])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("OSTINATO_CACHE", str(folder))
    monkeypatch.delenv("OSTINATO_DATA", raising=False)
    return folder


@pytest.fixture
def known(monkeypatch):
    """Puts a corpus of one download into the list."""

    def add(download, name="demo", **parts):
        source = Source(name, "for a test", name, (download,), **({"train": download.file} | parts))
        monkeypatch.setattr(sources, "SOURCES", {**sources.SOURCES, name: source})
        return name

    return add


def one(server, known, content=TEXT, **options):
    server.files["text.txt"] = content
    expected = {"size": len(TEXT), "sha256": sha256(TEXT)} | options
    return known(Download(server.url("text.txt"), "text.txt", **expected))


def leftovers(cache):
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_a_corpus_is_fetched_once(server, known, cache):
    name = one(server, known)
    seen = []
    paths = sources.resolve(name, lambda *step: seen.append(step))
    assert paths.train == cache / "demo" / "text.txt"
    assert paths.train.read_bytes() == TEXT
    assert seen[-1] == ("text.txt", len(TEXT), len(TEXT))
    assert leftovers(cache) == ["checksums.json", "text.txt"]
    assert sources.resolve(name) == sources.at_hand(name) == paths
    assert len(server.requests) == 1


def test_a_wrong_checksum_leaves_nothing(server, known, cache):
    name = one(server, known, content=TEXT[:-2] + b"!\n")
    with pytest.raises(TextError, match="sha256") as caught:
        sources.resolve(name)
    assert sha256(TEXT) in str(caught.value)
    assert leftovers(cache) == []
    assert sources.at_hand(name) is None


def test_a_wrong_size_leaves_nothing_when_only_the_size_is_known(server, known, cache):
    name = one(server, known, content=TEXT + b"more", sha256=None)
    with pytest.raises(TextError, match=f"gave {len(TEXT) + 4} bytes; expected {len(TEXT)}"):
        sources.resolve(name)
    assert leftovers(cache) == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cut", [0, 100_000])
def test_a_cut_connection_keeps_what_came_and_goes_on(server, known, cache, ranges, cut):
    name, server.ranges = one(server, known), ranges
    server.cut["text.txt"] = cut
    with pytest.raises(TextError, match=f"{cut} bytes are kept, run it again to go on"):
        sources.resolve(name)
    assert (cache / "demo" / "text.txt.part").stat().st_size == cut
    assert sources.at_hand(name) is None
    assert sources.resolve(name).train.read_bytes() == TEXT
    assert server.requests[-1] == ("text.txt", f"bytes={cut}-" if cut else None)
    assert leftovers(cache) == ["checksums.json", "text.txt"]


def test_a_part_longer_than_the_file_is_begun_again(server, known, cache):
    name = one(server, known, size=None)
    (cache / "demo").mkdir(parents=True)
    (cache / "demo" / "text.txt.part").write_bytes(b"x" * (len(TEXT) + 5))
    assert sources.resolve(name).train.read_bytes() == TEXT


def test_a_part_of_another_file_is_found_out(server, known, cache):
    name = one(server, known)
    (cache / "demo").mkdir(parents=True)
    (cache / "demo" / "text.txt.part").write_bytes(b"x" * 1000)
    with pytest.raises(TextError, match="sha256"):
        sources.resolve(name)
    assert sources.resolve(name).train.read_bytes() == TEXT


def test_not_found_says_so(server, known, cache):
    name = known(Download(server.url("gone.txt"), "gone.txt"))
    with pytest.raises(TextError, match=r"gone\.txt answered 404"):
        sources.resolve(name)
    assert leftovers(cache) == []


def test_no_server_says_so(known):
    with Server() as gone:
        url = gone.url("x")
    with pytest.raises(TextError, match="refused"):
        sources.resolve(known(Download(url, "x.txt")))


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tarred(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize(("suffix", "pack"), [(".zip", zipped), (".tar.gz", tarred)])
def test_an_archive_gives_its_members_and_nothing_else(server, known, cache, tmp_path, suffix, pack):
    content = pack({"deep/a.txt": b"train", "b.txt": b"valid", "../outside.txt": b"bad", "/root.txt": b"bad"})
    server.files["all" + suffix] = content
    download = Download(
        server.url("all" + suffix), "all" + suffix, None, sha256(content), {"deep/a.txt": "a", "b.txt": "b"}
    )
    paths = sources.resolve(known(download, train="a", valid="b"))
    assert (paths.train.read_bytes(), paths.valid.read_bytes(), paths.test) == (b"train", b"valid", None)
    assert leftovers(tmp_path) == ["a", "b", "checksums.json"]


def test_a_packed_file_is_unpacked(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(TEXT))
    fetch.unpack(tmp_path / "a.gz", {"": tmp_path / "a"})
    assert (tmp_path / "a").read_bytes() == TEXT


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda content: zipped({"other": b""})])
def test_a_damaged_archive_says_so(server, known, cache, damage):
    content = damage(zipped({"a.txt": TEXT}))
    server.files["all.zip"] = content
    download = Download(server.url("all.zip"), "all.zip", members={"a.txt": "a"})
    with pytest.raises(TextError, match=r"damaged|holds no a\.txt"):
        sources.resolve(known(download, train="a"))
    assert "a" not in leftovers(cache)


def test_held_out_parts_are_cut_where_characters_begin(server, known, cache):
    text = "ab€" * 10
    content = zipped({"whole": text.encode()})
    server.files["w.zip"] = content
    download = Download(server.url("w.zip"), "w.zip", members={"whole": "whole"})
    name = known(download, train="w.train", valid="w.valid", test="w.test", held_out=(14, 6))
    paths = sources.resolve(name)
    parts = [path.read_text(encoding="utf-8") for path in (paths.train, paths.valid, paths.test)]
    assert "".join(parts) == text
    assert [len(part.encode()) for part in parts] == [30, 15, 5]
    assert leftovers(cache) == ["checksums.json", "w.test", "w.train", "w.valid"]


def test_a_local_copy_comes_first_plain_or_packed(server, known, tmp_path, monkeypatch):
    name = one(server, known)
    local = tmp_path / "local"
    (local / "demo").mkdir(parents=True)
    (local / "demo" / "text.txt.gz").write_bytes(gzip.compress(TEXT))
    monkeypatch.setenv("OSTINATO_DATA", str(local))
    assert sources.resolve(name).train == local / "demo" / "text.txt.gz"
    assert server.requests == []
    assert sources.verify(name) == {local / "demo" / "text.txt.gz": "as published"}


def test_verify_notices_a_changed_file(server, known):
    name = one(server, known, sha256=None)
    path = sources.resolve(name).train
    assert sources.verify(name) == {path: "as fetched"}
    path.write_bytes(TEXT + b"!")
    assert sources.verify(name) == {path: "changed"}
    (path.parent / "checksums.json").unlink()
    assert sources.verify(name) == {path: "unverified"}


def test_verify_of_what_is_not_at_hand(server, known):
    with pytest.raises(TextError, match="not at hand"):
        sources.verify(one(server, known))


def test_find_takes_a_path_a_name_or_standard_input(server, known, tmp_path, monkeypatch):
    name = one(server, known)
    monkeypatch.chdir(tmp_path)
    assert str(sources.find("-").train) == "-"
    assert sources.find(name) == sources.resolve(name)
    (tmp_path / name).write_text("a file of that name comes first", encoding="utf-8")
    assert str(sources.find(name).train) == name
    with pytest.raises(TextError, match="did you mean 'ptb'"):
        sources.find("ptbb")
    (tmp_path / "novel.txt").write_text("x", encoding="utf-8")
    with pytest.raises(TextError, match=r"did you mean 'novel\.txt'"):
        sources.find("novl.txt")


def test_the_cache_folder(monkeypatch, tmp_path):
    assert sources.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("OSTINATO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert sources.cache_folder() == tmp_path / "xdg" / "ostinato"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sources.cache_folder() == tmp_path / ".cache" / "ostinato"


def test_the_list_is_sound():
    for name, source in sources.SOURCES.items():
        assert source.name == name
        assert all(len(download.sha256 or "0" * 64) == 64 for download in source.downloads)
        stored = [file for download in source.downloads for file in (*download.members.values(), download.file)]
        assert source.held_out or set(source.parts.values()) <= set(stored)
    assert json.dumps(list(sources.SOURCES))
