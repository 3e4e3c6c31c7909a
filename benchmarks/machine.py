"""What a figure was measured on, for the head of every result file."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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


def read_bandwidth(size: int, threads: int, enough: float = 0.05) -> float:
    """Bytes a second at which so many are read again and again, each thread its share of them.

    By memchr of the C library for a byte that is not there: it does nothing but read, and outside Python's lock.
    """
    memchr = ctypes.CDLL(None).memchr
    memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    share = size // threads
    passes = max(1, int(enough * 50e9 / size))

    def read(buffer: ctypes.Array[ctypes.c_char]) -> None:
        for _ in range(passes):
            memchr(buffer, 1, share)

    with ThreadPoolExecutor(threads) as pool:
        buffers = [ctypes.create_string_buffer(share) for _ in range(threads)]
        list(pool.map(read, buffers))
        start = time.perf_counter()
        list(pool.map(read, buffers))
        return passes * share * threads / (time.perf_counter() - start)


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
