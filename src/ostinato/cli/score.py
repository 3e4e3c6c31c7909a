"""``ostinato score``: how surprised a model is by a text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ostinato.cli.arguments import Flag, TextFile
from ostinato.language_model import LanguageModel, load
from ostinato.score.logprob import StatePolicy, UnkPolicy
from ostinato.score.report import Policy, Scored
from ostinato.text.corpus import read_chunks

_WIDTH = len("pseudo-perplexity")
_NAME = 16


def score(
    model: Path,
    *files: TextFile,
    per: Literal["text", "line", "token"] = "text",
    state: StatePolicy = "carry",
    unk: UnkPolicy = "count",
    line_end: bool = True,
    json: Flag = False,
) -> None:
    """Score texts: perplexity, bits per character and per byte.

    Bits per byte compare models of every level. A bidirectional model gives a pseudo-perplexity, which compares with
    other pseudo-perplexities only.

    Parameters
    ----------
    model
        The model folder.
    files
        Texts, plain or .gz; - or none is standard input. Each is scored by itself.
    per
        One result a text, a line, or a token.
    state
        carry: a text is one stream; reset: every line begins anew.
    unk
        count: a token the model never saw is scored as the unknown one; skip: it is read and left out.
    line_end
        Score line ends; else they are read and left out.
    json
        One JSON object a text, line or token, and nothing else.
    """
    policy = Policy(state, unk, line_end)
    lm = load(model)
    names = list(files) or ["-"]
    if json:
        for name in names:
            for record in _records(lm, name, per, policy):
                print(dumps(record, ensure_ascii=False), flush=True)
    elif per == "text":
        _print_texts({name: _text(lm, name, policy) for name in names})
    else:
        for name in names:
            print(name)
            (_print_lines if per == "line" else _print_tokens)(_lines(lm, name, policy, per == "token"))


def _text(lm: LanguageModel, name: str, policy: Policy) -> Scored:
    chunks = read_chunks([name])
    return lm.score(chunks, state=policy.state, unk=policy.unk, line_end=policy.line_end, tokens=False)


def _lines(lm: LanguageModel, name: str, policy: Policy, tokens: bool) -> Iterator[Scored]:
    chunks = read_chunks([name])
    return lm.score_lines(chunks, state=policy.state, unk=policy.unk, line_end=policy.line_end, tokens=tokens)


def _records(lm: LanguageModel, name: str, per: str, policy: Policy) -> Iterator[dict[str, Any]]:
    if per == "text":
        yield {"file": name, **_text(lm, name, policy).to_json()}
        return
    for number, line in enumerate(_lines(lm, name, policy, per == "token"), start=1):
        if per == "line":
            yield {"file": name, "line": number, **line.to_json()}
        for token in line.token_scores:
            yield {"file": name, "line": number, **asdict(token)}


def _print_texts(scores: dict[str, Scored]) -> None:
    total = Scored.total(scores.values(), next(iter(scores.values())).policy)
    rows = {**scores, "all": total} if len(scores) > 1 else scores
    table = Table(
        box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, caption=_caption(total.policy), caption_justify="left"
    )
    for k, head in enumerate(("text", *(head for head, _ in _columns(total)))):
        table.add_column(head.replace("-", "-\n"), justify="right" if k else "left", no_wrap=True)
    for name, scored in rows.items():
        shown = name if len(name) <= _NAME else "…" + name[1 - _NAME :]
        table.add_row(escape(shown), *(value for _, value in _columns(scored)))
    Console().print(table)


def _columns(scored: Scored) -> list[tuple[str, str]]:
    """Heads and figures of a score."""
    return [
        ("tokens", f"{scored.tokens:,}"),
        ("unknown", f"{scored.oov:,}"),
        (scored.name, _figure(scored.perplexity)),
        ("per word", _figure(scored.word_perplexity)),
        ("bits/char", f"{scored.bits_per_char:.4f}"),
        ("bits/byte", f"{scored.bits_per_byte:.4f}"),
    ]


def _figure(value: float) -> str:
    """Six digits or so."""
    return f"{value:.3f}" if value < 10_000 else f"{value:,.0f}" if value < 1e6 else f"{value:.3g}"


def _caption(policy: Policy) -> str:
    """How the figures were taken, in words."""
    return ", ".join(
        (
            "one stream" if policy.state == "carry" else "every line begins anew",
            "line ends scored" if policy.line_end else "line ends left out",
            "unknown tokens scored as <unk>" if policy.unk == "count" else "unknown tokens left out",
            *(["each token from both sides"] if policy.pseudo else []),
        )
    )


def _print_lines(lines: Iterator[Scored]) -> None:
    for number, line in enumerate(lines, start=1):
        columns = _columns(line)
        if number == 1:
            print(f"{'line':>7}", *(f"{head:>{_WIDTH}}" for head, _ in columns))
        print(f"{number:>7}", *(f"{value:>{_WIDTH}}" for _, value in columns), flush=True)


def _print_tokens(lines: Iterator[Scored]) -> None:
    print(f"{'line':>7} {'at':>7} {'bits':>8} {'expected':>8} {'rank':>6}  token")
    for number, line in enumerate(lines, start=1):
        for token in line.token_scores:
            figures = f"{token.surprisal_bits:>8.3f} {token.entropy_bits:>8.3f} {token.rank:>6}"
            print(f"{number:>7} {token.start:>7} {figures}  {token.text!r}", flush=True)
