"""A small translation task with a right answer: dates as people write them, to dates as machines do."""

from __future__ import annotations

import random
from pathlib import Path

MONTHS = ("january", "february", "march", "april", "may", "june", "july")
FORMS = ("{d} {m} {y}", "{m} {d}, {y}", "{m} {d} {y}", "the {d} of {m} {y}")


def date_pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """Sources and targets, such as ``the 7 of may 1987`` and ``1987-05-07``; all different."""
    rng = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        day, month, year = rng.randint(1, 28), rng.randrange(len(MONTHS)), rng.randint(1900, 2020)
        source = rng.choice(FORMS).format(d=day, m=MONTHS[month], y=year)
        found[source] = f"{year}-{month + 1:02}-{day:02}"
    return list(found.items())


def write_dates(folder: Path, pairs: list[tuple[str, str]], name: str = "dates") -> tuple[Path, Path]:
    """Two aligned files."""
    paths = folder / f"{name}.said", folder / f"{name}.iso"
    for path, lines in zip(paths, zip(*pairs, strict=True), strict=True):
        path.write_text("\n".join(lines) + "\n", "utf-8")
    return paths
