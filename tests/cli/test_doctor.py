"""doctor as a user meets it: what is there, and the line to type for what is not."""

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from ostinato import music
from ostinato.cli import doctor as module
from ostinato.cli.main import run


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.005)


@pytest.fixture
def call(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            run(["doctor", *arguments])
        out, err = capsys.readouterr()
        assert (caught.value.code or 0, err) == (0, "")
        return out

    return call


def test_what_is_here(call, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(module.VARIABLES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OTHER", "not ours")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "text").write_bytes(b"x" * 1000)
    (tmp_path / "note").write_bytes(b"x" * 24)
    report = json.loads(call("--json"))
    assert report["python"] == platform.python_version()
    assert report["numpy"]["version"] == np.__version__
    assert report["numpy"]["gflops"] > 0
    assert report["torch"]["gflops"] > 0
    assert report["torch"]["threads"] >= 1
    assert 1 <= report["processor"]["usable"] <= report["processor"]["cores"]
    assert report["cache"] == {"folder": str(tmp_path), "bytes": 1024}
    assert report["environment"] == {"OSTINATO_CACHE": str(tmp_path), "OMP_NUM_THREADS": "3"}


def test_for_people(call, monkeypatch):
    monkeypatch.setenv("OSTINATO_DATA", "/somewhere/[else]")
    out = call()
    assert platform.python_version() in out
    assert "GFLOP/s" in out
    assert "pip install" not in out
    assert "/somewhere/[else]" in out


def missing(name):
    raise PackageNotFoundError(name)


def test_what_is_missing_comes_with_the_line_to_type(call, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(module, "version", missing)
    monkeypatch.setattr(music.shutil, "which", lambda _: None)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "not there"))
    out = call()
    assert 'for training: pip install "ostinato[train]"' in out
    assert 'for pictures: pip install "ostinato[plot]"' in out
    assert 'for reading images: pip install "ostinato[images]"' in out
    assert 'for MIDI: pip install "ostinato[music]"' in out
    assert "sound needs fluidsynth, which is not here; install it (Debian: apt install fluidsynth)" in out
    assert "not there, 0.0 MB" in out
    report = json.loads(call("--json"))
    assert report["torch"] is None
    assert report["matplotlib"] is None
    assert report["pillow"] is None
    assert report["symusic"] is None


def test_the_speed_is_that_of_the_product(monkeypatch):
    clock = iter([0.0, 0.0, 0.25, 0.25, 0.35, 0.6])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module, "SECONDS", 0.5)
    monkeypatch.setattr(module, "SIZE", 1000)
    # Begun at 0.0 and 0.25, ended after 0.25 and 0.1 seconds: 2 * 1000^3 operations in 0.1 seconds
    assert module._gflops(lambda: None) == 20.0
