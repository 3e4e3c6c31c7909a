"""Is the plan good? Its bits per character beside six sensible alternatives, at the same budget, on three unlike texts.

    OSTINATO_DATA=... python benchmarks/plan.py [--minutes 1 3] [--texts python ptb tiny-shakespeare]

Each run has one thread and a core to itself, as many at once as there are cores; one whose result is there already is
not repeated. Needs the machine to itself: 21 runs for each minute of budget.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from machine import RESULTS, data_folder, write
from side_by_side import side_by_side

import ostinato
from ostinato.cli.demo import write_text

CHARACTERS: dict[str, dict[str, Any]] = {
    "the plan": {},
    "char lstm 128": {"level": "char", "hidden": 128, "layers": 1},
    "char lstm 512": {"level": "char", "hidden": 512, "layers": 1},
    "char lstm 2 x 256": {"level": "char", "hidden": 256, "layers": 2},
    "char gru_reset_after 256": {"level": "char", "hidden": 256, "layers": 1, "cell": "gru_reset_after"},
    "bpe 1024 lstm 256": {"level": "bpe", "vocab": 1024, "hidden": 256, "layers": 1},
    "bpe 4096 lstm 2 x 256 tied": {"level": "bpe", "vocab": 4096, "hidden": 256, "layers": 2, "tied": True},
}
WORDS: dict[str, dict[str, Any]] = {
    "the plan": {},
    "word lstm 2 x 128 tied": {"level": "word", "hidden": 128, "layers": 2, "tied": True},
    "word lstm 2 x 256 tied": {"level": "word", "hidden": 256, "layers": 2, "tied": True},
    "word lstm 1 x 200": {"level": "word", "hidden": 200, "layers": 1, "tied": False},
    "word gru 192 tied": {"level": "word", "hidden": 192, "layers": 1, "cell": "gru_reset_after", "tied": True},
    "char lstm 512": {"level": "char", "hidden": 512, "layers": 1},
    "bpe 2048 lstm 256": {"level": "bpe", "vocab": 2048, "hidden": 256, "layers": 1},
}
RESULT = RESULTS / "plan.json"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, nargs="+", default=[1.0, 3.0])
    arguments.add_argument("--texts", nargs="+", default=["python", "tiny-shakespeare", "ptb"])
    options = arguments.parse_args()
    rows = json.loads(RESULT.read_text("utf-8"))["results"] if RESULT.exists() else []
    done = {(row["text"], row["minutes"], row["name"]) for row in rows}
    runs = [(text, minutes, name) for minutes in options.minutes for text in options.texts for name in models(text)]
    for row in side_by_side(train, [run for run in runs if run not in done]):
        rows.append(row)
        write("plan", rows)
        print(json.dumps(row), flush=True)
    print(table(rows))


def models(text: str) -> dict[str, dict[str, Any]]:
    """The plan and its alternatives by name, each as the settings of a run."""
    return WORDS if text == "ptb" else CHARACTERS


def train(text: str, minutes: float, name: str) -> dict[str, Any]:
    """One run, and its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        paths, settings = _text(text, Path(folder))
        settings |= {"minutes": minutes, "threads": 1, **models(text)[name]}
        training = ostinato.train(*paths, out=Path(folder) / "model", **settings).training
    kept = ("architecture", "parameters", "level", "epochs", "seconds", "cpu_seconds", "threads")
    about = {"text": text, "minutes": minutes, "name": name, "bits_per_char": training["valid"]["bits_per_char"]}
    return {**about, **{key: training[key] for key in kept}}


def _text(name: str, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    if name == "python":
        path = folder / "python.txt"
        write_text(path)
        return [path], {}
    if name == "ptb":
        ptb = data_folder() / "ptb"
        return [ptb / "ptb.train.txt.gz"], {"valid": str(ptb / "ptb.valid.txt")}
    return [data_folder() / "tinyshakespeare" / "input.txt"], {}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a block for each text and budget, the best first, with the distance to the best."""
    lines: list[str] = []
    for text, minutes in dict.fromkeys((row["text"], row["minutes"]) for row in rows):
        block = [row for row in rows if (row["text"], row["minutes"]) == (text, minutes)]
        block.sort(key=lambda row: row["bits_per_char"])
        best = min(row["bits_per_char"] for row in block if row["name"] != "the plan")
        lines += ["", f"**{text}, {minutes:g} min**", ""]
        lines += ["| | model | bits/char | to the best alternative |", "|---|---|---|---|"]
        lines += [
            f"| {row['name']} | {row['level']}: {row['architecture']} | {row['bits_per_char']:.3f} "
            f"| {row['bits_per_char'] / best - 1:+.1%} |"
            for row in block
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
