"""Word lattices: search, posteriors and n-best lists; rescoring with an n-gram and with a recurrent model by beam.

    OMP_NUM_THREADS=1 python benchmarks/lattices.py LATTICES MODEL ARPA

LATTICES is a folder of HTK SLF files (``lattices_slf/ami``), MODEL a model folder of spoken English, ARPA trigrams of
the same text. The n-gram model's search can be exact, since equal histories are few; so what a beam loses is known. A
recurrent model's cannot: there the best path found by any of the settings is what the others are measured by, each
path by its own words, not by those of a history it was merged with. Nodes of the lattices are counted per second of CPU
time; memory is the most of the process above what it had before, each setting in a process of its own.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from machine import write

from ostinato.lattice import files, paths
from ostinato.lattice.lattice import LM, Lattice
from ostinato.lattice.merging import Merge, MergeWords
from ostinato.lattice.rescore import rescore
from ostinato.rescoring import load_scorer
from ostinato.score.scorer import Scorer
from ostinato.score.sentences import score_sentences

BEAMS = (2.0, 5.0, 10.0, 15.0, 20.0)
ORDERS = (2, 3, 4, 5)
LIMIT = 32
"""Histories of a node, as `ostinato lattice` has it."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("lattices", type=Path)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("arpa", type=Path)
    options = arguments.parse_args()
    names = sorted(str(path) for path in options.lattices.glob("*.gz"))
    results: dict[str, Any] = {"lattices": [], "search": _search(names)}
    for name in names:
        lattice = _read(name)
        results["lattices"].append({"nodes": lattice.nodes, "arcs": lattice.arcs})
    settings: list[tuple[str, float, int | None, int | None]] = []
    settings += [("arpa", beam, None, None) for beam in (*BEAMS, math.inf)]
    settings += [("model", beam, order, LIMIT) for beam in BEAMS[:-1] for order in ORDERS]
    settings += [("model", BEAMS[-1], ORDERS[-1], 4 * LIMIT)]
    rows = []
    for kind, beam, order, limit in settings:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            path = options.arpa if kind == "arpa" else options.model
            rows.append({"model": kind, **pool.apply(_rescored, (names, str(path), beam, order, limit))})
        print({name: value for name, value in rows[-1].items() if name != "scores"}, flush=True)
    results["rescoring"] = _compared(rows)
    write("lattices", results, threads=1)


def _read(name: str) -> Lattice:
    (block, kind), *_ = files.blocks(name)
    return files.parse(block, kind, None)


def _search(names: Sequence[str]) -> dict[str, float]:
    """Nodes a second of reading a file and of each search, over all lattices."""
    lattices = [_read(name) for name in names]
    nodes = sum(lattice.nodes for lattice in lattices)
    runs: dict[str, Callable[[], Any]] = {
        "read": lambda: [_read(name) for name in names],
        "best_path": lambda: [paths.best_path(lattice) for lattice in lattices],
        "posteriors": lambda: [paths.posteriors(lattice) for lattice in lattices],
        "n_best_100": lambda: [paths.n_best(lattice, 100) for lattice in lattices],
    }
    return {f"{name}_nodes_per_second": round(nodes / _seconds(run)) for name, run in runs.items()}


def _seconds(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(5):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return median(times)


def _rescored(names: Sequence[str], model: str, beam: float, order: int | None, limit: int | None) -> dict[str, Any]:
    """One setting over all lattices."""
    scorer: Scorer[Any] = load_scorer(Path(model))
    lattices = [_read(name) for name in names]
    merge: Merge | None = None if order is None else MergeWords(order)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    done = [rescore(lattice, scorer, merge=merge, beam=beam, limit=limit, spell=str.lower) for lattice in lattices]
    seconds = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    nodes = sum(lattice.nodes for lattice in lattices)
    return {
        "beam": beam if math.isfinite(beam) else None,
        "merge": order,
        "limit": limit,
        "seconds": round(seconds, 2),
        "nodes_per_second": round(nodes / seconds),
        "histories": sum(one.hypotheses for one in done),
        "words_read": sum(one.read for one in done),
        "mb": round((after - before) / 1024, 1),
        "scores": [_own_score(one.lattice, one.best, scorer) for one in done],
    }


def _own_score(lattice: Lattice, path: paths.Path, scorer: Scorer[Any]) -> float:
    """What a path of a rescored lattice is worth by itself, in nats of the language model."""
    arcs = list(path.arcs)
    others = path.score - lattice.scale(LM) * float(lattice.scores[LM][arcs].sum())
    (logprob,) = score_sentences(scorer, [[word.lower() for word in path.words]])
    return (others + lattice.scale(LM) * float(logprob)) / lattice.unit


def _compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each setting beside the best of its model: how many nats of the language model below it, in how many lattices."""
    found = []
    for row in rows:
        best = np.max([other["scores"] for other in rows if other["model"] == row["model"]], axis=0)
        gaps = best - np.array(row["scores"])
        found.append({name: value for name, value in row.items() if name != "scores"})
        found[-1] |= {"behind_nats": round(float(mean(gaps)), 3), "behind_in": int((gaps > 1e-6).sum())}
    return found


if __name__ == "__main__":
    main()
