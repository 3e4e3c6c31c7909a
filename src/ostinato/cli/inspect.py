"""``ostinato inspect``: sizes of a model, and pictures of what goes on in it."""

from __future__ import annotations

import math
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ostinato import bundle, pictures
from ostinato.bundle import Bundle
from ostinato.cli.arguments import Flag, TextFile
from ostinato.cli.sizes import print_sizes, sizes
from ostinato.config import ModelConfig, check_range
from ostinato.engine.trace import trace
from ostinato.errors import ConfigError, OstinatoError, TextError
from ostinato.text import tokenizer as tokenizers
from ostinato.text.corpus import read_chunks
from ostinato.types import Floats, Ids, Tokenizer

if TYPE_CHECKING:
    from ostinato.models.bidirectional import BidirectionalLanguageModel
    from ostinato.models.language import RecurrentLanguageModel

WINDOWS = 32
"""Places of the text that the gradients are averaged over."""
MOST = 1_000_000
"""Tokens of a text that the places are chosen from: enough to be far apart, read in a moment."""
UNITS = 8
"""Units that a picture of gates shows when none are named."""
LONGEST = 400
"""Tokens that a picture of gates can show side by side."""


def inspect(
    model: Path,
    *,
    gradients: TextFile | None = None,
    lags: int = 100,
    gates: str | None = None,
    layer: int | None = None,
    units: str | None = None,
    out: Path | None = None,
    json: Flag = False,
) -> None:
    """Look into a model: parameters by part, memory of a stream, its training; with pictures of gradients and gates.

    Parameters
    ----------
    model
        The model folder.
    gradients
        Draw how far back a gradient reaches on this text: the norm of d loss / d state over the lag, layer by layer.
        Needs torch.
    lags
        How many steps back --gradients looks.
    gates
        Draw gates, cell and output of some units while the model reads this text.
    layer
        The layer that --gates shows, counted from 0; default: the last.
    units
        The units that --gates shows, counted from 0, as in 0,5,7; default: the 8 whose output changes most.
    out
        The picture, .svg or .png; default: gradients.svg or gates.svg in this folder.
    json
        Print JSON: the sizes, and with a picture the numbers that it shows.
    """
    picture = _picture(gradients, gates, out)
    if gates is None and (layer is not None or units is not None):
        raise ConfigError("--layer and --units choose what --gates shows; give --gates TEXT too")
    if gradients is None and gates is None:
        print_sizes(bundle.load(model), json=json)
        return
    found = bundle.load_kind(model, ModelConfig)
    tokenizer = tokenizers.load(found.tokenizer_paths[0])
    report = sizes(found)
    if gradients is not None:
        report["gradients"] = _gradients(found, tokenizer, gradients, lags, picture)
    else:
        assert gates is not None
        report["gates"] = _gates(found, tokenizer, gates, layer, units, picture)
    if json:
        print(dumps(report, ensure_ascii=False))
    elif gradients is not None:
        _print_gradients(report["gradients"], picture)
    else:
        _print_gates(report["gates"], picture)


def _picture(gradients: str | None, gates: str | None, out: Path | None) -> Path:
    """Where the picture goes, checked before anything is computed for it."""
    if gradients is not None and gates is not None:
        raise ConfigError("--gradients and --gates are two pictures; draw one at a time")
    path = out or Path("gradients.svg" if gates is None else "gates.svg")
    if gradients is not None or gates is not None:
        pictures.check_picture(path)
    elif out is not None:
        raise ConfigError("--out names a picture; give --gradients FILE or --gates TEXT too")
    return path


# Gradients


def _gradients(found: Bundle[ModelConfig], tokenizer: Tokenizer, name: str, lags: int, picture: Path) -> dict[str, Any]:
    check_range("lags", lags, 1, 10_000)
    try:
        import torch

        from ostinato.training.watch import gradient_by_lag
    except ImportError:
        raise OstinatoError(
            'measuring gradients needs torch, which is not here: pip install "ostinato[train]"'
        ) from None
    model = _network(found)
    windows = _windows(tokenizer, name, lags + 2 + model.lookahead)
    over = range(lags + 1)
    norms = gradient_by_lag(model, torch.from_numpy(windows), over)
    layers = {f"layer {k}": layer for k, layer in enumerate(norms)}
    pictures.draw_lags({_title(found.model): layers}, over, picture)
    return {
        "text": name,
        "windows": windows.shape[1],
        "lags": list(over),
        "layers": {layer: [number if math.isfinite(number) else None for number in x] for layer, x in layers.items()},
        "picture": str(picture),
    }


def _network(found: Bundle[ModelConfig]) -> RecurrentLanguageModel | BidirectionalLanguageModel:
    """The model on torch, as training has it."""
    import torch

    from ostinato.config import Regularisers
    from ostinato.models.build import build

    model = build(found.model, Regularisers())
    model.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in found.tensors.items()})
    return model


def _windows(tokenizer: Tokenizer, name: str, length: int) -> Ids:
    """Up to WINDOWS windows ``(length, B)`` spread evenly over a text, of which the first MOST tokens are read."""
    pieces: list[Ids] = []
    for ids in tokenizers.encode_chunks(tokenizer, read_chunks([name])):
        pieces.append(ids)
        if sum(map(len, pieces)) >= MOST:
            break
    ids = np.concatenate([*pieces, np.empty(0, np.int64)])[:MOST]
    if len(ids) < length:
        raise TextError(f"{name} has {len(ids)} tokens; expected {length} or more; give a longer text or fewer --lags")
    places = np.unique(np.linspace(0, len(ids) - length, WINDOWS, dtype=np.int64))
    windows: Ids = ids[places + np.arange(length)[:, None]]
    return windows


def _title(model: ModelConfig) -> str:
    return f"{model.cell} {', '.join(map(str, model.hidden))}" + " (forward stack)" * model.bidirectional


def _print_gradients(report: dict[str, Any], picture: Path) -> None:
    print(f"norm of d loss_T / d h_t, lag 0 = 1, mean of {report['windows']} windows of {report['text']}")
    table = Table()
    table.add_column("lag", justify="right")
    for layer in report["layers"]:
        table.add_column(layer, justify="right")
    last = report["lags"][-1]
    for lag in sorted({lag for lag in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if lag < last} | {last}):
        numbers = [norms[lag] for norms in report["layers"].values()]
        table.add_row(str(lag), *("-" if number is None else f"{number:.2e}" for number in numbers))
    Console(highlight=False).print(table)
    print(picture)


# Gates


def _gates(
    found: Bundle[ModelConfig], tokenizer: Tokenizer, text: str, layer: int | None, units: str | None, picture: Path
) -> dict[str, Any]:
    ids = tokenizer.encode(text)
    if not 1 <= len(ids) <= LONGEST:
        raise TextError(f"the text of --gates has {len(ids)} tokens; expected 1 to {LONGEST}")
    layer = len(found.model.hidden) - 1 if layer is None else layer
    traced = trace(found.model, found.tensors, tokenizer.boundary_id, ids, layer)
    chosen = _most_moved(traced["h"]) if units is None else _chosen(units, traced["h"].shape[1])
    labels = [tokenizer.label(int(token)) for token in ids]
    pictures.draw_gates(traced, chosen, labels, f"{_title(found.model)}: units of layer {layer}", picture)
    return {
        "layer": layer,
        "units": chosen,
        "tokens": labels,
        "values": {name: values[:, chosen].tolist() for name, values in traced.items()},
        "picture": str(picture),
    }


def _most_moved(h: Floats) -> list[int]:
    return [int(unit) for unit in np.argsort(-h.var(axis=0), kind="stable")[:UNITS]]


def _chosen(units: str, hidden: int) -> list[int]:
    """``0,5,7`` as numbers of units."""
    try:
        chosen = [int(unit) for unit in units.split(",")]
    except ValueError:
        raise ConfigError(f"units is {units!r}; expected numbers with commas between them, as in 0,5,7") from None
    for unit in chosen:
        if not 0 <= unit < hidden:
            raise ConfigError(f"units has {unit}; expected 0 to {hidden - 1}, the layer has {hidden}")
    return chosen


def _print_gates(report: dict[str, Any], picture: Path) -> None:
    units = ", ".join(map(str, report["units"]))
    print(f"layer {report['layer']}, units {units}, {', '.join(report['values'])} over {len(report['tokens'])} tokens")
    print(picture)
