"""``ostinato doctor``: what this machine has, and the line to type for what is missing."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import __version__
from ostinato.cli.arguments import Flag
from ostinato.errors import OstinatoError
from ostinato.music import find_player
from ostinato.text.sources import cache_folder

SIZE = 512
"""Side of the matrices of the speed test: about a layer's products, too large for the first-level cache."""
SECONDS = 0.1
"""How long each speed test takes."""
VARIABLES = ("OSTINATO_", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Beginnings of the names of environment variables that change what Ostinato does."""
INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "neon", "asimd", "sve")


def doctor(*, json: Flag = False) -> None:
    """Show what this machine has: Python, processor, libraries, folders; what to install.

    Parameters
    ----------
    json
        Print JSON.
    """
    report = {
        "ostinato": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "core": _core(),
        "numpy": _numpy(),
        "torch": _torch(),
        "matplotlib": _matplotlib(),
        "pillow": _installed("pillow"),
        "symusic": _installed("symusic"),
        "fluidsynth": _player(),
        "cache": _cache(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(VARIABLES)},
    }
    if json:
        print(dumps(report, ensure_ascii=False))
    else:
        _print(report)


def _processor() -> dict[str, Any]:
    facts = _cpu_info()
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "model": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
    }


def _cpu_info() -> dict[str, str]:
    """What Linux says of its first processor; elsewhere nothing."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text("utf-8").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _core() -> dict[str, Any] | None:
    """The native core: the instruction set in use, and those it could use here."""
    from ostinato.kernels import native

    if not native.available():
        return None
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    out = np.empty((SIZE, SIZE), np.float32)
    return {
        "instruction_set": native.instruction_set(),
        "instruction_sets": native.instruction_sets(),
        "threads": native.threads(),
        "gflops": _gflops(lambda: native.multiply(x, w, out, native.threads())),
    }


def _numpy() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    return {"version": np.__version__, "gflops": _gflops(lambda: x @ w)}


def _torch() -> dict[str, Any] | None:
    try:
        import torch
    except (ImportError, OSError):  # OSError: it is there, but a library that it needs is not
        return None
    x, w = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
        "gflops": _gflops(lambda: x @ w),
    }


def _matplotlib() -> dict[str, Any] | None:
    try:
        import matplotlib
    except ImportError:
        return None
    return {"version": matplotlib.__version__}


def _installed(library: str) -> dict[str, Any] | None:
    try:
        return {"version": version(library)}
    except PackageNotFoundError:
        return None


def _player() -> dict[str, Any]:
    """What plays tunes, or why nothing does."""
    try:
        program, font = find_player()
    except OstinatoError as error:
        return {"missing": str(error)}
    return {"program": program, "soundfont": font}


def _gflops(product: Callable[[], object]) -> float:
    """Billions of operations a second of a square product, the best of those that fit into SECONDS."""
    product()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while (begin := time.perf_counter()) < end:
        product()
        best = min(best, time.perf_counter() - begin)
    return round(2 * SIZE**3 / best / 1e9, 1)


def _cache() -> dict[str, Any]:
    folder = cache_folder()
    return {"folder": str(folder), "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())}


def _print(report: dict[str, Any]) -> None:
    rows = _rows(report)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")


def _rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    processor, cache = report["processor"], report["cache"]
    cores = f"{processor['usable']} of {processor['cores']} cores"
    return [
        ("ostinato", report["ostinato"]),
        ("python", f"{report['python']} on {report['platform']}"),
        ("processor", ", ".join([processor["model"], cores, *processor["instructions"]])),
        ("core", _core_row(report["core"])),
        ("numpy", f"{report['numpy']['version']}, {report['numpy']['gflops']} GFLOP/s"),
        *_torch_rows(report["torch"]),
        ("matplotlib", _or_install(report["matplotlib"], "pictures", "plot")),
        ("pillow", _or_install(report["pillow"], "reading images", "images")),
        ("symusic", _or_install(report["symusic"], "MIDI", "music")),
        ("fluidsynth", report["fluidsynth"].get("missing") or "{program}, {soundfont}".format(**report["fluidsynth"])),
        ("cache", f"{cache['folder']}, {cache['bytes'] / 1e6:.1f} MB"),
        *((name, value) for name, value in report["environment"].items()),
    ]


def _core_row(core: dict[str, Any] | None) -> str:
    if core is None:
        return "not built: everything works, slower; with a C++ compiler at hand install again"
    others = ", ".join(name for name in core["instruction_sets"] if name != core["instruction_set"])
    return (
        f"{core['instruction_set']} (also {others}; OSTINATO_ISA chooses), {core['threads']} threads, "
        f"{core['gflops']} GFLOP/s"
    )


def _torch_rows(torch: dict[str, Any] | None) -> list[tuple[str, str]]:
    if torch is None:
        return [("torch", _or_install(None, "training", "train"))]
    cuda = ", ".join(torch["cuda"]) or "none that torch can use"
    return [
        ("torch", f"{torch['version']}, {torch['threads']} threads, {torch['gflops']} GFLOP/s"),
        ("GPU", cuda),
    ]


def _or_install(found: dict[str, Any] | None, purpose: str, extra: str) -> str:
    return found["version"] if found else f'not installed; for {purpose}: pip install "ostinato[{extra}]"'
