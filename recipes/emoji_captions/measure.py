"""What captioners know of drawings they never saw: bits, retrieval, a sheet to look at.

    python measure.py SPLIT ARCHIVE.zip OUT ADDITIVE MEAN BLIND

SPLIT is the folder that split.py wrote; ADDITIVE, MEAN and BLIND are models with attention, without it, and without
images. OUT gets results.json and sheet.png.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import ostinato
from ostinato.captioner import Captioner
from ostinato.data.pixels import lay_on
from ostinato.images import decode, open_store

SIZE = 32
SHOWN = 30
"""Pictures on the sheet."""


def main() -> None:
    """Measure and write."""
    split, archive, out = map(Path, sys.argv[1:4])
    models: dict[str, Captioner] = dict(
        zip(("additive", "mean", "blind"), map(ostinato.load, sys.argv[4:]), strict=True)
    )
    train, test = (read(split / f"{part}.tsv", archive) for part in ("train", "test"))
    pixels, captions = [lay_on(image[None])[0] for image in test[0]], test[1]
    tables = {name: model.retrieve(pixels, captions) for name, model in models.items()}
    written = {name: [model.caption(image)[0].text for image in pixels] for name, model in models.items()}
    written["nearest picture"] = nearest(train, test)
    results: dict[str, Any] = {"pictures": len(captions)}
    results["bits per character"] = {name: bits(table, captions) for name, table in tables.items()}
    results["retrieval"] = {"chance": recall(np.zeros((len(captions), len(captions))))}
    for name in ("additive", "mean"):
        results["retrieval"][f"{name}, log p(c|x)"] = recall(tables[name])
        results["retrieval"][f"{name}, log p(c|x) - log p(c)"] = recall(tables[name] - tables["blind"])
    shared = np.array([[overlap(found, caption) for caption in captions] for found in written["nearest picture"]])
    results["retrieval"]["nearest picture, shared words"] = recall(shared)
    results["words shared with the caption"] = {
        name: float(np.mean([overlap(a, b) for a, b in zip(texts, captions, strict=True)]))
        for name, texts in written.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    sheet(pixels, captions, written).save(out / "sheet.png")
    print(json.dumps(results, indent=1))


def read(path: Path, archive: Path) -> tuple[np.ndarray, list[str]]:
    """Images ``(n, SIZE, SIZE, 4)`` and captions."""
    store, lines = open_store(archive), [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return np.stack([decode(store.read(name), SIZE, name) for name, _ in lines]), [caption for _, caption in lines]


def bits(table: np.ndarray, captions: list[str]) -> float:
    """Bits per character of each picture's own caption, the end counted as a character."""
    return float(-np.trace(table) / math.log(2) / sum(len(caption) + 1 for caption in captions))


def recall(scores: np.ndarray) -> dict[str, float]:
    """Share of pictures whose caption is the first, or among ten, by ``scores (pictures, captions)``.

    Of equal scores each order is as likely: what counts is the expectation.
    """
    own = np.diag(scores)[:, None]
    above, equal = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    at = {k: float(np.clip((k - above) / equal, 0, 1).mean()) for k in (1, 10)}
    return {"recall at 1": at[1], "recall at 10": at[10], "median rank": float(np.median(above + (equal + 1) / 2))}


def nearest(train: tuple[np.ndarray, list[str]], test: tuple[np.ndarray, list[str]]) -> list[str]:
    """For each held-out picture the caption of the nearest one to train on, by squared differences on white."""
    known = lay_on(train[0]).reshape(len(train[0]), -1).astype(np.float32)
    asked = lay_on(test[0]).reshape(len(test[0]), -1).astype(np.float32)
    distances = np.square(known).sum(axis=1) - 2 * asked @ known.T
    return [train[1][index] for index in distances.argmin(axis=1)]


def overlap(a: str, b: str) -> float:
    """Twice the words that two captions share, over all of their words (F1)."""
    first, second = (Counter(text.lower().replace(",", " ").replace(":", " ").split()) for text in (a, b))
    return 2 * (first & second).total() / max(1, first.total() + second.total())


def sheet(pixels: list[np.ndarray], captions: list[str], written: dict[str, list[str]]) -> Image.Image:
    """Held-out pictures, evenly chosen, each with its caption (black), the models' and the nearest picture's."""
    chosen = np.linspace(0, len(pixels) - 1, min(SHOWN, len(pixels))).astype(int)
    columns, width, height, scale = 3, 420, 84, 2
    page = Image.new("RGB", (columns * width, -(-len(chosen) // columns) * height), "white")
    pen = ImageDraw.Draw(page)
    colours = {"additive": "#0050b0", "mean": "#007030", "nearest picture": "#a04000"}
    for place, number in enumerate(chosen):
        x, y = place % columns * width, place // columns * height
        picture = Image.fromarray(pixels[number]).resize((SIZE * scale, SIZE * scale), Image.Resampling.NEAREST)
        page.paste(picture, (x + 8, y + 8))
        pen.text((x + 84, y + 6), captions[number][:52], fill="black")
        for row, (name, colour) in enumerate(colours.items(), start=1):
            pen.text((x + 84, y + 6 + 18 * row), f"{name}: {written[name][number]}"[:56], fill=colour)
    return page


if __name__ == "__main__":
    main()
