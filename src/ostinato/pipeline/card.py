"""The model card: README.md of a model folder, written from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def write_card(name: str, summary: Mapping[str, Any]) -> str:
    """Markdown from the summary that config.json also holds."""
    lines = [f"# {name}", "", "A recurrent language model made by Ostinato.", "", "| | |", "|---|---|"]
    lines += [f"| {title} | {value} |" for title, value in _rows(summary)]
    lines += [
        "",
        "```",
        f"ostinato sample {name}" if not summary["bidirectional"] else f'ostinato fill {name} "some ___ text"',
        f"ostinato score {name} FILE",
        "```",
        "",
        "`training/run.toml` holds every setting with its reason, `training/metrics.jsonl` the course of training.",
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
