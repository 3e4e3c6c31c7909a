"""What a figure was measured on, for the head of every result file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """CPU, cores, Python, commit, date and the command that runs now."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": _commit(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(("GOMP_", "OMP_"))},
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_portable, sys.argv[1:])]),
    }


def _portable(argument: str) -> str:
    """An argument as it may be written down: of a path on this machine only the name."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def write(name: str, results: Any, **about: Any) -> Path:
    """Write ``benchmarks/results/NAME.json``: the machine, what else is to be said ``about`` it, the results."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **about, "results": results}, indent=1) + "\n", "utf-8")
    return path


def data_folder() -> Path:
    """The local copy of the corpora, OSTINATO_DATA."""
    folder = os.environ.get("OSTINATO_DATA")
    if not folder:
        sys.exit("set OSTINATO_DATA to a folder of corpora, laid out as `ostinato data` shows")
    return Path(folder)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    widest = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "")
    return f"{model}, {widest}".rstrip(", ")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
