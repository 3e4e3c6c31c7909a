# ruff: noqa: E501 - a mutation stands on one line
"""The core, each source broken in one place on purpose and built anew: the tests that hold the kernel must fail.

Built with the generic instruction set alone; only the file that a mutation touches is compiled again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from parity import test_native, test_native_dropout, test_native_engine, test_native_training
from parity.cases import CASES, assert_close, by_reference, problem
from parity.test_reversed import hold_reversed
from parity.torch_kernels import by_torch
from property import test_ctc_search

from ostinato.kernels import native
from ostinato.kernels.native import library

NATIVE = Path(__file__).parents[2] / "native"
COMPILE = (
    os.environ.get("CXX", "c++"), "-std=gnu++17", "-O1", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-w",
    "-DOST_ISA=generic", "-DOST_GENERIC_ONLY",
)  # fmt: skip
SOURCES = (
    "core",
    "pool",
    *(
        f"kernels/{name}"
        for name in ("ctc", "dropout", "engine", "optimiser", "output", "products", "recurrent", "table")
    ),
)


def hold_cell(cell: str) -> None:
    for case in CASES:
        if case.cell == cell:
            p = problem(case, np.float32)
            assert_close(by_torch(case, p), by_reference(case, p), case.T)
            hold_reversed(case, np.float32)


def hold_lookup(cell: str) -> None:
    for case in CASES:
        if case.cell == cell:
            test_native.test_looking_the_input_up_is_reading_it(case)


def hold_products() -> None:
    for shape in ((97, 65, 33), (3, 17, 1100)):
        test_native.test_products(shape, (True, True), "generic")


def hold_prefix_beam() -> None:
    for seed in range(12):
        for width, margin in ((1, np.inf), (4, np.inf), (9, 3.0)):
            for way in range(4):
                test_ctc_search.hold_to_reference(native.PrefixBeam, seed, width, margin, bool(way & 1), bool(way & 2))


def hold_functions() -> None:
    for function in test_native.DEFINITIONS:
        test_native.test_functions_err_by_few_units_in_the_last_place_over_all_floats(function, "generic")


def hold_loss() -> None:
    for size in test_native_training.SIZES:
        test_native_training.test_cross_entropy_and_its_gradients(size, 2, "generic")


def hold_step() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for settings in test_native_training.SETTINGS:
            test_native_training.test_a_step_is_that_of_torch(settings, "generic", patch)


def hold_engine(cell: str) -> None:
    for options in test_native_engine.OPTIONS:
        test_native_engine.test_steps_are_those_of_numpy(cell, options, "generic")


# For each check: what is wrong, in which source, through which translation unit, and what becomes what.
CELLS, RECURRENT = "kernels/cells.h", "kernels/recurrent"
MUTANTS = {
    (hold_cell, "lstm"): [
        ("i and f exchanged", CELLS, RECURRENT, "F i = load(at_i, n) + load(sum), f = load(at_f, n) + load(sum + W)",
         "F i = load(at_i, n) + load(sum + W), f = load(at_f, n) + load(sum)"),
        ("keep turned round", CELLS, RECURRENT, "fma(k, old, (1.0f - k) * fresh)", "fma(k, fresh, (1.0f - k) * old)"),
        ("lengths one off", CELLS, RECURRENT, "t < lengths[row]", "t <= lengths[row]"),
        ("the state after is read", CELLS, RECURRENT, "return at(part, reversed ? t + 1 : t);", "return at(part, reversed ? t : t + 1);"),
        ("reversed too late", CELLS, RECURRENT, "return at(part, reversed ? t : t + 1);", "return at(part, t + 1);"),
        ("held gradient lost", CELLS, RECURRENT, "store(d + i, held, n);", "store(d + i, F{}, n);"),
        ("gradient of outputs lost", CELLS, RECURRENT, "load(d_h + i, n) + load(at(d_outputs, t) + i, n)", "load(d_h + i, n)"),
        ("dead rows have gradients", CELLS, RECURRENT, "store(gates_at(gates, t) + of(row, g, unit), F{}, n);", ";"),
        ("no bias", "kernels/weights.h", RECURRENT, "p.bias = l_.bias;", ""),
        ("gradient of the bias lost", "kernels/weights.h", RECURRENT, "store(out + j, seen", "if (seen) store(out + j, seen"),
        ("U's gradient from the states after", "kernels/weights.h", RECURRENT, "*h = l.before(l.h, 0)", "*h = l.after(l.h, 0)"),
        ("matrix transposed", "kernels/weights.h", RECURRENT, "p.b_k = l_.I;\n        p.b_column = 1;", "p.b_k = 1;\n        p.b_column = l_.I;"),
    ],
    (hold_cell, "gru"): [
        ("reset gate unused", CELLS, RECURRENT, "store(rh + l.of(row, unit), r * load(", "store(rh + l.of(row, unit), load("),
        ("U_n's gradient without reset", "kernels/weights.h", RECURRENT, "width(), H, l.extra, H, d_U_n); break;", "width(), H, h, H, d_U_n); break;"),
        ("no way back through the reset gate", CELLS, RECURRENT, "store(d_h, fma(load(d_rh), r, load(d_h, n)), n);", ""),
    ],
    (hold_cell, "gru_reset_after"): [
        ("bias dropped", CELLS, RECURRENT, " + load(l.bias_hn + unit, n)", ""),
        ("its gradient without reset", CELLS, RECURRENT, "store(u + i, d_n * r, n);", "store(u + i, d_n, n);"),
        ("dead rows have gradients", CELLS, RECURRENT, "if (cell == OST_GRU_RESET_AFTER) store(", "if (false) store("),
    ],
    (hold_cell, "peephole"): [
        ("matrix transposed", CELLS, RECURRENT, "{{V, V_next}, H, 1, H}", "{{V, V_next}, H, H, 1}"),
        ("V_o's gradient from the cell before", "kernels/weights.h", RECURRENT, "H, l.extra, H, l.d_weight_co);\n                break;\n            case OST_PEEPHOLE_DIAGONAL", "H, c, H, l.d_weight_co);\n                break;\n            case OST_PEEPHOLE_DIAGONAL"),
        ("no way back through V_i and V_f", CELLS, RECURRENT, "me.multiply(panels[2], {l.gradient(t, 0, 2)}, add_to(l, l.d_c));", ""),
    ],
    (hold_cell, "peephole_diagonal"): [
        ("o sees the cell before", CELLS, RECURRENT, "o = fma(c, load(l.weight_co + unit, n), o);", "o = fma(load(before + l.of(row, unit), n), load(l.weight_co + unit, n), o);"),
        ("no way back through the diagonal", CELLS, RECURRENT, "d_c = fma(d_o, load(l.weight_co + unit, n), d_c);", ";"),
        ("gradient of the diagonal", "kernels/weights.h", RECURRENT, "seen ? fma(x, load(seen + row * count + j, n), sum)", "seen ? x + sum"),
    ],
    (hold_lookup, "lstm"): [
        ("the last step of a row counts alone", "kernels/weights.h", RECURRENT, "store(row(n) + j, load(row(n) + j, some) + load", "store(row(n) + j, load"),
        ("what was there before is added to", "kernels/weights.h", RECURRENT, "l.table + i * width + end, 0.0f);", "l.table + i * width + begin, 0.0f);"),
        ("rows in their own order", "kernels/weights.h", RECURRENT, "l.table + l.index[n] * l.width()", "l.table + n % l.rows * l.width()"),
    ],
    (hold_products,): [
        ("the sums of the last block alone", "kernels/gemm.h", "kernels/products", "add = p_.add || at.k > 0", "add = p_.add"),
        ("the offset at every block", "kernels/gemm.h", "kernels/products", "p_.bias && at.k + at.depth == p_.K", "p_.bias"),
        ("a column too few", "kernels/gemm.h", "kernels/products", "std::min(W, p_.N - column)}", "std::min(W, p_.N - column - 1)}"),
    ],
    (hold_functions,): [
        ("a coefficient", "kernels/functions.h", "kernels/table", "8.3334519073e-3f", "8.3344519073e-3f"),
        ("a small x far from it", "kernels/functions.h", "kernels/table", "size < 0.625f ? near", "size < 0.0f ? near"),
    ],
    (hold_loss,): [
        ("the target not taken off", "kernels/output.cpp", "kernels/output", "static_cast<size_t>(i)] -= l.scale;", "static_cast<size_t>(i)] -= 0;"),
        ("its bias neither", "kernels/output.cpp", "kernels/output", "s.d_bias[chunk * CHUNK + word] -= l.scale;", ";"),
        ("one peak for all", "kernels/output.cpp", "kernels/output", "static_cast<double>(s.peak(slot, chunk)[i] - peak)", "0.0"),
        ("the first chunk only", "kernels/output.cpp", "kernels/output", "other < parties; other++", "other < 1; other++"),
        ("gradients on top of what was there", "kernels/output.cpp", "kernels/output", "if (begins) {", "if (false) {"),
    ],
    (test_native_dropout.check_shares,): [
        ("not scaled", "kernels/dropout.cpp", "kernels/dropout", "d.x[i] * scale", "d.x[i]"),
        ("turned round", "kernels/dropout.cpp", "kernels/dropout", "h >= below", "h < below"),
        ("half as often", "kernels/dropout.cpp", "kernels/dropout", "d.p * 4294967296.0", "d.p * 2147483648.0"),
    ],
    (test_native_dropout.check_neighbours,): [
        ("not mixed", "kernels/dropout.cpp", "kernels/dropout", "mixed(mixed(static_cast<uint32_t>(i) + low) ^ high)", "static_cast<uint32_t>(i) * 0x9e3779b9u + low"),
    ],
    (test_native_dropout.check_seeds,): [
        ("half a seed", "kernels/dropout.cpp", "kernels/dropout", "mixed_seed(d.seed)", "mixed_seed(d.seed & 0xffffffffu)"),
        ("keys that follow each other", "kernels/dropout.cpp", "kernels/dropout", "mixed_seed(d.seed);", "d.seed;"),
    ],
    (hold_prefix_beam,): [
        ("a label comes again without a blank", "kernels/ctc.cpp", "kernels/ctc", "(repeats(prefix, v) ? prefix.blank : total) + y[v]", "total + y[v]"),
        ("so does one that is in the beam", "kernels/ctc.cpp", "kernels/ctc", "(again ? shorter.blank : shorter.total()) + y)", "shorter.total() + y)"),
        ("and its likeliest alignment", "kernels/ctc.cpp", "kernels/ctc", "(again ? shorter.best_blank : std::max(shorter.best_blank, shorter.best_label)) + y", "std::max(shorter.best_blank, shorter.best_label) + y"),
        ("a label goes on after a blank", "kernels/ctc.cpp", "kernels/ctc", "stays.label = prefix.label + again", "stays.label = prefix.total() + again"),
        ("what is shorter brings nothing", "kernels/ctc.cpp", "kernels/ctc", "            merge(k, beam_[static_cast<size_t>(shorter)], node.label, y[node.label]);\n", ""),
        ("a prefix twice in the beam", "kernels/ctc.cpp", "kernels/ctc", "            if (taken_[static_cast<size_t>(v)]) continue;\n", ""),
        ("a prefix that comes again is another", "kernels/ctc.cpp", "kernels/ctc", "if (nodes_[node].label == label) return node;", ";"),
        ("places of prefixes that left", "kernels/ctc.cpp", "kernels/ctc", "nodes_[prefix.node].place = NONE;", ";"),
        ("labels taken for good", "kernels/ctc.cpp", "kernels/ctc", "        mark(false);\n", ""),
        ("the alignment that does not lead here", "kernels/ctc.cpp", "kernels/ctc", "const Open &open = blank ? prefix.spans_blank", "const Open &open = !blank ? prefix.spans_blank"),
        ("labels end where they begin", "kernels/ctc.cpp", "kernels/ctc", "            stays.spans_label.end = frame_ + 1;\n", ""),
        ("the likeliest alignment stays the first", "kernels/ctc.cpp", "kernels/ctc", "        if (merged_[k]) {", "        if (false) {"),
        ("alignments forgotten too early", "kernels/ctc.cpp", "kernels/ctc", "            if (before != NONE) closed_[before].uses++;\n", ""),
        ("gains do not count", "kernels/ctc.cpp", "kernels/ctc", "gains ? gains[v] : 0.0", "0.0"),
        ("extras of what stays do not count", "kernels/ctc.cpp", "kernels/ctc", "stays_[k].total() + stays_[k].extra", "stays_[k].total()"),
        ("no margin", "kernels/ctc.cpp", "kernels/ctc", "kept_.front().score - margin", "kept_.front().score - 1e9"),
        ("of equal scores any", "kernels/ctc.cpp", "kernels/ctc", "place != other.place ? place < other.place : label < other.label", "place != other.place ? place > other.place : label > other.label"),
        ("of equal scores the last", "kernels/ctc.cpp", "kernels/ctc", "candidate.score < worst_", "candidate.score <= worst_"),
    ],
    (hold_step,): [
        ("decay with the gradient", "kernels/optimiser.cpp", "kernels/optimiser", "w * (1.0f - decay * t.decay)", "w"),
        ("no clipping", "kernels/optimiser.cpp", "kernels/optimiser", "scale = u.clip / u.norms[1];", ";"),
        ("second moment not corrected", "kernels/optimiser.cpp", "kernels/optimiser", "1.0 / std::sqrt(1.0 - std::pow(u.beta2, steps))", "1.0"),
        ("average turned round", "kernels/optimiser.cpp", "kernels/optimiser", "all(1.0f - keep), w - a, a", "all(keep), w - a, a"),
    ],
    (hold_engine, "lstm"): [
        ("no residual", "kernels/engine.cpp", "kernels/engine", "adds_input(packed) ? h[i] + x[i] : h[i]", "h[i]"),
        ("the last layer alone is read", "kernels/engine.cpp", "kernels/engine", "model_.skip_output ? 0 : layers_.size() - 1", "layers_.size() - 1"),
        ("the cell stays as it was", "kernels/engine.cpp", "kernels/engine", "if (l.c) store(l.c + i", "if (false) store(l.c + i"),
        ("no mean taken off", "kernels/engine.cpp", "kernels/engine", "y[i] = (y[i] - mean) * scale", "y[i] = y[i] * scale"),
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def objects(tmp_path_factory) -> Path:
    """A copy of the sources, compiled."""
    folder = tmp_path_factory.mktemp("core")
    shutil.copytree(NATIVE / "src", folder / "src")
    shutil.copytree(NATIVE / "include", folder / "include")
    for unit in SOURCES:
        build(folder, unit)
    return folder


def build(folder: Path, unit: str) -> None:
    source = folder / "src" / f"{unit}.cpp"
    subprocess.run([*COMPILE, "-c", source, "-o", source.with_suffix(".o")], check=True)


def link(folder: Path, name: str, first: str = "core") -> str:
    """The library. What several units have of a header is taken from the ``first``."""
    path = folder / f"{name}.so"
    units = [folder / "src" / f"{unit}.o" for unit in (first, *(unit for unit in SOURCES if unit != first))]
    subprocess.run([COMPILE[0], "-shared", "-pthread", *units, "-o", path], check=True)
    return str(path)


def use(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = library.open_library(path)
    assert opened is not None
    monkeypatch.setattr(library, "_load", lambda: opened)


ROWS = [
    pytest.param(check, *row, id=f"{' '.join([check[0].__name__, *check[1:]])}: {wrong}")
    for check, rows in MUTANTS.items()
    for wrong, *row in rows
]


@pytest.mark.parametrize(("check", "source", "unit", "old", "new"), ROWS)
def test_a_broken_core_dies(check, source, unit, old, new, objects, monkeypatch):
    path = objects / "src" / source
    sound = path.read_text()
    if sound.count(old) != 1:
        raise LookupError(f"{old!r} occurs {sound.count(old)} times in {source}; expected once")
    kept = (objects / "src" / f"{unit}.o").read_bytes()
    try:
        path.write_text(sound.replace(old, new))
        build(objects, unit)
        use(link(objects, f"mutant_{abs(hash((source, old, new)))}", unit), monkeypatch)
        with pytest.raises(AssertionError):
            check[0](*check[1:])
    finally:
        path.write_text(sound)
        (objects / "src" / f"{unit}.o").write_bytes(kept)


@pytest.mark.parametrize("check", MUTANTS, ids=lambda check: " ".join([check[0].__name__, *check[1:]]))
def test_a_sound_core_lives(check, objects, monkeypatch):
    """Without a mutation the same checks pass: a mutant dies of its mutation."""
    use(link(objects, "sound"), monkeypatch)
    check[0](*check[1:])
