"""What ``ostinato inspect`` says of a model of any kind: its sizes, and how it was trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from json import dumps
from typing import Any

from rich.console import Console
from rich.table import Table

from ostinato import bundle
from ostinato.architectures import Architecture, expected_tensors
from ostinato.bundle import Bundle
from ostinato.cli.arguments import for_terminal
from ostinato.composer import Composer
from ostinato.config import ModelConfig
from ostinato.engine import Engine
from ostinato.language_model import LanguageModel
from ostinato.loading import face_of
from ostinato.pipeline.card import duration, results, trained_on
from ostinato.text import tokenizer as tokenizers


def sizes(found: Bundle[Any]) -> dict[str, Any]:
    """The report as plain JSON values. Raises BundleError when weights and tokenizers do not belong together."""
    face, parts = face_of(found), _parameters(found.model)  # checks that weights and tokenizers belong together
    tokens = {}
    if found.tokenizer_paths:
        tokenizer = tokenizers.load(found.tokenizer_paths[0])
        tokens = {"level": tokenizer.level, "vocab": tokenizer.vocab_size}
    files = (bundle.CONFIG, bundle.WEIGHTS, *found.model.tokenizers, bundle.CARD)
    report = {
        "folder": str(found.folder),
        "model": found.model.to_json(),
        **tokens,
        "parameters": sum(parts.values()),
        "parts": parts,
        "weights": found.weights,
        "weights_bytes": found.weights_bytes,
        "disk_bytes": sum(path.stat().st_size for path in map(found.folder.joinpath, files) if path.is_file()),
        "training": dict(found.training),
    }
    if isinstance(face, LanguageModel):
        report["state_bytes"] = face.engine.start().nbytes if isinstance(face.engine, Engine) else None
    if isinstance(face, Composer):
        report["state_bytes"] = face.engine.start().nbytes
    return report


def _parameters(model: Architecture) -> dict[str, int]:
    """Numbers by part, in the order in which the data goes through them; a layer's norm is part of it."""
    parts: dict[str, int] = {}
    for name, shape in expected_tensors(model).items():
        part = _part(name)
        parts[part] = parts.get(part, 0) + math.prod(shape)
    return parts


def _part(name: str) -> str:
    """``stack.layers.0.bias`` is of ``layer 0``; ``backward_stack.norms.1.weight`` of ``backward layer 1``."""
    owner, *rest = name.split(".")
    owner = owner.removesuffix("stack").replace("_", " ").strip()
    return f"{owner} layer {rest[1]}".strip() if rest[0] in ("layers", "norms") else owner


def print_sizes(found: Bundle[Any], *, json: bool) -> None:
    """Print them, as JSON or for people."""
    report, model = sizes(found), found.model
    if json:
        print(dumps(report, ensure_ascii=False))
        return
    for name, value in _facts(report, model):
        print(f"{name:10}  {for_terminal(value)}")
    parts = Table(caption=_tied(model), caption_justify="left")
    for head in ("part", "parameters", "share"):
        parts.add_column(head, justify="left" if head == "part" else "right")
    for part, count in (*report["parts"].items(), ("all", report["parameters"])):
        parts.add_row(part, f"{count:,}", f"{count / report['parameters']:.1%}")
    Console(highlight=False).print(parts)


def _tied(model: Any) -> str | None:
    return "tied: the output layer uses the embedding's matrix, counted once" if getattr(model, "tied", False) else None


def _facts(report: dict[str, Any], model: Architecture) -> Iterator[tuple[str, str]]:
    yield "model", _layers(model) if isinstance(model, ModelConfig) else model.describe()
    if "level" in report:
        yield "tokens", f"{report['level']}, {report['vocab']:,} of them"
    rows = ", a scale for each row of a matrix" if report["weights"] == "int8" else ""
    yield "weights", f"{report['weights']}{rows}, {_size(report['weights_bytes'])}"
    yield "on disk", _size(report["disk_bytes"])
    if "state_bytes" in report:
        state = report["state_bytes"]
        none = "none: it reads whole texts"
        yield "state", none if state is None else f"{_size(state)} a stream, whatever its length"
    try:
        yield from _course(report["training"])
    except (KeyError, TypeError, ValueError, AttributeError):  # the summary is free text to the checks of a bundle
        yield "training", "noted in a way that this version does not read"


def _layers(model: ModelConfig) -> str:
    flags = ("bidirectional", "tied", "skip_output", "residual", "layer_norm")
    cell = f"{model.cell} ({model.activation})" if model.cell == "rnn" else model.cell
    layers = f"{len(model.hidden)} layer{'s' * (len(model.hidden) > 1)} of {', '.join(map(str, model.hidden))} units"
    extras = [flag.replace("_", " ") for flag in flags if getattr(model, flag)]
    return ", ".join([cell, layers, f"embedding {model.embed}", *extras])


def _size(size: int) -> str:
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size} bytes"


def _course(training: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the folder tells of its training; it may tell little."""
    if "copy_of" in training:
        yield "copy of", f"{training['copy_of']}, which the figures of training are of"
    if "texts" in training:
        yield "trained on", trained_on(training)
    if "seconds" in training:
        seconds, epochs = training["seconds"], training["epochs"]
        yield "training", f"{duration(seconds)}, {epochs:.1f} epochs, {training['steps']:,} steps"
    for part, name in (("valid", "held out"), ("test", "test")):
        if part in training:
            yield name, results(training.get("task", "lm"), training[part])
