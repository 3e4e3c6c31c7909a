"""Pictures of what was measured: a run, curves over the lag, a layer under a text. SVG or PNG by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError, OstinatoError
from ostinato.types import Floats

Curves = Mapping[str, NDArray[np.float64]]

FLOOR, CEILING = 1e-8, 1e4
"""The range that is drawn: below it a gradient is lost in rounding, above it in clipping."""
FORMATS = (".svg", ".png")
_STYLES = ("-", "--", "-.", ":")


def check_picture(path: Path) -> None:
    """Raise unless a picture can be drawn to ``path``: ConfigError on its name, OstinatoError without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"out is {str(path)!r}; expected a name that ends in {' or '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise OstinatoError('pictures need matplotlib, which is not here: pip install "ostinato[plot]"') from None


def draw_run(metrics: Sequence[Mapping[str, Any]], loss: Path, gradients: Path) -> None:
    """Draw the course of a run, the lines of its ``metrics.jsonl``: the loss, norms of the gradient.

    The loss is in bits per character where those mean something, else in nats.
    """
    steps = [line for line in metrics if "gradient_norm" in line]
    text = all("bits_per_char" in line for line in steps)
    trained, valid = ("bits_per_char", "valid_bits_per_char") if text else ("loss", "valid_nats")
    held_out = [line for line in metrics if line.get(valid) is not None]
    with _figure(loss, (7, 4)) as figure:
        axes = figure.subplots()
        axes.plot(*_over_minutes(steps, trained), lw=0.8, label="training")
        axes.plot(*_over_minutes(held_out, valid), "o-", ms=3, label="held out")
        axes.set(xlabel="minutes", ylabel="bits per character" if text else "nats per prediction")
        if held_out:  # the first evaluation is of random weights: far above everything that is of interest
            best = min(line[valid] for line in held_out)
            axes.set_ylim(0.95 * min([best, *(line[trained] for line in steps)]), 1.7 * best)
        axes.grid(alpha=0.3)
        axes.legend()
    with _figure(gradients, (7, 4)) as figure:
        axes = figure.subplots()
        axes.semilogy(*_over_minutes(steps, "gradient_norm_max"), lw=0.6, alpha=0.5, label="before clipping, largest")
        axes.semilogy(*_over_minutes(steps, "gradient_norm"), lw=0.9, label="before clipping, mean")
        axes.semilogy(*_over_minutes(steps, "gradient_norm_clipped"), lw=0.9, label="after clipping, mean")
        axes.set(xlabel="minutes", ylabel="global norm of the gradient")
        axes.grid(alpha=0.3)
        axes.legend()


def _over_minutes(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    return [line["seconds"] / 60 for line in lines], [line[name] for line in lines]


def draw_lags(panels: Mapping[str, Curves], lags: Sequence[int], path: Path) -> None:
    """Draw norms over the ``lags``, ``(len(lags),)`` each: a panel a title, a curve a label, one logarithmic scale.

    All panels have the same labels, which are explained once. What a logarithmic scale cannot show is left out.
    """
    with _figure(path, (7 if len(panels) == 1 else 5.2 * len(panels), 4)) as figure:
        each = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, curves) in zip(each, panels.items(), strict=True):
            for k, (label, norms) in enumerate(curves.items()):
                axes.semilogy(lags, norms, _STYLES[k % len(_STYLES)], lw=1.3, label=label)
            axes.set(xlabel="lag T - t, in steps", title=title)
            axes.grid(alpha=0.3)
        every = np.concatenate([norms for curves in panels.values() for norms in curves.values()])
        each[0].set_ylim(*_limits(every))
        each[0].set_ylabel("norm of d loss_T / d h_t, lag 0 = 1")
        each[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _limits(norms: NDArray[np.float64]) -> tuple[float, float]:
    """A scale that holds all norms from FLOOR to CEILING and always the 1."""
    seen = norms[np.isfinite(norms) & (norms > 0)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (1.0, 1.0)
    return max(FLOOR, min(low / 2, 0.1)), min(CEILING, max(high * 2, 2.0))


def draw_gates(
    gates: Mapping[str, Floats], units: Sequence[int], labels: Sequence[str], title: str, path: Path
) -> None:
    """Draw ``gates``, each ``(T, H)``, as heat maps: a panel a gate, a row a unit, a column a token with its label.

    What lies between 0 and 1 is dark to bright; what has a sign is blue below and red above zero.
    """
    T = len(labels)
    size = (max(5.0, 0.16 * T + 2.0), len(gates) * (0.14 * len(units) + 0.35) + 0.7)
    with _figure(path, size) as figure:
        each = figure.subplots(len(gates), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, values) in zip(each, gates.items(), strict=True):
            shown = values[:, list(units)].T
            image = axes.imshow(shown, aspect="auto", interpolation="nearest", **_colours(name, shown))
            axes.set_yticks(range(len(units)), [str(unit) for unit in units], fontsize=7)
            axes.set_ylabel(name, rotation=0, ha="right", va="center", weight="bold")
            figure.colorbar(image, ax=axes, pad=0.01, fraction=0.02, aspect=8).ax.tick_params(labelsize=7)
            axes.tick_params(length=0)
        each[0].set_title(title, fontsize=9)
        each[-1].set_xticks(range(T), labels, fontsize=8, parse_math=False)
        for label in each[-1].get_xticklabels():
            label.set_rotation(90 if len(label.get_text()) > 2 else 0)


def draw_alignment(source: Sequence[str], target: Sequence[str], weights: Floats, path: Path) -> None:
    """Draw what a translator looked at, ``weights (T, S)``: a row for each token it wrote (Bahdanau et al. 2015)."""
    size = (0.32 * len(source) + 1.6, 0.26 * len(target) + 1.4)
    with _figure(path, size) as figure:
        axes = figure.subplots()
        axes.imshow(weights, cmap="gray_r", vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
        axes.set_xticks(range(len(source)), source, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(range(len(target)), target, fontsize=8, parse_math=False)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)


def _colours(name: str, values: Floats) -> dict[str, Any]:
    """Colour map and range: shares from 0 to 1, tanh from -1 to 1, the state as far as it goes."""
    if name in "iforz":
        return {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
    reach = 1.0 if name in "gn" else float(np.abs(values).max()) or 1.0
    return {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}


def draw_reliability(bins: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draw how often a label is right over the probability it was given, and how many texts have such a one.

    ``bins`` are those of ``score.calibration.reliability``, as JSON, by the name of a curve.
    """
    with _figure(path, (5, 5)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], ":", color="grey", lw=1)
        for k, (name, each) in enumerate(bins.items()):
            confidence = [one["confidence"] for one in each]
            upper.plot(confidence, [one["accuracy"] for one in each], "o" + _STYLES[k % len(_STYLES)], ms=3, label=name)
            lower.plot(confidence, [one["count"] for one in each], "o" + _STYLES[k % len(_STYLES)], ms=3)
        upper.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
        lower.set(xlabel="probability of the label", ylabel="texts")
        upper.grid(alpha=0.3)
        lower.grid(alpha=0.3)
        upper.legend()


@contextmanager
def _figure(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A figure that is written to ``path`` at the end. The same numbers give the same bytes."""
    check_picture(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Text stays text in an SVG: small, searchable, and in scripts that matplotlib's own font does not have.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ostinato"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, dpi=150, metadata=metadata)
