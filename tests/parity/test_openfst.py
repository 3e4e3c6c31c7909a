"""Shortest paths beside OpenFst's own tools (Debian: libfst-tools), over its text format."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from lattices import all_paths, random_lattice

from ostinato.lattice import files
from ostinato.lattice.lattice import Lattice
from ostinato.lattice.paths import best_path, n_best, prune

TOOLS = ("fstcompile", "fstshortestpath", "fstprint", "fstprune")
pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason="OpenFst's tools are not here (apt install libfst-tools)"
)


def compiled(lattice: Lattice, folder: Path) -> Path:
    """What we write, as OpenFst reads it."""
    text, binary, table = folder / "lattice.txt", folder / "lattice.fst", folder / "words.txt"
    files.write([lattice], text, "openfst")
    words = ["<eps>", *sorted(set(lattice.words) - {"", "<eps>"})]
    table.write_text("".join(f"{word} {number}\n" for number, word in enumerate(words)))
    run("fstcompile", "--acceptor", f"--isymbols={table}", "--keep_isymbols", str(text), str(binary))
    return binary


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def their_paths(binary: Path, count: int, folder: Path, *options: str) -> list[float]:
    """The costs of the best paths, ascending, as OpenFst finds them."""
    found = folder / "found.fst"
    run("fstshortestpath", f"--nshortest={count}", *options, str(binary), str(found))
    text = folder / "found.txt"
    text.write_text(run("fstprint", "--acceptor", str(found)))
    (paths,) = files.read(text)
    return sorted(-sum(paths.totals[list(arcs)]) for arcs in all_paths(paths))


@pytest.mark.parametrize("seed", range(12))
def test_openfst_finds_the_same_paths(seed: int, tmp_path: Path) -> None:
    lattice = random_lattice(seed, nodes=9, extra=14)
    binary = compiled(lattice, tmp_path)
    ours = [-path.score for path in n_best(lattice, 7, distinct=False)]
    assert their_paths(binary, 7, tmp_path) == pytest.approx(ours, rel=1e-4)  # theirs are float32, printed
    assert their_paths(binary, 1, tmp_path) == pytest.approx([-best_path(lattice).score], rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_openfst_finds_the_same_strings(seed: int, tmp_path: Path) -> None:
    """``--unique`` wants no epsilon, so none here."""
    lattice = random_lattice(seed, nodes=8, extra=12, words=("to", "be", "or"))
    ours = [-path.score for path in n_best(lattice, 6)]
    assert their_paths(compiled(lattice, tmp_path), 6, tmp_path, "--unique") == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_openfst_prunes_to_the_same_arcs(seed: int, tmp_path: Path) -> None:
    lattice = random_lattice(seed, nodes=9, extra=14).weighted({"lm": 1.0})
    pruned, text = tmp_path / "pruned.fst", tmp_path / "pruned.txt"
    run("fstprune", "--weight=9", str(compiled(lattice, tmp_path)), str(pruned))
    text.write_text(run("fstprint", "--acceptor", str(pruned)))
    (theirs,) = files.read(text)
    ours = prune(lattice, beam=9.0)
    assert ours.arcs < lattice.arcs
    assert sorted(theirs.totals) == pytest.approx(sorted(ours.totals), rel=1e-4)
