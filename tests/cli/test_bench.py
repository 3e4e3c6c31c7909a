"""bench as a user meets it."""

import json
import sys

import pytest

from ostinato.cli import bench as module
from ostinato.cli.main import run
from ostinato.kernels import native


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.002)
    monkeypatch.setattr(module, "WRITING", ((20, 16),))
    monkeypatch.setattr(module, "SCORING", ((20, 16),))
    monkeypatch.setattr(module, "TRAINING", ((20, (16,), 8), (1500, (16, 16), 8)))
    monkeypatch.setattr("ostinato.training.probe.PROBE_SECONDS", 0.0)


@pytest.fixture
def call(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            run(["bench", *arguments])
        out, err = capsys.readouterr()
        assert (caught.value.code or 0, err) == (0, "")
        return out

    return call


def test_every_figure_is_there(call):
    report = json.loads(call("--json"))
    assert report["core"] == native.instruction_set()
    (writing,), (scoring,), training = report["writing"], report["scoring"], report["training"]
    assert writing["microseconds_per_token"] > 0
    assert scoring["tokens_per_second"] > 0
    assert [row["hidden"] for row in training] == [[16], [16, 16]]
    assert all(row["tokens_per_second"] > 0 for row in training)


def test_for_people(call):
    out = call()
    for word in ("native core", "microseconds a token", "vocabulary     20", "2 x 16", "tokens a second"):
        assert word in out


def test_without_torch_and_without_a_core(call, monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setitem(sys.modules, "ostinato.training.probe", None)
    out = call()
    assert "not built (see `ostinato doctor`)" in out
    assert 'training needs torch: pip install "ostinato[train]"' in out
