"""First names to gender by letters: accuracy on a tenth of the names, which no model saw, for three seeds.

    python recipes/name_gender/measure.py DATA OUT

DATA holds ``names/nltk_names_{female,male}.txt``. Writes OUT/measured.json. Names that are in both lists have no right
answer: they are trained on under both labels, and left out of what is tested.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import ostinato

Pairs = list[tuple[str, str]]

SEEDS = (0, 1, 2)
SHARE = 0.1
SETTINGS: dict[str, Any] = {"task": "classify", "level": "char", "epochs": 30, "threads": 1}


def main(data: Path, out: Path) -> None:
    """Split, train, write down."""
    out.mkdir(parents=True, exist_ok=True)
    names = {label: read(data / "names" / f"nltk_names_{label}.txt") for label in ("female", "male")}
    both = set(names["female"]) & set(names["male"])
    found = []
    for seed in SEEDS:
        train, test = split(names, both, seed)
        paths = [write(out / f"{part}-{seed}.tsv", pairs) for part, pairs in (("train", train), ("test", test))]
        model = ostinato.train(paths[0], out=out / f"model-{seed}", force=True, test=paths[1], seed=seed, **SETTINGS)
        scores = model.training["test"]
        found.append(
            {"seed": seed, "in_both": len(both), **{name: scores[name] for name in ("texts", "accuracy", "macro_f1")}}
        )
        print(json.dumps(found[-1]), flush=True)
    (out / "measured.json").write_text(json.dumps(found, indent=1) + "\n")


def read(path: Path) -> list[str]:
    """The names, each once, in their order."""
    return list(dict.fromkeys(name.strip() for name in path.read_text("utf-8").splitlines() if name.strip()))


def split(names: dict[str, list[str]], both: set[str], seed: int) -> tuple[Pairs, Pairs]:
    """Pairs of label and name to train on and to test on: of each label the same share, of names with one only."""
    train: Pairs = []
    test: Pairs = []
    for label, every in names.items():
        own = [name for name in every if name not in both]
        random.Random(f"{seed} {label}").shuffle(own)
        count = round(SHARE * len(own))
        test += [(label, name) for name in own[:count]]
        train += [(label, name) for name in (*own[count:], *sorted(both & set(every)))]
    return train, test


def write(path: Path, pairs: Pairs) -> Path:
    """The pairs as ``label<TAB>text``."""
    path.write_text("".join(f"{label}\t{name}\n" for label, name in pairs), "utf-8")
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
