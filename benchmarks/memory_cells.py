"""How far back does the gradient of each cell reach, fresh and after training on a task that needs a long memory?

    OMP_NUM_THREADS=1 python benchmarks/memory_cells.py

Trains every cell on the adding problem (Hochreiter and Schmidhuber 1997, as stated by Le et al. 2015), all with the
same steps, batches, rate and seed, one thread; then scales the recurrent matrix of a fresh tanh network, to see its
gradient vanish and explode. Writes docs/pictures/gradients-by-cell.svg, docs/pictures/gradients-by-scale.svg and
results/memory_cells.json, and prints the table of docs/cells.md. Takes about six minutes of CPU time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from machine import write
from torch import Tensor, nn

from ostinato import pictures
from ostinato.config import ModelConfig, Regularisers
from ostinato.nn.recurrent import Recurrent
from ostinato.training.watch import Norms, state_gradients

SEED = 0
HIDDEN = 64
LENGTH = 100
"""Steps of a training sequence."""
STEPS = 4000
BATCH = 32
RATE = 2e-3
CLIP = 1.0
LAGS = 200
ROWS = 64
"""Sequences that the gradients are averaged over."""
HELD_OUT = 1000
EVERY = 250
"""Steps between two looks at the held-out error."""
LEARNED = 0.01
SCALES = (0.7, 0.9, 1.0, 1.1, 1.3, 1.6)
"""Of the recurrent matrix of a fresh tanh layer."""
CELLS = {
    "rnn tanh": ("rnn", "tanh"),
    "rnn relu (identity)": ("rnn", "relu"),
    "gru": ("gru", "tanh"),
    "gru_reset_after": ("gru_reset_after", "tanh"),
    "lstm": ("lstm", "tanh"),
    "peephole": ("peephole", "tanh"),
    "peephole_diagonal": ("peephole_diagonal", "tanh"),
}


class Adder(nn.Module):
    """One recurrent layer and a linear unit that reads its last output."""

    def __init__(self, cell: str, activation: str) -> None:
        super().__init__()
        config = ModelConfig(vocab=1, embed=2, hidden=(HIDDEN,), cell=cell, activation=activation)
        self.layer = Recurrent(2, HIDDEN, config, Regularisers())
        self.output = nn.Linear(HIDDEN, 1)

    def zero(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first step."""
        return tuple(torch.zeros(batch, width) for width in self.layer.state_widths())

    def forward(self, x: Tensor) -> Tensor:
        """The sum ``(B,)`` that it takes ``x (T, B, 2)`` to ask for."""
        outputs, _ = self.layer(x, self.zero(x.shape[1]))
        answer: Tensor = self.output(outputs[-1])[:, 0]
        return answer


def main() -> None:
    torch.set_num_threads(1)
    fresh, trained, rows = {}, {}, []
    for name, (cell, activation) in CELLS.items():
        torch.manual_seed(SEED)
        net = Adder(cell, activation)
        fresh[name] = reach(net)
        row = {"cell": name, "parameters": sum(p.numel() for p in net.parameters()), **train(net)}
        trained[name] = reach(net)
        row["norm_at_100"] = {"fresh": float(fresh[name][100]), "trained": float(trained[name][100])}
        rows.append(row)
        print(line(row), flush=True)
    panels = {"at initialisation": fresh, f"after {STEPS:,} steps of training": trained}
    here = Path(__file__).parent
    folder = here.parent / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    pictures.draw_lags(panels, range(LAGS + 1), folder / "gradients-by-cell.svg")
    scaled = {"rnn tanh, at initialisation": {f"U x {scale}": reach(scaled_rnn(scale)) for scale in SCALES}}
    pictures.draw_lags(scaled, range(LAGS + 1), folder / "gradients-by-scale.svg")
    write(
        "memory_cells",
        rows,
        question="norm of d loss_T / d state by lag, fresh and after the adding problem; held-out squared error",
        task={"length": LENGTH, "hidden": HIDDEN, "steps": STEPS, "batch": BATCH, "rate": RATE, "clip": CLIP},
        seed=SEED,
        norms={
            when: {cell: [float(f"{norm:.3e}") for norm in norms[::10]] for cell, norms in curves.items()}
            for when, curves in (panels | scaled).items()
        },
    )


def scaled_rnn(scale: float) -> Adder:
    """A fresh tanh network whose recurrent matrix is an orthogonal one times ``scale``."""
    torch.manual_seed(SEED)
    net = Adder("rnn", "tanh")
    with torch.no_grad():
        net.layer.get_parameter("weight_hh").mul_(scale)
    return net


def adding(length: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences ``(T, B, 2)`` of a number from 0 to 1 and a mark; the sums ``(B,)`` of the two marked numbers.

    One mark lies in the first half, one in the second. Always answering 1 has a mean squared error of 1/6.
    """
    values = torch.rand(length, batch, generator=generator)
    marks = torch.zeros(length, batch)
    half = length // 2
    for first, last in ((0, half), (half, length)):
        marks.scatter_(0, torch.randint(first, last, (1, batch), generator=generator), 1.0)
    return torch.stack([values, marks], dim=-1), (values * marks).sum(0)


def train(net: Adder) -> dict[str, Any]:
    """Adam with clipped gradients; the held-out error at the end, and when it first was small."""
    generator = torch.Generator().manual_seed(SEED + 1)
    x_held, y_held = adding(LENGTH, HELD_OUT, torch.Generator().manual_seed(SEED + 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    errors: list[float] = []
    begin = time.process_time()
    for step in range(1, STEPS + 1):
        x, y = adding(LENGTH, BATCH, generator)
        optimiser.zero_grad()
        error: Tensor = nn.functional.mse_loss(net(x), y)
        error.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimiser.step()
        if step % EVERY == 0:
            with torch.no_grad():
                errors.append(float(nn.functional.mse_loss(net(x_held), y_held)))
    learned = next((EVERY * (k + 1) for k, error in enumerate(errors) if error < LEARNED), None)
    return {"error": errors[-1], "learned_at": learned, "cpu_seconds": time.process_time() - begin, "errors": errors}


def reach(net: Adder) -> Norms:
    """Norms ``(LAGS + 1,)`` of d loss / d state by lag, lag 0 = 1, on longer sequences than those of training."""
    x, y = adding(LAGS + 1, ROWS, torch.Generator().manual_seed(SEED + 3))

    def loss() -> Tensor:
        state = net.zero(ROWS)
        for t in range(len(x)):
            outputs, state = net.layer(x[t : t + 1], state)
        error: Tensor = (net.output(outputs[0])[:, 0] - y).square().sum()
        return error

    norms = state_gradients([net.layer], loss)[0]
    relative: Norms = norms / norms[0]
    return relative


def line(row: dict[str, Any]) -> str:
    learned = "-" if row["learned_at"] is None else f"{row['learned_at']:,}"
    fresh, trained = row["norm_at_100"]["fresh"], row["norm_at_100"]["trained"]
    return (
        f"| `{row['cell']}` | {row['parameters']:,} | {row['error']:.4f} | {learned} | {row['cpu_seconds']:.0f} "
        f"| {fresh:.1e} | {trained:.1e} |"
    )


if __name__ == "__main__":
    main()
