"""How long does a command take to answer, from nothing?

    python benchmarks/startup.py [MODEL]

Median and range of ten starts of `ostinato --help`, and of `ostinato sample MODEL --tokens 80` when a model folder
is given. Checks first that neither imports torch.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import write

REPEATS = 10
OSTINATO = str(Path(sys.executable).with_name("ostinato"))


def main() -> None:
    verbs = {"ostinato --help": ["--help"]}
    if len(sys.argv) > 1:
        verbs["ostinato sample MODEL --tokens 80"] = ["sample", sys.argv[1], "--tokens", "80", "--seed", "1"]
    rows = []
    for name, arguments in verbs.items():
        check_without_torch(arguments)
        times = [seconds(arguments) for _ in range(REPEATS)]
        row = {"what": name, "median_s": statistics.median(times), "least_s": min(times), "most_s": max(times)}
        rows.append(row)
        print(f"{name:36} {row['median_s']:.3f} s  ({row['least_s']:.3f} to {row['most_s']:.3f})")
    write("startup", rows)


def check_without_torch(arguments: list[str]) -> None:
    """End with an error when the command imports torch."""
    code = (
        "import sys; from ostinato.cli.main import run\n"
        f"try: run({arguments!r})\n"
        "except SystemExit: pass\n"
        "sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode:
        sys.exit(f"ostinato {' '.join(arguments)} imports torch, or fails")


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([OSTINATO, *arguments], capture_output=True, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
