"""Training on a GPU: recurrent layers forward and backward, ours, torch's, and a loop over steps; then whole runs.

    python benchmarks/gpu.py [--rounds 5] [--text FILE --seconds 60]

Ours is a kernel of one launch; `by` says which of them `ostinato train --device cuda` runs at that size. Outputs and
gradients of all are compared before any is timed.
Times in milliseconds, medians over rounds; the loop is the same equations, an operation at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import write
from torch import Tensor

import ostinato
from ostinato.kernels.autograd import gpu, sequence
from ostinato.kernels.autograd.loops import LOOPS, RNN_LOOPS
from ostinato.kernels.reference import weight_shapes

SIZES = ((64, 64, 256), (64, 64, 512), (128, 32, 512), (35, 20, 650), (64, 64, 1024), (64, 256, 1024))
TOLERANCE = 0.02
"""Of the largest entry: products of tf32 have ten bits, through 128 steps and back."""
CELLS = ("rnn", "gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--text", type=Path)
    arguments.add_argument("--seconds", type=float, default=60.0)
    options = arguments.parse_args()
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "RNN module weights")
    rows: list[dict[str, Any]] = [measure(cell, *size, options.rounds) for cell in CELLS for size in SIZES]
    if options.text is not None:
        rows.append(whole_run(options.text, options.seconds))
    write("gpu", rows, card=torch.cuda.get_device_name(), torch=torch.__version__)


def measure(cell: str, T: int, B: int, H: int, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    weights = {
        name: torch.randn(shape, device="cuda").mul_(H**-0.5).requires_grad_()
        for name, shape in weight_shapes(cell, H, H).items()
    }
    x = torch.randn(T, B, H, device="cuda")
    state = tuple(
        torch.zeros(B, H, device="cuda") for _ in range(1 if cell in ("rnn", "gru", "gru_reset_after") else 2)
    )
    activation = "tanh"

    loop = RNN_LOOPS[activation] if cell == "rnn" else LOOPS[cell]
    function = sequence._fused(cell, activation, x)
    runs: dict[str, Callable[[], Tensor]] = {
        "kernel": lambda: sequence._run_loop(gpu.loop(cell, activation), x, weights, state, None)[0],
        "loop": lambda: sequence._run_loop(loop, x, weights, state, None)[0],
    }
    if function is not None:
        runs["torch"] = lambda: sequence._run_fused(function, x, weights, state, None)[0]
    check(runs, list(weights.values()))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(_seconds(run, 2 if name == "loop" else 10))
    ours = gpu.find(cell, activation, x, H, rival=function is not None)
    row: dict[str, Any] = {"cell": cell, "T": T, "B": B, "H": H, "by": "torch" if ours is None else "kernel"}
    row |= {f"{name}_ms": round(1e3 * median(values), 3) for name, values in times.items()}
    for name in runs.keys() - {"kernel"}:
        each = zip(times[name], times["kernel"], strict=True)
        row[f"kernel_faster_than_{name}"] = round(median(theirs / mine for theirs, mine in each), 2)
    print(row, flush=True)
    return row


def check(runs: Mapping[str, Callable[[], Tensor]], inputs: Sequence[Tensor]) -> None:
    """Exits when outputs, or gradients of ``inputs``, are not those of the loop."""
    wanted: list[Tensor] | None = None
    for name in ("loop", *(runs.keys() - {"loop"})):
        y = runs[name]()
        torch.manual_seed(1)
        found = [y.detach(), *torch.autograd.grad(y, inputs, torch.randn_like(y))]
        wanted = wanted or found
        worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True))
        if not worst < TOLERANCE:
            sys.exit(f"{name} is {worst:.2g} of the largest entry off the loop; no timing of wrong results")


def _seconds(run: Any, count: int) -> float:
    run().sum().backward()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        run().sum().backward()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def whole_run(text: Path, seconds: float) -> dict[str, Any]:
    """What `ostinato train --device cuda` reaches in a time."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        ostinato.train(text, out=out, device="cuda", minutes=seconds / 60, level="char")
        found = json.loads((out / "config.json").read_text())["training"]
    row = {"run": text.name, "architecture": found["architecture"], "wanted_seconds": seconds}
    row |= {name: found[name] for name in ("seconds", "steps", "epochs", "parameters")}
    row |= {f"valid_{name}": value for name, value in found["valid"].items()}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
