"""Drawn shapes with captions, in which colour, shape and side are told and nothing else is to be learned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 30),
    "blue": (40, 60, 230),
    "orange": (250, 160, 20),
    "black": (10, 10, 10),
    "pink": (250, 130, 210),
}
SHAPES = ("circle", "square", "triangle")
SIDES = ("left", "right")
KINDS = [" ".join(kind) for kind in itertools.product(COLOURS, SHAPES, SIDES)]
HELD_OUT = ["red circle left", "green square right", "blue triangle left", "orange circle right"]
"""Combinations that are never trained on; every two of their words are, with another third."""


def draw(kind: str, rng: np.random.Generator, size: int = 32) -> np.ndarray:
    """``(size, size, 4)`` in uint8: a shape of random size and place in its half, clear around it."""
    colour, shape, side = kind.split()
    radius = rng.uniform(0.14, 0.22) * size
    x = rng.uniform(radius, size / 2 - radius) + (size / 2 if side == "right" else 0)
    y = rng.uniform(radius, size - radius)
    dy, dx = np.mgrid[:size, :size] + 0.5 - np.array([y, x])[:, None, None]
    inside = {
        "circle": abs(np.hypot(dx, dy) - 0.75 * radius) <= 0.25 * radius,
        "square": np.maximum(abs(dx), abs(dy)) <= 0.9 * radius,
        "triangle": (abs(dx) <= (dy + radius) / 2) & (dy <= radius),
    }[shape]
    image = np.zeros((size, size, 4), np.uint8)
    image[inside] = (*COLOURS[colour], 255)
    return image


def examples(kinds: Iterator[str] | list[str], each: int, seed: int) -> list[tuple[str, np.ndarray]]:
    """``each`` images of every kind, in a random order."""
    rng = np.random.default_rng(seed)
    drawn = [(kind, draw(kind, rng)) for kind in kinds for _ in range(each)]
    return [drawn[number] for number in rng.permutation(len(drawn))]


def write_images(folder: Path, name: str, kinds: list[str], each: int, seed: int = 0) -> Path:
    """A file of captions, ``folder/name.tsv``, and its images as PNG in ``folder/name/``."""
    (folder / name).mkdir(parents=True)
    lines = []
    for number, (kind, image) in enumerate(examples(kinds, each, seed)):
        Image.fromarray(image).save(folder / name / f"{number}.png")
        lines.append(f"{name}/{number}.png\t{kind}\n")
    path = folder / f"{name}.tsv"
    path.write_text("".join(lines), "utf-8")
    return path


TRAINED = [kind for kind in KINDS if kind not in HELD_OUT]
