"""Recurrent layers, forward and backward: ours, torch's, and a loop in torch, as shares of the machine's GEMM peak.

    GOMP_SPINCOUNT=500 python benchmarks/training_kernels.py [--rounds 7] [--threads 2] [--cells lstm ...]

A share counts three times the operations of the forward products. Peers run in turn with ours, in one process; the
ratio is the median over rounds of the ratios within a round. torch's threads spin for a short time only, as
`ostinato.train` sets it: else they take the core that ours need.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from machine import write
from torch import Tensor, nn

from ostinato.config import ModelConfig, Regularisers
from ostinato.kernels import native
from ostinato.nn.recurrent import Stack
from ostinato.training.probe import recurrent_weights

SIZES = ((35, 20, 200, 2), (35, 20, 650, 2), (64, 64, 128, 1), (64, 64, 512, 2), (128, 32, 512, 2))
CELLS = ("rnn", "gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal")
TORCH = {"rnn": nn.RNN, "gru_reset_after": nn.GRU, "lstm": nn.LSTM}
Run = Callable[[], Tensor]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--cells", nargs="+", default=CELLS)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = [measure(cell, *size, rounds=options.rounds) for cell in options.cells for size in SIZES]
    write("training_kernels", rows, threads=options.threads, instruction_set=native.instruction_set())


def measure(cell: str, T: int, B: int, H: int, L: int, rounds: int) -> dict[str, Any]:
    """One row of the table; times in milliseconds."""
    config = ModelConfig(vocab=2, embed=H, hidden=(H,) * L, cell=cell)
    x, d = torch.randn(T, B, H), torch.randn(T, B, H)
    runs: dict[str, Run] = {"ours": _ours(config, x, d)}
    if cell in TORCH:
        runs["torch"] = _trained(TORCH[cell](H, H, L), x, d)
    elif "peephole" in cell:
        runs["loop"] = _trained(Loop(config), x, d)
    times: dict[str, list[float]] = {name: [] for name in ("gemm", *runs)}
    for _ in range(rounds + 1):  # the first warms up
        times["gemm"].append(_gemm())
        for name, run in runs.items():
            times[name].append(_seconds(run, 0.15))
    times = {name: values[1:] for name, values in times.items()}
    operations = 6.0 * T * B * recurrent_weights(config)
    row: dict[str, Any] = {"cell": cell, "T": T, "B": B, "H": H, "layers": L}
    row["gemm_gflops"] = round(median(times["gemm"]) / 1e9)
    row["ours_gflops"] = round(median(operations / s for s in times["ours"]) / 1e9)
    row["share"] = round(median(operations / s / g for s, g in zip(times["ours"], times["gemm"], strict=True)), 2)
    row |= {f"{name}_ms": round(1e3 * median(times[name]), 2) for name in runs}
    for name in runs.keys() - {"ours"}:
        row[f"faster_than_{name}"] = round(median(p / s for p, s in zip(times[name], times["ours"], strict=True)), 2)
    print(row, flush=True)
    return row


def _gemm() -> float:
    """Operations a second of the fastest of torch.mm at 512, 768 and 1024: the machine's GEMM peak."""
    best = 0.0
    for size in (512, 768, 1024):
        a, b = torch.randn(size, size), torch.randn(size, size)
        best = max(best, 2.0 * size**3 / _seconds(lambda a=a, b=b: a @ b, 0.05))  # type: ignore[misc]
    return best


def _seconds(run: Callable[[], Any], enough: float) -> float:
    """Of one run, repeated for ``enough`` seconds; the fastest of them."""
    best, end = float("inf"), time.perf_counter() + enough
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _ours(config: ModelConfig, x: Tensor, d: Tensor) -> Run:
    stack = Stack(config, Regularisers())
    state = stack.initial_state(x.shape[1])
    return _trained(lambda x: stack(x, state), x, d, list(stack.parameters()))


def _trained(layer: Any, x: Tensor, d: Tensor, parameters: list[nn.Parameter] | None = None) -> Run:
    """Forward and backward of ``layer`` with the gradients of input and weights."""
    weights = list(layer.parameters()) if parameters is None else parameters

    def run() -> Tensor:
        leaf = x.detach().requires_grad_()
        outputs = layer(leaf)[0]
        torch.autograd.grad(outputs, [leaf, *weights], d)
        return outputs  # type: ignore[no-any-return]

    return run


class Loop(nn.Module):
    """Peephole layers as one writes them in torch: a loop over time, gradients by autograd."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stack = Stack(config, Regularisers())

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Outputs ``(T, B, H)``, as a pair like torch's layers."""
        for layer in self.stack.layers:
            w = dict(layer.named_parameters())
            h = c = x.new_zeros(x.shape[1], w["weight_hh"].shape[1])
            a = nn.functional.linear(x, w["weight_ih"], w["bias"])
            outputs = []
            for a_t in a:
                i, f, g, o = (a_t + h @ w["weight_hh"].t()).chunk(4, 1)
                i, f = torch.sigmoid(i + _see(c, w["weight_ci"])), torch.sigmoid(f + _see(c, w["weight_cf"]))
                c = f * c + i * torch.tanh(g)
                h = torch.sigmoid(o + _see(c, w["weight_co"])) * torch.tanh(c)
                outputs.append(h)
            x = torch.stack(outputs)
        return x, None


def _see(c: Tensor, V: Tensor) -> Tensor:
    return c * V if V.dim() == 1 else c @ V.t()


if __name__ == "__main__":
    main()
