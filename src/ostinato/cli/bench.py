"""``ostinato bench``: how fast models of usual sizes train, write and score on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from json import dumps
from typing import Any

import numpy as np

from ostinato.cli.arguments import Flag
from ostinato.config import ModelConfig
from ostinato.engine.compiled import CompiledEngine, make_engine
from ostinato.engine.engine import Engine
from ostinato.kernels import native
from ostinato.kernels.reference import weight_shapes
from ostinato.types import Floats, Sampling

SECONDS = 0.3
"""How long each measurement takes, at least."""
WRITING = ((65, 128), (65, 512), (10_000, 650), (256, 1024))
"""Vocabulary and width of models of two LSTM layers."""
SCORING = ((65, 512), (10_000, 200))
TRAINING = ((65, (256,), 64), (65, (512,), 64), (10_000, (200, 200), 35))
"""Vocabulary, widths and window; 32 lanes. The large vocabulary is tied."""


def bench(*, json: Flag = False) -> None:
    """Measure how fast this machine trains, writes and scores, with models of usual sizes and random weights.

    Takes about ten seconds. Nothing else should run beside it.

    Parameters
    ----------
    json
        Print JSON.
    """
    report = {
        "core": native.instruction_set() if native.available() else None,
        "threads": native.threads(),
        "writing": [_writing(*size) for size in WRITING],
        "scoring": [_scoring(*size) for size in SCORING],
        "training": _training(),
    }
    if json:
        print(dumps(report))
    else:
        _print(report)


def _engine(vocab: int, hidden: int) -> Engine:
    model = ModelConfig(vocab=vocab, embed=hidden, hidden=(hidden, hidden))
    rng = np.random.default_rng(0)

    def uniform(*shape: int) -> Floats:
        return rng.random(shape, np.float32) * 0.2 - 0.1

    tensors = {"embedding.weight": uniform(vocab, hidden), "output.weight": uniform(vocab, hidden)}
    tensors["output.bias"] = uniform(vocab)
    for k in range(2):
        shapes = weight_shapes(model.cell, hidden, hidden)
        tensors |= {f"stack.layers.{k}.{name}": uniform(*shape) for name, shape in shapes.items()}
    return make_engine(model, tensors, 0)


def _writing(vocab: int, hidden: int) -> dict[str, Any]:
    engine = _engine(vocab, hidden)
    state = engine.start()
    if isinstance(engine, CompiledEngine):
        uniforms = np.random.default_rng(0).random((16, 1))
        seconds = _seconds(lambda: engine.write(state, uniforms, Sampling())) / len(uniforms)
    else:
        seconds = _seconds(lambda: engine.step(np.array([1]), state))
    return {"vocab": vocab, "hidden": hidden, "microseconds_per_token": round(1e6 * seconds, 1)}


def _scoring(vocab: int, hidden: int) -> dict[str, Any]:
    engine, ids = _engine(vocab, hidden), np.random.default_rng(0).integers(0, vocab, (512, 1))
    state = engine.start()
    return {
        "vocab": vocab,
        "hidden": hidden,
        "tokens_per_second": round(len(ids) / _seconds(lambda: engine.run(ids, state))),
    }


def _training() -> list[dict[str, Any]] | None:
    try:
        from ostinato.training.probe import operations_per_token, probe
    except ModuleNotFoundError:
        return None
    rows = []
    for vocab, hidden, window in TRAINING:
        tied = vocab > 1000
        model = ModelConfig(vocab=vocab, embed=hidden[-1] if tied else 128, hidden=hidden, tied=tied)
        speed = probe(model, 32, window)
        tokens = round(speed.operations / operations_per_token(model))
        rows.append({"vocab": vocab, "hidden": hidden, "threads": speed.threads, "tokens_per_second": tokens})
    return rows


def _seconds(run: Callable[[], object]) -> float:
    """Of one run: the fastest of those that fit."""
    run()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while (begin := time.perf_counter()) < end:
        run()
        best = min(best, time.perf_counter() - begin)
    return best


def _print(report: dict[str, Any]) -> None:
    core = report["core"] or "not built (see `ostinato doctor`): numpy and torch"
    print(f"native core  {core}, {report['threads']} threads")
    print("\nwriting, one stream of two LSTM layers       microseconds a token")
    for row in report["writing"]:
        print(f"  vocabulary {row['vocab']:>6,}  width {row['hidden']:>5,}  {row['microseconds_per_token']:>20,.1f}")
    print("\nscoring, one stream of two LSTM layers            tokens a second")
    for row in report["scoring"]:
        print(f"  vocabulary {row['vocab']:>6,}  width {row['hidden']:>5,}  {row['tokens_per_second']:>20,}")
    if report["training"] is None:
        print('\ntraining needs torch: pip install "ostinato[train]"')
        return
    print("\ntraining LSTMs, 32 lanes                           tokens a second")
    for row in report["training"]:
        widths = " x ".join(map(str, dict.fromkeys((len(row["hidden"]), row["hidden"][0]))))
        print(f"  vocabulary {row['vocab']:>6,}  layers {widths:>8}  {row['tokens_per_second']:>16,}")
