"""What the whole suite shares: a cache of its own, no settings from outside, one small trained model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# In CI the same examples every time, so that a red run speaks of the change; elsewhere new ones, to find more.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or written to the caches and settings of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("OSTINATO_"):
                patch.delenv(name)
        patch.setenv("OSTINATO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text file."""
    from runs import prose

    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(prose(), "utf-8")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """A model folder: characters, trained for a second on ``text``. Tests must not change it."""
    from runs import QUICK

    import ostinato

    folder = tmp_path_factory.mktemp("trained") / "model"
    ostinato.train(text, out=folder, steps=120, lr=0.01, **QUICK)
    return folder


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: words, trained for two seconds to say the name that it was told. Tests must not change it."""
    from runs import introductions

    import ostinato
    from ostinato.text.conversations import Conversations

    folder = tmp_path_factory.mktemp("talker")
    (folder / "talk.txt").write_text(introductions(), "utf-8")
    (folder / "text.txt").write_text("".join(Conversations([folder / "talk.txt"]).chunks()), "utf-8")
    sizes = {"level": "word", "hidden": 48, "embed": 16, "batch": 16, "bptt": 32, "evaluations": 2, "dropout": 0.0}
    ostinato.train(folder / "text.txt", out=folder / "model", steps=1200, lr=0.01, **sizes)
    return folder / "model"
