"""``ostinato translate``: lines of one language to lines of another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import tee
from json import dumps
from pathlib import Path
from typing import Any

from ostinato import pictures
from ostinato.cli.arguments import Flag, TextFile, for_terminal
from ostinato.errors import OstinatoError, TextError
from ostinato.text.corpus import lines, read_chunks
from ostinato.translator import Translation, Translator, load


def translate(
    model: Path,
    file: TextFile = "-",
    *,
    beam: int = 5,
    n_best: int = 1,
    length_penalty: float = 1.0,
    reference: str | None = None,
    attention: Path | None = None,
    json: Flag = False,
) -> None:
    """Translate a text, line by line.

    Lines go to standard output in their order; with --n-best several to a line, each behind its log-probability.

    Parameters
    ----------
    model
        The model folder, of `ostinato train --task translate`.
    file
        The text, plain or .gz; - is standard input.
    beam
        Hypotheses that the search keeps; 1 is greedy.
    n_best
        Translations of each line, the best first.
    length_penalty
        The power of its length that a translation's log-probability is divided by: 0 favours short ones, 1 is the mean.
    reference
        The right translations: says BLEU (sacrebleu, detokenized) on standard error.
    attention
        Draw what the model looked at while it wrote the first line: .svg or .png.
    json
        One JSON object a line.
    """
    if attention is not None:
        pictures.check_picture(attention)
    translator = load(model)
    texts, sources = tee(lines(read_chunks([file])))
    how = {"beam": beam, "n_best": n_best, "length_penalty": length_penalty}
    best: list[str] = []
    for source, found in zip(sources, _translations(translator, texts, file, how), strict=True):
        _show(source, found, json=json, n_best=n_best)
        if attention is not None and not best:
            _draw(translator, source, found[0].text, attention)
        best.append(found[0].text)
    if reference is not None:
        _say_bleu(best, reference)


def _translations(
    translator: Translator, texts: Iterator[str], file: str, how: dict[str, Any]
) -> Iterator[list[Translation]]:
    """Many lines at once, or each as it is typed."""
    if file == "-" and sys.stdin.isatty():
        return (found for text in texts for found in translator.translate_lines([text], **how))
    return translator.translate_lines(texts, **how)


def _show(source: str, found: list[Translation], *, json: bool, n_best: int) -> None:
    if json:
        print(dumps({"source": source, "translations": [asdict(one) for one in found]}, ensure_ascii=False), flush=True)
    elif n_best == 1:
        print(for_terminal(found[0].text), flush=True)
    else:
        for one in found:
            print(f"{one.logprob:.3f}\t{for_terminal(one.text)}", flush=True)


def _draw(translator: Translator, source: str, target: str, path: Path) -> None:
    found = translator.align(source, target)
    pictures.draw_alignment(found.source, found.target, found.weights, path)
    print(f"{path}", file=sys.stderr)


def _say_bleu(best: list[str], reference: str) -> None:
    wanted = list(lines(read_chunks([reference])))
    if len(wanted) != len(best):
        raise TextError(f"{reference} has {len(wanted):,} lines, the text has {len(best):,}; expected as many")
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise OstinatoError('--reference needs sacrebleu: pip install "ostinato[evaluate]"') from None
    metric = BLEU()
    print(f"{metric.corpus_score(best, [wanted])}  {metric.get_signature()}", file=sys.stderr)
