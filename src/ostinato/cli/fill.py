"""``ostinato fill``: fill the gaps of a text."""

from __future__ import annotations

import sys
from dataclasses import asdict
from json import dumps
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ostinato.cli.arguments import Flag, for_terminal
from ostinato.decode.fill import MARK, Filled
from ostinato.language_model import load


def fill(
    model: Path,
    text: str,
    *,
    gap_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int | None = None,
    alternatives: int = 5,
    json: Flag = False,
) -> None:
    """Fill the gaps of a text with a bidirectional model.

    ___ is a gap of one word, or of the rest of one where it touches letters; its length is found by trying.
    ___5 is a gap of exactly five tokens of any kind.

    Parameters
    ----------
    model
        The folder of a model trained with --bidirectional.
    text
        The text with its gaps, as in "to be or ___ to be".
    gap_tokens
        Tokens in every gap that states no number.
    temperature
        0 finds the best filling; more draws one, the higher the more freely.
    seed
        The same seed draws the same filling.
    alternatives
        How many fillings to show for each gap.
    json
        One JSON object: text, and for each gap its place, filling, probability, alternatives and tokens.
    """
    lm = load(model)
    filled = lm.fill(text, gap_tokens=gap_tokens, temperature=temperature, seed=seed, alternatives=alternatives)
    if unknown := dict.fromkeys(name for part in MARK.split(text)[::2] for name in lm.unknown(part)):
        print(f"[never seen in training, read as unknown: {', '.join(map(repr, unknown))}]", file=sys.stderr)
    if json:
        print(dumps(asdict(filled), ensure_ascii=False))
    else:
        _show(filled)


def _show(filled: Filled) -> None:
    """The text with its fillings marked, then the alternatives of each."""
    console = Console(highlight=False, soft_wrap=True)
    shown, done = "", 0
    for gap in filled.gaps:
        shown += escape(filled.text[done : gap.start]) + f"[bold underline]{escape(gap.text)}[/]"
        done = gap.end
    console.print(for_terminal(shown + escape(filled.text[done:])))
    for number, gap in enumerate(filled.gaps, start=1):
        each = "" if len(gap.tokens) == 1 else " a token"
        others = ", ".join(f"{text!r} {probability:.1%}" for text, probability in gap.alternatives)
        console.print(escape(f"gap {number}: {gap.text!r} {gap.probability:.1%}{each}; found: {others}"))
