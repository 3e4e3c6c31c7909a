"""One utterance of LibriSpeech: the words that decoding finds, without a language model and with several.

    python recipes/ctc_librispeech/measure.py DATA OUT

DATA holds ``ctc_logits/``, OUT the models of run.sh: ``char``, ``word`` and ``words.arpa``. Prints one JSON object and
writes it to OUT/measured.json.

The utterance is clear, so all is found without any help. What a language model is worth shows on the same frames with
noise on their scores: weights are chosen on other draws of it than those that are reported.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ostinato
from ostinato import ctc
from ostinato.kernels import native
from ostinato.score.arpa import read_arpa
from ostinato.score.recurrent import RecurrentScorer

LABELS = ctc.Labels(" abcdefghijklmnopqrstuvwxyz'_", blank=28)
NOISE = 3.5
"""Standard deviation of what is added to the scores, which are nats."""
CHOOSE, REPORT = range(100, 103), range(10)
"""Seeds of the draws to choose weights by, and of those that are reported."""
WIDTH = 100
GRID = {"weight": (0.3, 0.6), "bonus": (0.5, 1.5)}

Make = Callable[..., Sequence[ctc.Fusion]]


def main(data: Path, out: Path) -> None:
    """Measure, print and write."""
    frames, reference = utterance(data / "ctc_logits")
    found: dict[str, Any] = {"frames": len(frames), "words": len(reference.split()), "noise": NOISE}
    found["clear"] = {"greedy": clear(lambda: ctc.greedy(frames, LABELS), reference, len(frames))}
    for width in (1, 10, WIDTH):
        found["clear"][f"beam {width}"] = clear(lambda width=width: best(frames, width=width), reference, len(frames))
    if native.available():
        found["clear"]["beam 100, numpy"] = clear(lambda: by_numpy(frames), reference, len(frames))
    noisy = {
        seed: frames + NOISE * np.random.default_rng(seed).normal(size=frames.shape) for seed in (*CHOOSE, *REPORT)
    }
    found["with noise"] = {
        "greedy": spread([errors(ctc.greedy(noisy[seed], LABELS).text, reference) for seed in REPORT]),
        "beam 100": spread([errors(best(noisy[seed]).text, reference) for seed in REPORT]),
    }
    for name, make in models(out):
        settings = choose(make, noisy, reference)
        fusions = make(**settings)
        row = clear(lambda fusions=fusions: best(frames, fusions=fusions), reference, len(frames))
        found["clear"][f"beam {WIDTH}, {name}"] = row
        rates = [errors(best(noisy[seed], fusions=fusions).text, reference) for seed in REPORT]
        found["with noise"][f"beam {WIDTH}, {name}"] = {**spread(rates), **settings}
        print(name, row, found["with noise"][f"beam {WIDTH}, {name}"], file=sys.stderr, flush=True)
    text = json.dumps(found, indent=1)
    print(text)
    (out / "measured.json").write_text(text + "\n", "utf-8")


def utterance(folder: Path) -> tuple[np.ndarray, str]:
    """The frames, and the text that SOURCE.txt says is in them."""
    said = re.search(r'Expected text[^"]*"([a-z\' ]+)"', (folder / "SOURCE.txt").read_text("utf-8"))
    if said is None:
        raise SystemExit(f"{folder / 'SOURCE.txt'} does not say what was said")
    return np.array(json.loads((folder / "libri_logits.json").read_text("utf-8")), np.float64), said.group(1)


def models(out: Path) -> Iterator[tuple[str, Make]]:
    """Each by its name, and what makes fusions of it."""
    char, word, arpa = ostinato.load(out / "char"), ostinato.load(out / "word"), read_arpa(out / "words.arpa")
    lexicon = ctc.Lexicon.unigrams(arpa)
    spelled, whole = (RecurrentScorer(lm.engine, lm.tokenizer) for lm in (char, word))
    yield "characters", lambda **how: [ctc.LabelModel(char.engine, char.tokenizer, LABELS, **how)]
    yield "3-gram of words", lambda **how: [ctc.WordModel(arpa, LABELS, lexicon=lexicon, **how)]
    yield "3-gram of words, no lexicon", lambda **how: [ctc.WordModel(arpa, LABELS, **how)]
    yield "words", lambda **how: [ctc.WordModel(whole, LABELS, lexicon=lexicon, **how)]
    yield "characters, at word ends", lambda **how: [ctc.WordModel(spelled, LABELS, lexicon=lexicon, **how)]


def choose(make: Make, noisy: dict[int, np.ndarray], reference: str) -> dict[str, float]:
    """The weight and bonus with the fewest errors."""
    tried = {}
    for weight in GRID["weight"]:
        for bonus in GRID["bonus"]:
            fusions = make(weight=weight, bonus=bonus)
            tried[weight, bonus] = sum(errors(best(noisy[seed], fusions=fusions).text, reference) for seed in CHOOSE)
    weight, bonus = min(tried, key=lambda pair: tried[pair])
    return {"weight": weight, "bonus": bonus}


def best(frames: np.ndarray, **options: Any) -> ctc.Hypothesis:
    """The best text."""
    return ctc.decode(frames, LABELS, **{"width": WIDTH, **options})[0]


def by_numpy(frames: np.ndarray) -> ctc.Hypothesis:
    """The best text, by the definition."""
    available, native.available = native.available, lambda: False
    try:
        return best(frames)
    finally:
        native.available = available


def clear(run: Callable[[], ctc.Hypothesis], reference: str, frames: int) -> dict[str, Any]:
    """Word error rate, and frames in a second of one core, the median of three runs."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        found = run()
        seconds.append(time.process_time() - start)
    return {"wer": errors(found.text, reference), "frames_per_second": round(frames / statistics.median(seconds))}


def spread(rates: list[float]) -> dict[str, float]:
    """Mean and standard deviation over the draws."""
    return {"wer": round(statistics.mean(rates), 4), "spread": round(statistics.stdev(rates), 4)}


def errors(text: str, reference: str) -> float:
    """Word error rate: words to insert, delete or replace, over those of the reference."""
    said, heard = reference.split(), text.split()
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        above, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
    return row[-1] / len(said)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
