"""The six cells at equal parameter count on Penn Treebank characters, five minutes each.

    OSTINATO_DATA=... python benchmarks/cells.py [--minutes 5] [--parameters 800000]

Each run has one thread and a core to itself; needs the machine to itself. The text is that of ptb.char.*.txt, its
blanks taken out and `_` made a blank.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from machine import RESULTS, data_folder, write
from side_by_side import side_by_side

import ostinato
from ostinato.config import CELLS, ModelConfig
from ostinato.training.probe import weights

EMBED = 64
VOCAB = 52  # of the Penn Treebank's characters, line end and unknown among them


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=5.0)
    arguments.add_argument("--parameters", type=int, default=800_000)
    arguments.add_argument("--cells", nargs="+", default=list(CELLS))
    options = arguments.parse_args()
    result = RESULTS / "cells.json"
    rows = json.loads(result.read_text("utf-8"))["results"] if result.exists() else []
    for row in side_by_side(train, [(cell, options.minutes, options.parameters) for cell in options.cells]):
        rows = [*(old for old in rows if old["cell"] != row["cell"]), row]
        write("cells", rows)
        print(json.dumps(row), flush=True)


def train(cell: str, minutes: float, parameters: int) -> dict[str, Any]:
    """One run, and its row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {part: _characters(part, folder) for part in ("train", "valid", "test")}
        training = ostinato.train(
            texts["train"], out=folder / "model", minutes=minutes, level="char", threads=1,
            valid=str(texts["valid"]), test=str(texts["test"]), cell=cell, layers=1, embed=EMBED,
            hidden=width(cell, parameters), dropout=0.0,
        ).training  # fmt: skip
    kept = ("architecture", "parameters", "epochs", "seconds", "cpu_seconds", "threads", "valid", "test")
    return {"cell": cell, **{key: training[key] for key in kept}}


def width(cell: str, target: int) -> int:
    """The width, a multiple of 8, whose parameter count is the nearest to ``target``."""

    def distance(width: int) -> int:
        return abs(weights(ModelConfig(vocab=VOCAB, embed=EMBED, hidden=(width,), cell=cell)) - target)

    return min(range(64, 2048, 8), key=distance)


def _characters(part: str, folder: Path) -> Path:
    source = data_folder() / "ptb" / f"ptb.char.{part}.txt"
    packed = source.with_name(source.name + ".gz")
    text = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else source.read_text("utf-8")
    path = folder / f"{part}.txt"
    path.write_text(text.replace(" ", "").replace("_", " "), "utf-8")
    return path


if __name__ == "__main__":
    main()
