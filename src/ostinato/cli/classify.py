"""``ostinato classify``: the label of every line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from json import dumps
from pathlib import Path
from typing import Any

from ostinato.classifier import LINES, Classified, Contribution, load
from ostinato.cli.arguments import Flag, TextFile, for_terminal
from ostinato.text.corpus import lines, read_chunks


def classify(model: Path, file: TextFile = "-", *, contributions: Flag = False, json: Flag = False) -> None:
    """Say the label of each line of a text, with its probability: label, probability and line, with tabs between.

    Parameters
    ----------
    model
        The model folder, made with --task classify.
    file
        Texts, one a line, plain or .gz; - is standard input.
    contributions
        Also what each token does for the label: by how much its log-odds fall when the token is left out. Exact, at the
        cost of reading a text as many times as it has tokens.
    json
        One JSON object a line, with the probabilities of all labels.
    """
    found = load(model)
    texts = lines(read_chunks([file]))
    while block := [*islice(texts, LINES)]:
        for text, result in zip(block, found.classify(block), strict=True):
            tokens = found.contributions(text) if contributions else []
            for line in _in_json(text, result, tokens, contributions) if json else _plain(text, result, tokens):
                print(line)


def _in_json(text: str, result: Classified, tokens: list[Contribution], contributions: bool) -> Iterator[str]:
    record: dict[str, Any] = {**asdict(result), "text": text}
    if contributions:
        record["contributions"] = [asdict(token) for token in tokens]
    yield dumps(record, ensure_ascii=False)


def _plain(text: str, result: Classified, tokens: list[Contribution]) -> Iterator[str]:
    yield f"{for_terminal(result.label)}\t{result.probability:.4f}\t{text}"
    for token in tokens:
        yield f"\t{token.log_odds:+.3f}\t{token.token}"
