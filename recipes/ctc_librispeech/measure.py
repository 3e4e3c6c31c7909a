"""One utterance of LibriSpeech: the words that decoding finds, without a language model and with several.

    python recipes/ctc_librispeech/measure.py DATA OUT

DATA holds ``ctc_logits/``, OUT the models of run.sh, ``char`` and ``word``, and their text. Prints one JSON
object and writes it to OUT/measured.json, row by row.

The utterance is clear, so all is found without any help. What a language model is worth shows on the same frames with
noise on their scores, drawn anew by each seed. Weights are those that decoding has by default: none was chosen here.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ostinato
from ostinato import ctc
from ostinato.kernels import native
from ostinato.score.recurrent import RecurrentScorer
from ostinato.score.wer import word_errors

LABELS = ctc.Labels(" abcdefghijklmnopqrstuvwxyz'_", blank=28)
NOISE = 3.5
"""Standard deviation of what is added to the scores, which are nats."""
SEEDS = range(5)
"""Of the draws of noise."""
WIDTH = 100


Run = Callable[[np.ndarray], ctc.Hypothesis]


def main(data: Path, out: Path) -> None:
    """Measure, print and write."""
    frames, reference = utterance(data / "ctc_logits")
    noisy = [frames + NOISE * np.random.default_rng(seed).normal(size=frames.shape) for seed in SEEDS]
    found: dict[str, Any] = {"frames": len(frames), "words": len(reference.split())}
    found |= {"noise": NOISE, "seeds": len(SEEDS)}
    for name, run in ways(out):
        rates = [word_errors(reference.split(), run(each).text.split()).rate for each in noisy]
        text, speed = timed(lambda run=run: run(frames))
        found[name] = {
            "wer": word_errors(reference.split(), text.split()).rate,
            "frames_per_second": round(len(frames) * speed),
            "wer_with_noise": round(statistics.mean(rates), 4),
            "spread": round(statistics.stdev(rates), 4),
        }
        (out / "measured.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


def ways(out: Path) -> Iterator[tuple[str, Run]]:
    """To decode frames."""
    yield "greedy", lambda frames: ctc.greedy(frames, LABELS)
    for width in (1, 10, WIDTH):
        yield f"beam {width}", lambda frames, width=width: ctc.decode(frames, LABELS, width=width)[0]
    yield f"beam {WIDTH}, numpy", by_numpy
    char, word = (ostinato.load(out / name) for name in ("char", "word"))
    lexicon = ctc.Lexicon.count((out / "train.txt").read_text("utf-8").split())
    spelled, whole = (RecurrentScorer(lm.engine, lm.tokenizer) for lm in (char, word))
    models = {
        "characters": ctc.LabelModel(char.engine, char.tokenizer, LABELS),
        "words": ctc.WordModel(whole, LABELS, lexicon=lexicon),
        "characters, at word ends": ctc.WordModel(spelled, LABELS, lexicon=lexicon),
        "words, no lexicon": ctc.WordModel(whole, LABELS),
    }
    for name, model in models.items():
        yield f"beam {WIDTH}, {name}", lambda frames, model=model: ctc.decode(frames, LABELS, fusions=[model])[0]


def utterance(folder: Path) -> tuple[np.ndarray, str]:
    """The frames, and the text that SOURCE.txt says is in them."""
    said = re.search(r'Expected text[^"]*"([a-z\' ]+)"', (folder / "SOURCE.txt").read_text("utf-8"))
    if said is None:
        raise SystemExit(f"{folder / 'SOURCE.txt'} does not say what was said")
    return np.array(json.loads((folder / "libri_logits.json").read_text("utf-8")), np.float64), said.group(1)


def by_numpy(frames: np.ndarray) -> ctc.Hypothesis:
    """The best text, by the definition instead of the core."""
    available, native.available = native.available, lambda: False
    try:
        return ctc.decode(frames, LABELS, width=WIDTH)[0]
    finally:
        native.available = available


def timed(run: Callable[[], ctc.Hypothesis]) -> tuple[str, float]:
    """The text, and how often a second of one core finds it: the median of three runs, in CPU time."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        found = run()
        seconds.append(time.process_time() - start)
    return found.text, 1 / statistics.median(seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
