"""Small texts and quick training runs, through the command line and in Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ostinato.cli.main import run

QUICK = {"hidden": 24, "embed": 12, "batch": 8, "bptt": 16, "evaluations": 4}
"""Settings of a run that takes about a second."""


def prose(sentences: int = 400, seed: int = 0) -> str:
    """Made-up sentences: few words, some grammar, so that there is something to learn."""
    rng = random.Random(seed)
    nouns = ["king", "ship", "forest", "river", "letter", "daughter", "storm", "captain", "lantern", "garden"]
    verbs = ["watches", "follows", "forgets", "carries", "finds", "leaves"]
    ends = (".", ".", "!", ", and nobody knows why.")
    lines = []
    for _ in range(sentences):
        first, second = rng.choice(nouns), rng.choice(nouns)
        lines.append(f"The {first} {rng.choice(verbs)} the {second}{rng.choice(ends)}")
    return "\n".join(lines) + "\n"


NAMES = ("anna", "bert", "carla", "dora")


def introductions(conversations: int = 400, seed: int = 0) -> str:
    """Conversations in which the last turn is a name that was given three turns before, and nowhere else."""
    rng = random.Random(seed)
    return "".join(
        f"# names\nmy name is {name}\n{rng.choice(['hello', 'nice to meet you'])}\nwhat is my name\n{name}\n\n"
        for name in rng.choices(NAMES, k=conversations)
    )


def flags(**settings: object) -> list[str]:
    """``hidden=8`` as ``--hidden 8``; True is a bare flag."""
    words: list[str] = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        words += [flag] if value is True else [flag, str(value)]
    return words


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line that states the failure."""
        lines = [line for line in self.err.splitlines() if line.startswith("ostinato: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0]), self.err
        assert "Traceback" not in self.err
        return lines[0]


def command(capsys: pytest.CaptureFixture[str], arguments: Sequence[str | Path]) -> Outcome:
    """Run ``ostinato`` with ``arguments`` in this process."""
    capsys.readouterr()
    status = 0
    try:
        run([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    captured = capsys.readouterr()
    return Outcome(status, captured.out, captured.err)
