"""Does a longer text cost more memory to train on?

    OMP_NUM_THREADS=1 python benchmarks/memory_corpus.py

Generates texts of 10 and 200 MB, trains on each with ``ostinato train --steps 50`` in a process of its own, with the
last tenth held out as always, at char and at word level. Reports the peak of its memory, and what of its memory at the
end is its own: the rest are pages of files, which the system takes back when it needs them. First it checks that both
runs did what they should: that all of the text was read, and the whole held-out part scored. Writes
results/memory_corpus.json. Takes about four minutes of CPU time and 0.7 GB of disk.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import write

MEGABYTES = (10, 200)
WORDS = 5_000
SETTINGS = ["--steps", "50", "--hidden", "64", "--evaluations", "2", "--checkpoint-seconds", "1", "--json"]


def generate(path: Path, megabytes: int) -> None:
    """Lines of made-up words, some frequent, most rare, from a fixed seed."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(WORDS)])
    chances = 1.0 / np.arange(1, WORDS + 1)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1_000_000:
            drawn = words[rng.choice(WORDS, 120_000, p=chances / chances.sum())]
            file.write("\n".join(" ".join(line) for line in drawn.reshape(-1, 12)) + "\n")
        file.truncate(megabytes * 1_000_000)


def measure(text: Path, level: str, folder: Path) -> dict[str, Any]:
    """Peak memory and own memory in MB, and time of one run; raises when it did not do its work."""
    command = [
        sys.executable,
        "-c",
        CHILD,
        "train",
        str(text),
        "-o",
        str(folder / "model"),
        "--level",
        level,
        *SETTINGS,
    ]
    environment = {**os.environ, "OSTINATO_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    took = time.perf_counter() - start
    summary, peak, own = (json.loads(line) for line in done.stdout.splitlines()[-3:])
    size = text.stat().st_size
    assert summary["train_chars"] == int(0.9 * size), summary
    assert summary["steps"] == 50
    if level == "char":
        assert summary["valid"]["tokens"] == size - int(0.9 * size)
    return {
        "megabytes": size / 1e6,
        "level": level,
        "peak_mb": round(peak / 1024),
        "own_mb": round(own / 1024),
        "seconds": round(took, 1),
    }


CHILD = """
import resource
from ostinato.cli.main import run
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon")))
"""


def main() -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    results = []
    for megabytes in MEGABYTES:
        for level in ("char", "word"):
            with tempfile.TemporaryDirectory() as name:
                text = Path(name) / "text.txt"
                generate(text, megabytes)
                results.append(measure(text, level, Path(name)))
                print(results[-1], flush=True)
    print(write("memory_corpus", results))


if __name__ == "__main__":
    main()
