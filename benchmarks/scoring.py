"""`ostinato score` on a file beside the forward pass of nn.LSTM: characters a second, and memory.

    GOMP_SPINCOUNT=500 python benchmarks/scoring.py [--rounds 5] [--threads 2]

One stream of characters, V 67, two LSTM layers of H 512. Ours is all that the verb does: text to tokens, scores, sums.
The peer's is nn.LSTM, output layer and cross entropy over ids that lie ready, 1,024 at a time, its state carried. Both
give the same nats. With --memory REPEATS one process scores the text so many times over as one stream and says its peak
memory: flat, if ten times the text take no more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import write
from torch import nn

from ostinato.config import ModelConfig
from ostinato.kernels import native
from ostinato.language_model import LanguageModel
from ostinato.text.tokenizer import TokenizerOptions, build
from ostinato.types import Tokenizer

SYMBOLS = "\n abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:!?'-&$3"
CHARACTERS, PIECE, HIDDEN = 100_000, 1_024, 512


class Peer(nn.Module):
    """The model in plain torch."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(vocab, 128)
        self.layers = nn.LSTM(128, HIDDEN, 2)
        self.output = nn.Linear(HIDDEN, vocab)

    def tensors(self) -> dict[str, np.ndarray]:
        """As a model folder has them."""
        found = {f"{name}.weight": getattr(self, name).weight for name in ("embedding", "output")}
        found["output.bias"] = self.output.bias
        for k in range(2):
            for name in ("weight_ih", "weight_hh"):
                found[f"stack.layers.{k}.{name}"] = getattr(self.layers, f"{name}_l{k}")
            found[f"stack.layers.{k}.bias"] = getattr(self.layers, f"bias_ih_l{k}") + getattr(
                self.layers, f"bias_hh_l{k}"
            )
        return {name: tensor.detach().numpy() for name, tensor in found.items()}

    @torch.no_grad()
    def nats(self, ids: torch.Tensor, boundary: int) -> float:
        """Of ``ids (T,)``, which come after the boundary."""
        _, state = self.layers(self.embedding(torch.tensor([[boundary]])))
        readout, total = state[0][-1:], 0.0
        for piece in torch.split(ids, PIECE):
            ahead, state = self.layers(self.embedding(piece[:, None]), state)
            scores = self.output(torch.cat([readout, ahead[:-1]])[:, 0])
            total += float(nn.functional.cross_entropy(scores, piece, reduction="sum"))
            readout = ahead[-1:]
        return total


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--memory", type=int)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer, text = _tokenizer(), _text()
    peer = Peer(tokenizer.vocab_size)
    ours = LanguageModel(ModelConfig(tokenizer.vocab_size, 128, (HIDDEN, HIDDEN)), peer.tensors(), tokenizer)
    if options.memory:
        ours.score(_pieces(text, options.memory), tokens=False)
        print(_peak_megabytes())
        return
    ids = torch.from_numpy(tokenizer.encode(text))
    here, there = ours.score(text, tokens=False).nats, peer.nats(ids, tokenizer.boundary_id)
    assert abs(here / there - 1.0) < 1e-5, f"the nats differ: {here}, {there}"
    sides: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.score(text, tokens=False),
        "nn_lstm": lambda: peer.nats(ids, tokenizer.boundary_id),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    row = {f"{name}_chars_per_second": round(len(text) / median(values)) for name, values in times.items()}
    ratios = [other / own for own, other in zip(times["ours"], times["nn_lstm"], strict=True)]
    found: dict[str, Any] = {"H": HIDDEN, **row, "faster": round(median(ratios), 2), "least": round(min(ratios), 2)}
    found |= {f"peak_mb_of_{n * len(text):,}": _memory(n, options.threads) for n in (1, 10)}
    print(found)
    write("scoring", found, threads=options.threads, instruction_set=native.instruction_set())


def _tokenizer() -> Tokenizer:
    return build(TokenizerOptions("char"), lambda: iter([SYMBOLS]))


def _text() -> str:
    return "".join(np.random.default_rng(0).choice(list(SYMBOLS), CHARACTERS))


def _pieces(text: str, repeats: int) -> Iterator[str]:
    return (text for _ in range(repeats))


def _memory(repeats: int, threads: int) -> int:
    command = [sys.executable, __file__, "--threads", str(threads), "--memory", str(repeats)]
    return round(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def _peak_megabytes() -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


if __name__ == "__main__":
    main()
