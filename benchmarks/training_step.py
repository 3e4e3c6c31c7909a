"""A whole training step, ours and plain torch's of the same model: embedding, layers, output, loss, clipping, AdamW.

    GOMP_SPINCOUNT=500 python benchmarks/training_step.py [--rounds 7] [--threads 2]

Both in turn in one process; the ratio is the median over rounds. Losses of the two, from the same weights, are compared
first. With --memory MODEL SIDE one side runs alone and says its peak memory: the table has it for the largest
vocabulary.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import write
from torch import Tensor, nn

from ostinato.config import ModelConfig, Regularisers
from ostinato.kernels import native
from ostinato.kernels.autograd import linear_cross_entropy
from ostinato.nn.embedding import look_up
from ostinato.nn.recurrent import Encoder, Stack
from ostinato.training.optim import Updater
from ostinato.training.settings import TrainingConfig


@dataclass(frozen=True)
class Size:
    """A row of the table."""

    vocab: int
    hidden: int
    T: int
    B: int
    tied: bool = False
    bidirectional: bool = False

    @property
    def name(self) -> str:
        """As the table says it."""
        return f"V {self.vocab:,} H {self.hidden}" + " tied" * self.tied + " bidirectional" * self.bidirectional


SIZES = (
    Size(65, 128, 64, 64),
    Size(10_000, 200, 35, 20, tied=True),
    Size(33_278, 200, 35, 20, tied=True),
    Size(65, 512, 64, 64),
    Size(65, 256, 64, 32, bidirectional=True),
)
RATE = 1e-3
Step = Callable[[Tensor], float]


class Plain(nn.Module):
    """As one writes it in torch."""

    output: nn.Linear

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocab, size.hidden)
        self.layers = nn.LSTM(size.hidden, size.hidden, 2, bidirectional=size.bidirectional)
        self.output = nn.Linear(size.hidden * (2 if size.bidirectional else 1), size.vocab)
        if size.tied:
            self.output.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        """The mean of nats."""
        logits = self.output(self.layers(self.embedding(ids[:-1]))[0])
        return nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten())


class Ours(nn.Module):
    """The same of our parts."""

    output: nn.Linear

    def __init__(self, size: Size) -> None:
        super().__init__()
        config = ModelConfig(vocab=size.vocab, embed=size.hidden, hidden=(size.hidden,) * 2, cell="lstm")
        self.embedding = nn.Embedding(size.vocab, size.hidden)
        self.layers = (Encoder if size.bidirectional else Stack)(config, Regularisers())
        self.output = nn.Linear(self.layers.readout_width, size.vocab)
        if size.tied:
            self.output.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        """The mean of nats."""
        weight = self.embedding.weight
        tied = self.output.weight is weight
        x, weight = look_up(ids[:-1], weight, 0.0, training=True, tied=tied)
        readout, _ = self.layers(x, self.layers.initial_state(ids.shape[1]))
        targets = ids[1:].flatten()
        output = weight if tied else self.output.weight
        return linear_cross_entropy(readout.flatten(0, 1), output, self.output.bias, targets) / len(targets)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--memory", nargs=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.memory:
        _say_memory(SIZES[int(options.memory[0])], options.memory[1])
        return
    rows = [measure(size, options.rounds) for size in SIZES]
    peaks = {side: _memory(2, side, options.threads) for side in ("ours", "torch")}
    rows[2] |= {f"{side}_peak_mb": round(peak) for side, peak in peaks.items()}
    print(rows[2])
    write("training_step", rows, threads=options.threads, instruction_set=native.instruction_set())


def measure(size: Size, rounds: int) -> dict[str, Any]:
    """One row of the table; times in milliseconds."""
    plain, ours = Plain(size), Ours(size)
    _copy(plain, ours, size)
    ids = torch.randint(size.vocab, (size.T + 1, size.B))
    apart = abs(float(plain(ids).detach()) - float(ours(ids).detach()))
    assert apart < 1e-4, f"{size.name}: the losses are {apart} apart"
    steps = {"ours": _our_step(ours), "torch": _plain_step(plain)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            times[name].append(_seconds(step, ids))
    times = {name: values[1:] for name, values in times.items()}
    row: dict[str, Any] = {"model": size.name, "T": size.T, "B": size.B}
    row |= {f"{name}_ms": round(1e3 * median(values), 2) for name, values in times.items()}
    ratios = [there / here for there, here in zip(times["torch"], times["ours"], strict=True)]
    row |= {"faster": round(median(ratios), 2), "least": round(min(ratios), 2), "most": round(max(ratios), 2)}
    print(row, flush=True)
    return row


def _copy(plain: Plain, ours: Ours, size: Size) -> None:
    """Give ours the weights of torch's."""
    with torch.no_grad():
        for name in ("embedding", "output"):
            getattr(ours, name).load_state_dict(getattr(plain, name).state_dict())
        for k, layer in enumerate(ours.layers.layers):
            sides: dict[str, Any] = (
                {"": layer} if not size.bidirectional else {"": layer.left_to_right, "_reverse": layer.right_to_left}
            )
            for suffix, side in sides.items():
                for matrix in ("weight_ih", "weight_hh"):
                    getattr(side, matrix).copy_(getattr(plain.layers, f"{matrix}_l{k}{suffix}"))
                biases = [getattr(plain.layers, f"bias_{part}_l{k}{suffix}") for part in ("ih", "hh")]
                side.bias.copy_(biases[0] + biases[1])


def _our_step(model: Ours) -> Step:
    updater = Updater(model, TrainingConfig(1, 1, RATE, steps=1, clip=1.0), 0.01)

    def step(ids: Tensor) -> float:
        updater.optimiser.zero_grad(set_to_none=True)
        loss = model(ids)
        loss.backward()
        updater.step(RATE)
        return float(loss.detach())

    return step


def _plain_step(model: Plain) -> Step:
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)

    def step(ids: Tensor) -> float:
        optimiser.zero_grad()
        loss = model(ids)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    return step


def _seconds(step: Step, ids: Tensor, enough: float = 0.3) -> float:
    """Of one step; the median of those that fit."""
    times: list[float] = []
    end = time.perf_counter() + enough
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step(ids)
        times.append(time.perf_counter() - start)
    return median(times)


def _memory(index: int, side: str, threads: int) -> float:
    command = [sys.executable, __file__, "--threads", str(threads), "--memory", str(index), side]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def _say_memory(size: Size, side: str) -> None:
    """Print the megabytes that ten steps take, beyond what the imports and ten steps at a vocabulary of 100 took.

    Those load 100 MB of torch's own code, on both sides alike.
    """
    _ten_steps(replace(size, vocab=100), side)
    before = _memory_of("VmRSS")
    _ten_steps(size, side)
    print(_memory_of("VmHWM") - before)


def _ten_steps(size: Size, side: str) -> None:
    step = _our_step(Ours(size)) if side == "ours" else _plain_step(Plain(size))
    ids = torch.randint(size.vocab, (size.T + 1, size.B))
    for _ in range(10):
        step(ids)


def _memory_of(name: str) -> float:
    """Megabytes of this process as Linux counts them; its peak (VmHWM) is its own, not that of who started it."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3


if __name__ == "__main__":
    main()
