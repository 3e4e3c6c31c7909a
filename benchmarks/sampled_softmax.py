"""A whole training step with the full softmax and with `sampled_softmax`, on WikiText-2: 33,278 words.

    OSTINATO_DATA=... python benchmarks/sampled_softmax.py [--rounds 11]

LSTM 2 x 200, tied and not, windows of 35 steps and 20 lanes, one thread. All in turn in one process; the times are
medians of CPU time, so that another process beside it costs little. First the loss with nearly all words as candidates
is held against the full one.
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle, islice
from statistics import median
from typing import Any

import torch
from machine import data_folder, write
from torch import Tensor

from ostinato.config import ModelConfig, Regularisers
from ostinato.data.lanes import Lanes, Place
from ostinato.data.store import count_tokens
from ostinato.kernels import native
from ostinato.kernels.autograd import linear_cross_entropy
from ostinato.models.build import build
from ostinato.models.tokens import CrossEntropy, TokenModel
from ostinato.nn.sampled import SampledSoftmax
from ostinato.pipeline.prepare import prepare
from ostinato.pipeline.settings import TextSettings
from ostinato.training.optim import Updater
from ostinato.training.settings import TrainingConfig

HIDDEN, T, B = 200, 35, 20
DRAWN = (500, 1000, 2000, 4000, 8000)
DROPOUT = Regularisers(dropout_input=0.1, dropout_hidden=0.1, dropout_output=0.1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=11)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = data_folder() / "wikitext-2"
    settings = TextSettings(level="word", valid=str(folder / "wiki.valid.tokens"))
    text = prepare([folder / "wiki.train.tokens.gz"], settings)
    lanes, vocab = Lanes(text.store.parts["train"], B, T), text.tokenizer.vocab_size
    windows = [torch.from_numpy(lanes.window(Place(0, k))) for k in range(16)]
    counts = torch.from_numpy(count_tokens(lanes.ids, vocab))
    rows = [measure(windows, counts, tied, rounds) for tied in (True, False)]
    write("sampled_softmax", rows, threads=1, instruction_set=native.instruction_set(), vocab=vocab, hidden=HIDDEN)


def measure(windows: list[Tensor], counts: Tensor, tied: bool, rounds: int) -> dict[str, Any]:
    """One model: milliseconds of CPU time a step, by the number drawn; 0 is the full softmax."""
    V = len(counts)
    model = build(ModelConfig(vocab=V, embed=HIDDEN, hidden=(HIDDEN, HIDDEN), tied=tied), DROPOUT)
    _check(model, windows[0], counts)
    updater = Updater(model, TrainingConfig(B, T, lr=1e-3, steps=1), 0.01)
    losses: dict[int, CrossEntropy] = {k: SampledSoftmax(counts, k).cross_entropy for k in DRAWN}
    losses = {0: linear_cross_entropy, **losses}
    times: dict[int, list[float]] = {k: [] for k in losses}
    for window in islice(cycle(windows), rounds + 1):
        for k, loss in losses.items():
            times[k].append(_seconds(model, updater, window, loss))
    row: dict[str, Any] = {"tied": tied, "step_cpu_ms": {k: round(1e3 * median(t[1:]), 1) for k, t in times.items()}}
    found = {k: len(SampledSoftmax(counts, k).candidates(windows[0][1:].flatten())[0]) for k in DRAWN}
    row |= {"candidates": found, "distinct_targets": len(set(windows[0][1:].flatten().tolist()))}
    print(row, flush=True)
    return row


def _seconds(model: TokenModel, updater: Updater, window: Tensor, loss: CrossEntropy) -> float:
    start = time.process_time()
    nats, penalty, _ = model.loss(window, model.initial_state(B), loss)
    updater.optimiser.zero_grad(set_to_none=True)
    (nats / (T * B) + penalty).backward()  # type: ignore[no-untyped-call]
    updater.step(1e-3)
    return time.process_time() - start


def _check(model: TokenModel, window: Tensor, counts: Tensor) -> None:
    """With all words but one drawn on average the loss is nearly the full one."""
    model.eval()
    state, nearly_all = model.initial_state(B), SampledSoftmax(counts, len(counts) - 1)
    full, sampled = (
        float(model.loss(window, state, loss)[0].detach()) for loss in (linear_cross_entropy, nearly_all.cross_entropy)
    )
    assert abs(full - sampled) < 1e-3 * full, f"{sampled} nats among nearly all words, {full} among all"
    model.train()


if __name__ == "__main__":
    main()
