"""The model card: README.md of a model folder, written from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostinato.bundle import Weights
from ostinato.config import ModelConfig


def write_card(name: str, summary: Mapping[str, Any]) -> str:
    """Markdown from the summary that config.json also holds."""
    return _card(
        name,
        "A recurrent language model made by Ostinato.",
        _rows(summary),
        summary["bidirectional"],
        "`training/run.toml` holds every setting with its reason, `training/metrics.jsonl` the course of training.",
    )


def write_copy_card(name: str, original: str, model: ModelConfig, weights: Weights, summary: Mapping[str, Any]) -> str:
    """Markdown for a copy of the model ``original``, from the summary of the original."""
    about = f"A copy of the recurrent language model `{original}`, made by `ostinato export`"
    if weights == "int8":
        about += " in eight bits: each row of a matrix is whole numbers and a scale. The figures are the original's"
    try:
        rows = _rows(summary)
    except (KeyError, TypeError, ValueError, AttributeError):  # the summary is free text to the checks of a bundle
        rows = []
    closing = "It cannot be trained on; that is for the original."
    if weights == "int8":
        closing += f" `ostinato score {name} FILE` measures what the copy does in eight bits."
    return _card(name, about + ".", [*rows, ("weights", weights)], model.bidirectional, closing)


def _card(name: str, about: str, rows: list[tuple[str, str]], bidirectional: bool, closing: str) -> str:
    lines = [f"# {name}", "", about, "", "| | |", "|---|---|"]
    lines += [f"| {title} | {value} |" for title, value in rows]
    lines += [
        "",
        "```",
        f"ostinato sample {name}" if not bidirectional else f'ostinato fill {name} "some ___ text"',
        f"ostinato score {name} FILE",
        "```",
        "",
        closing,
    ]
    return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """``4.2 seconds`` or ``2.5 minutes``."""
    return f"{seconds:.1f} seconds" if seconds < 60.0 else f"{seconds / 60.0:.1f} minutes"


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("model", summary["architecture"]),
        ("parameters", f"{summary['parameters']:,}"),
        ("tokens", f"{summary['level']}, {summary['vocab']:,} of them"),
        ("trained on", f"{summary['train_chars']:,} characters of {', '.join(summary['texts'])}"),
        (
            "training",
            f"{duration(summary['seconds'])}, {summary['epochs']:.1f} epochs, {summary['steps']:,} steps",
        ),
    ]
    kind = "pseudo-perplexity" if summary["bidirectional"] else "perplexity"
    for part in ("valid", "test"):
        if part in summary:
            scores = summary[part]
            unknown = f", {scores['unknown']:,} of them unknown" if scores["unknown"] else ""
            rows.append(
                (
                    "held out" if part == "valid" else "test",
                    f"{scores['bits_per_char']:.3f} bits per character, {scores['bits_per_byte']:.3f} bits per byte, "
                    f"{kind} {scores['perplexity']:.2f} per token, {scores['tokens']:,} tokens{unknown}",
                )
            )
    return rows
