"""SST-2 sentences: accuracy from nothing and from a language model, three seeds; and with 100, 1,000 and all labels.

    python recipes/sentiment/measure.py DATA OUT

DATA holds ``sentiment/stsa.binary.{train,dev,test}`` and ``wikitext-2/``. Writes OUT/measured.json. Sentences of SST
come from rt-polarity, which therefore is never trained on.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import ostinato

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
LABELS = (100, 1_000, None)
LM = {"level": "word", "lower": True, "pretokenized": True, "min_count": 3}
LM |= {"bidirectional": True, "hidden": 192, "embed": 256, "layers": 1, "sampled_softmax": 1000}
LM_MINUTES = 20.0
FEW_STEPS = 1000
"""Optimiser steps where there are few labels: an epoch of them is next to nothing."""


def main(data: Path, out: Path) -> None:
    """Train everything there is not yet, and write down what it reached."""
    out.mkdir(parents=True, exist_ok=True)
    parts = {part: data / "sentiment" / f"stsa.binary.{part}" for part in ("train", "dev", "test")}
    lines = parts["train"].read_text("utf-8").splitlines()
    lm = language_model(data / "wikitext-2", lines, out)
    found = []
    for seed in SEEDS:
        for labels in LABELS:
            train = some(lines, labels, seed, out)
            for start in (None, lm):
                found.append({"labels": labels, "seed": seed, **measure(train, parts, start, labels, seed, out)})
                print(json.dumps(found[-1]), flush=True)
    (out / "measured.json").write_text(json.dumps(found, indent=1) + "\n")


def language_model(wikitext: Path, lines: list[str], out: Path) -> Path:
    """Of WikiText-2 and of the sentences to train on, without their labels, so that it knows their words."""
    folder, text = out / "lm", out / "sentences.txt"
    if not (folder / "config.json").exists():
        text.write_text("".join(line.split(" ", 1)[1] + "\n" for line in lines), "utf-8")
        train = next(path for path in sorted(wikitext.glob("wiki.train.tokens*")))
        ostinato.train(
            train, text, out=folder, valid=wikitext / "wiki.valid.tokens", minutes=LM_MINUTES, force=True, **LM
        )
    return folder


def some(lines: list[str], count: int | None, seed: int, out: Path) -> Path:
    """A file of so many of the lines, drawn by the seed, half of them of each label."""
    chosen = list(lines)
    random.Random(seed).shuffle(chosen)
    if count is not None:
        chosen = [line for label in "01" for line in [each for each in chosen if each[0] == label][: count // 2]]
    path = out / f"train-{count or 'all'}-{seed}"
    path.write_text("".join(line + "\n" for line in chosen), "utf-8")
    return path


def measure(
    train: Path, parts: dict[str, Path], start: Path | None, labels: int | None, seed: int, out: Path
) -> dict[str, Any]:
    """One run: accuracy on dev, which decides, and test."""
    name = f"{'nothing' if start is None else 'started'}-{labels or 'all'}-{seed}"
    config = HERE / ("config.toml" if start is None else "started.toml")
    given: dict[str, Any] = {"seed": seed, "threads": 1, "valid": parts["dev"], "test": parts["test"]}
    if start is not None:
        given["start_from"] = start
    if labels is not None:
        given["steps"] = FEW_STEPS
    summary = ostinato.train(train, out=out / name, force=True, config=config, **given).training
    scores = {part: summary[part]["accuracy"] for part in ("valid", "test")}
    error = summary["test"]["calibration"]
    return {"start": name.split("-")[0], **scores, "calibration": error, "cpu_seconds": summary["cpu_seconds"]}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
