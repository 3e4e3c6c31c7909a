"""The model card: README.md of a model folder, written from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ostinato.architectures import Architecture, ComposerConfig
from ostinato.bundle import Weights
from ostinato.config import ModelConfig


def write_card(name: str, model: Architecture, summary: Mapping[str, Any]) -> str:
    """Markdown from the summary that config.json also holds."""
    closing = "`training/run.toml` holds every setting with its reason, `training/metrics.jsonl` the course of it."
    return _card(
        name,
        f"A recurrent model that {model.purpose}, made by Ostinato.",
        _rows(summary),
        _usage(name, model, summary),
        closing,
    )


def write_copy_card(name: str, original: str, model: Architecture, weights: Weights, summary: Mapping[str, Any]) -> str:
    """Markdown for a copy of the model ``original``, from the summary of the original."""
    about = f"A copy of the recurrent model `{original}`, made by `ostinato export`"
    if weights == "int8":
        about += " in eight bits: each row of a matrix is whole numbers and a scale. The figures are the original's"
    try:
        rows = _rows(summary)
    except (KeyError, TypeError, ValueError, AttributeError):  # the summary is free text to the checks of a bundle
        rows = []
    closing = "It cannot be trained on; that is for the original."
    if weights == "int8":
        closing += f" `ostinato {model.verb} {name} FILE` measures what the copy does in eight bits."
    return _card(name, about + ".", [*rows, ("weights", weights)], _usage(name, model, summary), closing)


def _card(name: str, about: str, rows: list[tuple[str, str]], usage: list[str], closing: str) -> str:
    lines = [f"# {name}", "", about, "", "| | |", "|---|---|"]
    lines += [f"| {title} | {value} |" for title, value in rows]
    lines += ["", "```", *usage, "```", "", closing]
    return "\n".join(lines) + "\n"


def _usage(name: str, model: Architecture, summary: Mapping[str, Any]) -> list[str]:
    """What may be done with it."""
    first, scoring = next_step(name, model, str(summary.get("task", "lm"))), f"ostinato score {name} FILE"
    return [first, scoring] if isinstance(model, ModelConfig) else [first]


def next_step(folder: str, model: Architecture, task: str) -> str:
    """The command to try first."""
    if isinstance(model, ComposerConfig):
        given = "" if model.melody == "none" else " --harmonise melody.mid"
        return f"ostinato compose {folder}{given} -o piece.mid"
    if not isinstance(model, ModelConfig):
        return f"ostinato {model.verb} {folder} FILE"
    if model.bidirectional:
        return f'ostinato fill {folder} "some ___ text"'
    return f"ostinato {'chat' if task == 'dialogue' else 'sample'} {folder}"


def duration(seconds: float) -> str:
    """``4.2 seconds`` or ``2.5 minutes``."""
    return f"{seconds:.1f} seconds" if seconds < 60.0 else f"{seconds / 60.0:.1f} minutes"


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("model", summary["architecture"]), ("parameters", f"{summary['parameters']:,}")]
    if "level" in summary:
        rows.append(("tokens", f"{summary['level']}, {summary['vocab']:,} of them"))
    course = f"{duration(summary['seconds'])}, {summary['epochs']:.1f} epochs, {summary['steps']:,} steps"
    rows += [("trained on", trained_on(summary)), ("training", course)]
    task = summary.get("task", "lm")
    return rows + [(title, results(task, summary[part])) for part, title in PARTS.items() if part in summary]


def trained_on(summary: Mapping[str, Any]) -> str:
    """How much of what a model was trained on."""
    if "train_steps" in summary:
        amount = f"{summary['train_pieces']:,} pieces, {summary['train_steps']:,} steps"
    else:
        amount = f"{summary['train_chars']:,} characters"
    return f"{amount} of {', '.join(summary['texts'])}"


PARTS = {"valid": "held out", "test": "test"}
"""Parts of the data that are not trained on, as they are called in reports."""


def results(task: str, scores: Mapping[str, Any]) -> str:
    """The figures of a part of the data in a line."""
    return _RESULTS[task](scores)


def _language_results(scores: Mapping[str, Any]) -> str:
    unknown = f", {scores['unknown']:,} of them unknown" if scores["unknown"] else ""
    kind = "pseudo-perplexity" if scores.get("pseudo") else "perplexity"
    return (
        f"{scores['bits_per_char']:.4f} bits per character, {scores['bits_per_byte']:.4f} per byte, "
        f"{scores['nats_per_token']:.4f} nats per token, {kind} {scores['perplexity']:.2f} "
        f"({scores['tokens']:,} tokens{unknown})"
    )


def _translation_results(scores: Mapping[str, Any]) -> str:
    return f"perplexity {scores['perplexity']:.2f} per token ({scores['pairs']:,} pairs)"


def _classify_results(scores: Mapping[str, Any]) -> str:
    if "macro_f1" not in scores:
        return f"{scores['accuracy']:.2%} right, {scores['nats']:.4f} nats"
    found = f"{scores['accuracy']:.2%} right, macro F1 {scores['macro_f1']:.4f}, {scores['nats']:.4f} nats "
    found += f"({scores['texts']:,} texts)"
    if "calibration" in scores:
        error = scores["calibration"]
        found += f", calibration error {error['before']:.2%}, {error['after']:.2%} at the model's temperature"
    return found


def _caption_results(scores: Mapping[str, Any]) -> str:
    return (
        f"{scores['bits_per_char']:.4f} bits per character, {scores['nats_per_token']:.4f} nats per token "
        f"({scores['captions']:,} captions, {scores['tokens']:,} tokens)"
    )


def _transcribe_results(scores: Mapping[str, Any]) -> str:
    errors = f"{scores['wer']:.2%} of words wrong, {scores['cer']:.2%} of characters, " if "wer" in scores else ""
    return f"{errors}{scores['bits_per_char']:.4f} bits per character ({scores['recordings']:,} recordings)"


def _music_results(scores: Mapping[str, Any]) -> str:
    return f"{scores['nats_per_step']:.4f} nats per step ({scores['pieces']:,} pieces, {scores['steps']:,} steps)"


_RESULTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "lm": _language_results,
    "dialogue": _language_results,
    "translate": _translation_results,
    "classify": _classify_results,
    "caption": _caption_results,
    "transcribe": _transcribe_results,
    "music": _music_results,
}
