"""How much work training a model is, and how fast this machine does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ostinato.architectures.language import GATES
from ostinato.config import ModelConfig, Regularisers
from ostinato.data.lanes import Place
from ostinato.kernels.autograd import linear_cross_entropy
from ostinato.models.build import build
from ostinato.nn.sampled import SampledSoftmax
from ostinato.training.objective import Objective
from ostinato.training.optim import Updater
from ostinato.training.settings import TrainingConfig

PROBE_SECONDS = 0.4  # for each number of threads that is tried
EVALUATIONS = 0.1  # share of the time of a run that they take, about
LARGE_VOCABULARY = 2000  # from here on the output layer is most of the work, and tying pays
RECURRENT_BLOCKS = {**GATES, "peephole": 7}  # matrices (H, H): V_i, V_f and V_o beside those of the gates


@dataclass(frozen=True)
class Speed:
    """What a machine reaches in training."""

    operations: float
    """Floating-point operations a second, evaluations and all."""
    threads: int
    """With so many threads."""
    reason: str
    """Why so many."""


def recurrent_weights(model: ModelConfig) -> int:
    """Number of weights in the recurrent layers, biases left out."""
    inputs = (model.embed, *model.hidden[:-1])
    one_way = sum(
        GATES[model.cell] * width * below + RECURRENT_BLOCKS[model.cell] * width * width
        for width, below in zip(model.hidden, inputs, strict=True)
    )
    return one_way * (2 if model.bidirectional else 1)


def weights(model: ModelConfig) -> int:
    """Number of weights of a model, biases left out."""
    output = 0 if model.tied else model.readout * model.vocab
    return recurrent_weights(model) + output + model.vocab * model.embed


def operations_per_token(model: ModelConfig, scored: int | None = None) -> float:
    """Floating-point operations of training on one token: three times those of the forward products.

    The output layer scores ``scored`` tokens, or all.
    """
    scores = model.vocab if scored is None else min(scored, model.vocab)
    return 6.0 * (recurrent_weights(model) + model.readout * scores)


def most_scored(drawn: int, targets: int) -> int | None:
    """The most tokens a step scores that draws ``drawn`` beside its targets (``sampled_softmax``); None: all."""
    return drawn + targets if drawn else None


def probe(model: ModelConfig, batch: int, bptt: int, threads: int | None = None, drawn: int = 0) -> Speed:
    """Train such a model for a moment, with ``threads``, or with all and with one, and say which was faster.

    ``drawn`` is ``sampled_softmax``.

    On a machine that is busy one thread can beat two by far, because threads that work together wait for each other.
    """
    with without_trace():
        tried = {threads} if threads else {torch.get_num_threads(), 1}
        reached = {n: _measure(model, batch, bptt, n, drawn) for n in tried}
    best = max(reached, key=lambda n: reached[n])
    if len(reached) == 1:
        return Speed(reached[best], best, f"{reached[best] / 1e9:.0f} GFLOP/s")
    other = next(n for n in reached if n != best)
    return Speed(reached[best], best, f"{reached[best] / reached[other]:.1f} times as fast as {other}, as measured now")


def _usual(vocab: int) -> Regularisers:
    """Those that the plan chooses among: their masks take time too."""
    return Regularisers(dropout_input=0.1 * (vocab >= LARGE_VOCABULARY), dropout_hidden=0.1, dropout_output=0.1)


def _measure(model: ModelConfig, batch: int, bptt: int, threads: int, drawn: int) -> float:
    torch.set_num_threads(threads)
    network = build(model, _usual(model.vocab))
    updater = Updater(network, TrainingConfig(batch, bptt, lr=1e-3, steps=1), weight_decay=0.01)
    ids = torch.randint(model.vocab, (bptt + 1 + network.lookahead, batch))
    state = network.initial_state(batch)
    cross_entropy = SampledSoftmax(torch.ones(model.vocab), drawn).cross_entropy if drawn else linear_cross_entropy

    def step() -> None:
        nonlocal state
        nats, penalty, state = network.loss(ids, state, cross_entropy)
        updater.optimiser.zero_grad(set_to_none=True)
        (nats / (batch * bptt) + penalty).backward()  # type: ignore[no-untyped-call]
        updater.step(1e-3)

    work = batch * bptt * operations_per_token(model, most_scored(drawn, batch * bptt))
    return (1.0 - EVALUATIONS) * work / seconds_each(step, PROBE_SECONDS)


def seconds_a_step(make: Callable[[], tuple[nn.Module, Objective]], threads: int, seconds: float) -> float:
    """How long a step of training takes, from some steps on the first batch of what ``make`` gives."""
    with without_trace():
        torch.set_num_threads(threads)
        model, objective = make()
        updater = Updater(model, TrainingConfig(1, 1, lr=1e-3, steps=1), weight_decay=0.01)

        def step() -> None:
            loss = objective.loss(Place(), ())
            updater.optimiser.zero_grad(set_to_none=True)
            (loss.nats / loss.tokens).backward()  # type: ignore[no-untyped-call]
            updater.step(1e-3)

        return seconds_each(step, seconds)


def seconds_each(step: Callable[[], None], seconds: float) -> float:
    """How long a step takes, by doing some for so many seconds. The first warms up and does not count."""
    step()
    count, start = 0, time.perf_counter()
    while count < 1 or time.perf_counter() - start < seconds:
        step()
        count += 1
    return (time.perf_counter() - start) / count


@contextmanager
def without_trace() -> Iterator[None]:
    """Leaves the number of threads and torch's global generator as they were."""
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(random)
