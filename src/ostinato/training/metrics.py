"""What a run measured: ``metrics.jsonl`` while it goes on, and pictures of it afterwards."""

from __future__ import annotations

import json
import math
import resource
import sys
from pathlib import Path
from typing import Any

BITS = 1.0 / math.log(2.0)


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class MetricsFile:
    """One JSON object a line, flushed as it is written; a resumed run cuts what came after its checkpoint."""

    def __init__(self, path: Path, upto_step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(path) if line["step"] <= upto_step] if upto_step else []
        self._file = path.open("w", encoding="utf-8")
        for line in kept:
            self.write(line)

    def write(self, line: dict[str, Any]) -> None:
        """Add one line."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def draw(metrics: Path, folder: Path) -> list[Path]:
    """Draw ``loss.svg`` and ``gradients.svg`` from a metrics file; nothing when matplotlib is not there."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("svg")
    lines = _lines(metrics)
    return [_draw_loss(lines, folder / "loss.svg"), _draw_gradients(lines, folder / "gradients.svg")]


def _draw_loss(lines: list[dict[str, Any]], path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [line for line in lines if "loss" in line]
    valid = [line for line in lines if "valid_bits_per_char" in line]
    axes.plot([s["seconds"] / 60 for s in steps], [s["bits_per_char"] for s in steps], lw=0.8, label="training")
    axes.plot(
        [v["seconds"] / 60 for v in valid], [v["valid_bits_per_char"] for v in valid], "o-", ms=3, label="held out"
    )
    axes.set(xlabel="minutes", ylabel="bits per character")
    if valid:  # the first evaluation is of random weights: far above everything that is of interest
        low = min(
            min(v["valid_bits_per_char"] for v in valid),
            *(s["bits_per_char"] for s in steps or valid[:0] or [{"bits_per_char": math.inf}]),
        )
        axes.set_ylim(0.95 * low, 2.2 * min(v["valid_bits_per_char"] for v in valid))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    return path


def _draw_gradients(lines: list[dict[str, Any]], path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [line for line in lines if "gradient_norm" in line]
    minutes = [step["seconds"] / 60 for step in steps]
    axes.semilogy(
        minutes, [step["gradient_norm_max"] for step in steps], lw=0.6, alpha=0.5, label="before clipping, largest"
    )
    axes.semilogy(minutes, [step["gradient_norm"] for step in steps], lw=0.9, label="before clipping, mean")
    axes.semilogy(minutes, [step["gradient_norm_clipped"] for step in steps], lw=0.9, label="after clipping, mean")
    axes.set(xlabel="minutes", ylabel="global norm of the gradient")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    return path


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for text in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:  # the last line of a killed run may be half written
            break
    return lines
