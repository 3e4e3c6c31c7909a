"""The import law of docs/design.md: who may import whom, what stays out of memory, and how long a file may be."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from small_models import write_captioner, write_classifier, write_composer, write_folder

import ostinato

ROOT = Path(ostinato.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "design.md"
BASICS = {"errors", "types"}

# part: the parts it may import beside itself
LAW: dict[str, set[str]] = {
    "errors": set(),
    "types": {"errors"},
    "config": BASICS,
    "files": set(),
    "quantise": BASICS,
    "architectures": BASICS | {"config"},
    "bundle": BASICS | {"architectures", "config", "quantise"},
    "text": BASICS | {"config"},
    "data": BASICS,
    "kernels": BASICS,
    "nn": BASICS | {"kernels", "config"},
    "models": BASICS | {"kernels", "nn", "config", "architectures"},
    "training": BASICS | {"config", "architectures", "kernels", "nn", "models", "data"},
    "engine": BASICS | {"kernels", "config", "architectures", "quantise", "data", "files"},
    "decode": BASICS | {"text"},
    "score": BASICS | {"files", "text"},
    "ctc": BASICS | {"config", "kernels", "score"},
    "language_model": BASICS | {"config", "bundle", "engine", "decode", "score", "text"},
    "rescoring": BASICS | {"config", "language_model", "score", "text"},
    "kenlm": BASICS | {"rescoring", "score"},
    "tunes": BASICS | {"config", "decode", "language_model", "text"},
    "dialogue": BASICS | {"engine", "decode", "score", "text", "language_model"},
    "images": BASICS | {"config", "data"},
    "classifier": BASICS | {"config", "architectures", "bundle", "engine", "score", "text"},
    "translator": BASICS | {"config", "architectures", "bundle", "engine", "decode", "text"},
    "captioner": BASICS | {"config", "architectures", "bundle", "data", "engine", "decode", "text", "images"},
    "lattice": BASICS | {"config", "text", "score", "files"},
    "sound": BASICS | {"config", "data"},
    "recogniser": BASICS | {"config", "architectures", "bundle", "ctc", "data", "engine", "decode", "text", "sound"},
    "pictures": BASICS,
    "loading": BASICS
    | {"config", "architectures", "bundle", "language_model", "translator", "classifier", "captioner"}
    | {"recogniser", "composer"},
    "pipeline": BASICS
    | {"config", "architectures", "text", "data", "models", "training", "bundle", "score", "pictures"}
    | {"language_model", "translator", "captioner", "images", "recogniser", "sound", "music", "loading"},
    "music": BASICS | {"config", "data", "files"},
    "composer": BASICS | {"config", "architectures", "bundle", "data", "engine", "decode", "music"},
}

# module prefix: the libraries it may import; the longest prefix counts
LIBRARIES: dict[str, set[str]] = {
    "": {"numpy"},
    "bundle": {"numpy", "safetensors"},
    "engine": {"numpy", "safetensors"},
    "text": {"numpy", "tokenizers"},
    "kernels.autograd": {"numpy", "torch", "triton"},
    "nn": {"torch"},
    "models": {"torch"},
    "training": {"numpy", "torch", "safetensors"},
    "files": set(),
    "training.settings": set(),
    "pictures": {"numpy", "matplotlib"},
    "images": {"numpy", "PIL"},
    "music": {"numpy", "symusic"},
    "pipeline": {"numpy", "torch"},
    "pipeline.settings": set(),
    "cli": {"numpy", "torch", "cyclopts", "rich", "matplotlib", "sacrebleu"},
}


@dataclass(frozen=True)
class Import:
    """One module of ours that imports a module, ours or not."""

    source: str
    target: str
    lazy: bool
    """Inside a function, or for the type checker only."""


def modules() -> dict[str, ast.Module]:
    """Every module by its name under the package; the package itself is the empty name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


def imports(source: str) -> Iterator[Import]:
    yield from _walk(source, MODULES[source], lazy=False)


def _walk(source: str, node: ast.AST, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        inside = lazy or for_types or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.Import):
            yield from (Import(source, alias.name, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{source} imports by a relative name"
            for alias in child.names:  # from a package: the module of that name, or a name in the package
                deeper = f"{child.module}.{alias.name}"
                yield Import(source, deeper if ours(deeper) in MODULES else str(child.module), lazy)
        yield from _walk(source, child, inside)


def ours(target: str) -> str | None:
    """The name of a module under the package; None for a library's."""
    if target == "ostinato":
        return ""
    return target.removeprefix("ostinato.") if target.startswith("ostinato.") else None


ALL = [one for name in MODULES for one in imports(name)]


def part(module: str) -> str:
    return module.split(".")[0]


def test_there_is_something_to_look_at() -> None:
    assert {"", "text.tokenizer", "training.loop", "cli.main", "kernels.reference"} <= MODULES.keys()
    assert Import("training.loop", "ostinato.data.lanes", False) in ALL
    assert Import("training.loop", "torch", False) in ALL
    assert Import("cli.train", "ostinato.pipeline", True) in ALL


def test_every_part_is_in_the_law() -> None:
    assert {part(name) for name in MODULES} - {"", "cli"} == LAW.keys()


def test_the_page_states_the_same_law() -> None:
    lines = PAGE.read_text("utf-8").split("### The import law")[1].split("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    page = {name: (set(ours.split(", ")) - {""}, set(libraries.split(", ")) - {""}) for name, ours, libraries in cells}
    law = {name: (LAW.get(name, set()) - BASICS, LIBRARIES.get(name, {"numpy"})) for name in {*LAW, *LIBRARIES} - {""}}
    assert page == law | {"cli": ({"everything"}, LIBRARIES["cli"])}


def test_a_part_imports_only_what_the_law_allows() -> None:
    broken = []
    for one in ALL:
        target = ours(one.target)
        if target is None or part(one.source) in ("", "cli"):
            continue
        if part(target) not in LAW[part(one.source)] | {part(one.source), ""}:
            broken.append(f"{one.source} imports {target}")
    assert broken == []


def test_nobody_imports_the_command_line() -> None:
    assert [one for one in ALL if (ours(one.target) or "").startswith("cli") and part(one.source) != "cli"] == []


def test_score_and_decode_do_not_import_each_other_nor_a_model() -> None:
    assert [one for one in ALL if part(one.source) == "score" and "decode" in one.target] == []
    assert [one for one in ALL if part(one.source) == "decode" and "score" in one.target] == []


def test_what_runs_a_model_uses_the_kernels_without_torch() -> None:
    used = {ours(one.target) for one in ALL if part(one.source) == "engine" and "kernels" in one.target}
    assert used == {"kernels.reference", "kernels.native"}


def test_libraries_are_imported_only_where_they_belong() -> None:
    broken = []
    for one in ALL:
        library = part(one.target)
        if ours(one.target) is not None or library in sys.stdlib_module_names:
            continue
        prefixes = [prefix for prefix in LIBRARIES if f"{one.source}.".startswith(f"{prefix}." if prefix else "")]
        if library not in LIBRARIES[max(prefixes, key=len)]:
            broken.append(f"{one.source} imports {library}")
    assert broken == []


def test_matplotlib_is_imported_when_something_is_drawn() -> None:
    assert [one for one in ALL if part(one.target) == "matplotlib" and not one.lazy] == []


def test_pillow_is_imported_when_an_image_is_read() -> None:
    assert {one.source for one in ALL if part(one.target) == "PIL"} == {"images"}
    assert [one for one in ALL if part(one.target) == "PIL" and not one.lazy] == []


def test_symusic_is_imported_when_midi_is_read_or_written() -> None:
    assert {one.source for one in ALL if part(one.target) == "symusic"} == {"music"}
    assert [one for one in ALL if part(one.target) == "symusic" and not one.lazy] == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for one in ALL:
        target = ours(one.target)
        if target is not None and not one.lazy:
            graph[one.source].add(target)
    TopologicalSorter(graph).prepare()


def test_files_and_functions_stay_readable() -> None:
    long = []
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text("utf-8")
        if text.count("\n") >= 500:
            long.append(f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                lines = (node.end_lineno or 0) - first.lineno + 1
                if lines >= 60:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert long == []


def loaded_after(code: str) -> set[str]:
    """The top names of all modules in memory after ``code`` ran in a process of its own."""
    tail = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


HELP = "from ostinato.cli.main import run\ntry:\n    run([{}])\nexcept SystemExit as end:\n    assert not end.code"
HEAVY = {"torch", "matplotlib", "PIL", "tokenizers", "onnxruntime", "hypothesis", "symusic"}


def test_importing_the_package_costs_next_to_nothing() -> None:
    assert not (HEAVY | {"numpy", "rich", "cyclopts"}) & loaded_after("import ostinato")


@pytest.mark.parametrize("arguments", ["'--help'", "'sample', '--help'", "'chat', '--help'", "'train', '--help'"])
def test_help_is_shown_without_torch(arguments: str) -> None:
    assert not {"torch", "matplotlib"} & loaded_after(HELP.format(arguments))


def test_a_model_is_loaded_and_writes_and_scores_without_torch(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    code = (
        f"import ostinato\nlm = ostinato.load({str(folder)!r})\n"
        "assert len(lm.generate('to be', tokens=5, seed=1)) >= 5\nassert lm.score('to be').nats > 0\n"
        "assert ostinato.Conversation(lm).reply('to be', 5)"
    )
    assert not {"torch", "matplotlib"} & loaded_after(code)


def test_a_classifier_is_loaded_and_classifies_without_torch(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model")
    code = (
        f"import ostinato\nmodel = ostinato.load({str(folder)!r})\n"
        "assert model.classify('to be')[0].label in 'abc'\nassert len(model.contributions('to be')) == 5"
    )
    assert not {"torch", "matplotlib"} & loaded_after(code)


def test_an_image_is_captioned_without_torch(tmp_path: Path) -> None:
    folder = write_captioner(tmp_path / "model")
    code = (
        f"import numpy, ostinato\ncaptioner = ostinato.load({str(folder)!r})\n"
        "image = numpy.zeros((9, 7, 3), numpy.uint8)\n"
        "assert captioner.caption(image) and captioner.score(image, 'to be') > 0"
    )
    assert not {"torch", "matplotlib"} & loaded_after(code)


def test_music_is_composed_without_torch_or_symusic(tmp_path: Path) -> None:
    folder = write_composer(tmp_path / "model")
    code = (
        f"import ostinato\ncomposer = ostinato.load({str(folder)!r})\n"
        "piece = composer.compose(5, seed=1)\nassert len(piece) == 5 and composer.score(piece) > 0"
    )
    assert not {"torch", "matplotlib", "symusic"} & loaded_after(code)


def test_a_model_is_exported_without_torch(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    code = f"import ostinato\nostinato.export({str(folder)!r}, {str(tmp_path / 'small')!r}, int8=True)"
    assert not {"torch", "matplotlib"} & loaded_after(code)


def test_torch_loads_with_short_spins_whoever_asks_for_it_first():
    """The command line reaches the pipeline by another way than ``ostinato.train``."""
    code = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            assert os.environ.get("GOMP_SPINCOUNT") == "500", "torch loads first"
sys.meta_path.insert(0, Watch())
import ostinato.cli.console
import ostinato.pipeline.run
assert "torch" in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_the_map_has_every_module() -> None:
    """Of the command line it says that a verb is a file."""
    table = PAGE.read_text("utf-8").partition("### The import law")[0]
    named = set(re.findall(r"\w+", table))
    modules = [path for path in ROOT.rglob("*.py") if path.stem != "__init__" and path.parent != ROOT / "cli"]
    assert len(modules) > 150
    assert [str(path.relative_to(ROOT)) for path in modules if path.stem not in named] == []
