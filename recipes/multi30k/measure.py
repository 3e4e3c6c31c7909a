"""BLEU of a translator on a test set: by width of the beam, by length of the sentence; and how fast it is.

    python measure.py MODEL SOURCE TARGET

Prints one JSON object. BLEU is sacrebleu's, detokenized, with its signature.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU

from ostinato.text.corpus import lines as lines_of
from ostinato.text.corpus import read_chunks
from ostinato.translator import Translator, load

WIDTHS = (1, 2, 5, 10)
METRIC = BLEU()
LENGTHS = ((1, 8), (9, 11), (12, 15), (16, 60))


def main(folder: str, source: str, target: str) -> None:
    """Translate the test set by every width; the lengths are those of the source in words, beam 5."""
    model = load(folder)
    lines, references = (list(lines_of(read_chunks([name]))) for name in (source, target))
    report: dict[str, object] = {"parameters": model.training["parameters"], "model": model.model.describe()}
    for width in WIDTHS:
        start = time.perf_counter()
        found = translate(model, lines, width)
        seconds = time.perf_counter() - start
        report[f"beam {width}"] = {
            "bleu": bleu(found, references),
            "sentences_per_second": round(len(lines) / seconds, 1),
        }
        if width == 5:
            report["by length"] = by_length(lines, found, references)
    report["signature"] = str(METRIC.get_signature())
    print(json.dumps(report, indent=1))


def translate(model: Translator, lines: Sequence[str], width: int) -> list[str]:
    """The best translation of each line."""
    return [found[0].text for found in model.translate_lines(lines, beam=width)]


def bleu(found: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU, two places."""
    return round(METRIC.corpus_score(list(found), [list(references)]).score, 2)


def by_length(lines: Sequence[str], found: Sequence[str], references: Sequence[str]) -> dict[str, dict[str, float]]:
    """Sentences and BLEU by the number of words of the source."""
    parts = {}
    for low, high in LENGTHS:
        here = [i for i, line in enumerate(lines) if low <= len(line.split()) <= high]
        score = bleu([found[i] for i in here], [references[i] for i in here])
        parts[f"{low} to {high}"] = {"sentences": len(here), "bleu": score}
    return parts


if __name__ == "__main__":
    main(*sys.argv[1:])
