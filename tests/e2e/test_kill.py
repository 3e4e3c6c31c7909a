"""A run that is killed again and again ends with the same bytes as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import QUICK, flags, prose

SETTINGS = flags(**{**QUICK, "steps": 150, "checkpoint_seconds": 0.03, "dropout": 0.2, "evaluations": 8})

# A process that has everything imported forks one child after another, each a run of the command line, and kills it.
# It prints how each child ended: the exit status, negative for a signal.
DRIVER = """
import json, os, sys, time
import torch, ostinato.pipeline.run, ostinato.cli.console
from ostinato.cli.main import run

def child(arguments):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        run(arguments)
    except SystemExit as end:
        os._exit(end.code or 0)
    os._exit(0)

whole = None
for arguments, share in json.loads(sys.argv[1]):
    if arguments is None:  # what a user does: go on where there is something to go on from
        arguments = ["train", "prose.txt", "-o", "killed", *sys.argv[2:], "--force"]
        if os.path.exists("killed/training/run.json"):
            arguments = ["train", "-o", "killed", "--resume"]
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        child(arguments)
    if share is not None:
        time.sleep(share * whole)
        os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    whole = whole or time.perf_counter() - start
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def drive(folder: Path, plans: list[tuple[list[str] | None, float | None]]) -> list[int]:
    """Run every plan: arguments (None: begin, or go on), and after which share of the first's time it is killed."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(plans), *SETTINGS],
        capture_output=True, text=True, timeout=120, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prose.txt").write_text(prose())
    return tmp_path


def evaluations(folder: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (folder / "training" / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["valid_nats"]) for line in lines if "valid_nats" in line]


def test_a_run_that_is_killed_again_and_again_ends_like_one_undisturbed(folder: Path) -> None:
    rng = random.Random(4)
    # Half of the moments lie in the start of a run: before its note, its first checkpoint, its first model.
    moments = [rng.uniform(0.0, 0.15) if number % 2 else rng.uniform(0.1, 0.6) for number in range(8)]
    whole = ["train", "prose.txt", "-o", "whole", *SETTINGS]
    ends = drive(folder, [(whole, None), *((None, moment) for moment in moments), (None, None)])
    assert ends[0] == 0
    assert ends.count(-signal.SIGKILL) >= 4
    assert ends[-1] in (0, 1)  # 1: it was complete before
    assert (folder / "killed" / "model.safetensors").read_bytes() == (
        folder / "whole" / "model.safetensors"
    ).read_bytes()
    assert evaluations(folder / "killed") == evaluations(folder / "whole")
    scores = [
        json.loads((folder / name / "config.json").read_text())["training"]["valid"] for name in ("killed", "whole")
    ]
    assert scores[0] == scores[1]
    assert sorted(path.name for path in (folder / "killed").iterdir()) == sorted(
        path.name for path in (folder / "whole").iterdir()
    )


def begun(folder: Path) -> bool:
    try:
        return '"begun": true' in (folder / "training" / "run.json").read_text()
    except OSError:
        return False


def test_ctrl_c_saves_and_says_how_to_go_on(folder: Path) -> None:
    command = [sys.executable, "-m", "ostinato.cli.main", "train", "prose.txt", "-o", "model"]
    command = [sys.executable, "-c", "from ostinato.cli.main import run; run()", *command[3:], *SETTINGS]
    steps = command.index("--steps") + 1
    command[steps] = "100000"
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 60
    while not begun(folder / "model") and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "saved; go on with: ostinato train -o model --resume" in errors
    assert "Traceback" not in errors
    made = json.loads((folder / "model" / "config.json").read_text())["training"]["best_step"]
    resume = ["train", "-o", "model", "--resume", "--steps", str(made + 400)]
    assert drive(folder, [(resume, None)]) == [0]
    assert json.loads((folder / "model" / "config.json").read_text())["training"]["steps"] >= made + 400
