"""Word error rates of a recogniser on strings of digits, greedy and by the beam; how fast it is, and how late.

    python measure.py MODEL DATA [LM]

DATA is what strings.py wrote. LM is a language model of characters, trained on what ``measure.py --numbers FILE``
writes: the digits in random order, every one as likely as any other after any, so it knows how digits are spelled and
not which come next. Its weight and bonus are the best of a few on the held-out strings.

Prints one JSON object. Rates are in percent, with the 95% interval of a bootstrap over recordings, each of which is in
several strings; the real-time factor is of one thread, sound read and spectrum made. Times are how many seconds after
its digit a word begins and ends, in strings that were heard right. Of a model that streams also: how much later than
its digit ends a word is told, and the rate on all test strings end to end, as one stream.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.ctc import Fusion, LabelModel
from ostinato.language_model import load as load_language_model
from ostinato.recogniser import Recogniser, Word, load
from ostinato.score.wer import Errors, confidence_interval, word_errors
from ostinato.sound import read_wav
from ostinato.text.listed import TRANSCRIPTS, read_listed

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WIDTH = 16
WEIGHTS, BONUSES = (0.25, 0.5, 1.0), (0.0, 0.5)
BLOCK = 0.02
"""Seconds of sound that a stream gets at once."""


@dataclass(frozen=True)
class Strings:
    """Sounds of a list, what is said in them, when each digit begins and ends, and which recording it is."""

    sounds: list[np.ndarray[Any, Any]]
    texts: list[str]
    spans: list[list[tuple[float, float]]]
    recordings: list[list[str]]


def read(path: Path, rate: int) -> Strings:
    """The strings of a list that strings.py wrote."""
    lines = read_listed([path], TRANSCRIPTS)
    columns = [[column.split() for column in line.split("\t")[2:4]] for line in path.read_text("utf-8").splitlines()]
    spans = [[(float(start), float(end)) for start, end in (span.split("-") for span in each)] for each, _ in columns]
    sounds = [read_wav(line.file, rate)[0] for line in lines]
    return Strings(sounds, [line.text for line in lines], spans, [recordings for _, recordings in columns])


def hear(model: Recogniser, strings: Strings, beam: int = 1, fusions: Sequence[Fusion] = ()) -> list[str]:
    """What is heard in each string."""
    rate = model.model.sample_rate
    return [model.transcribe(sound, rate, beam=beam, fusions=fusions).text for sound in strings.sounds]


def errors(strings: Strings, heard: Sequence[str]) -> Errors:
    """Of all strings."""
    pairs = zip(strings.texts, heard, strict=True)
    return Errors.total_of(word_errors(text.split(), found.split()) for text, found in pairs)


def by_recording(strings: Strings, heard: Sequence[str]) -> tuple[list[int], list[int]]:
    """The errors that fall on each recording, and how often it is heard."""
    wrong, often = Counter[str](), Counter[str]()
    for text, found, recordings in zip(strings.texts, heard, strings.recordings, strict=True):
        often.update(recordings)
        wrong.update(dict.fromkeys(recordings, 0))
        for recording, count in zip(recordings, blame(text.split(), found.split()), strict=True):
            wrong[recording] += count
    return list(wrong.values()), [often[recording] for recording in wrong]


def blame(reference: Sequence[str], heard: Sequence[str]) -> list[int]:
    """The errors at each word of the reference, as few as can be; what was inserted counts at the word before it."""
    row = [(n,) for n in range(len(heard) + 1)]  # before the first word
    for word in reference:
        above, row = row, [(*row[0], 1)]
        for n, other in enumerate(heard):
            ways = (*above[n], int(word != other)), (*row[n][:-1], row[n][-1] + 1), (*above[n + 1], 1)
            row.append(min(ways, key=sum))
    before, first, *others = row[-1]
    return [before + first, *others]


def summary(strings: Strings, heard: Sequence[str]) -> dict[str, Any]:
    """Rate, interval, and what kinds of errors there are."""
    total = errors(strings, heard)
    low, high = confidence_interval(*by_recording(strings, heard))
    kinds = {"substitutions": total.substitutions, "deletions": total.deletions, "insertions": total.insertions}
    interval = [round(100 * low, 2), round(100 * high, 2)]
    return {"wer": round(100 * total.rate, 2), "interval": interval, "words": total.words, **kinds}


def tuned(model: Recogniser, folder: str, valid: Strings) -> tuple[LabelModel, dict[str, float]]:
    """The language model with the weight and bonus of fewest errors on held-out strings; of as few, the first."""
    lm, found = load_language_model(folder), []
    for weight in WEIGHTS:
        for bonus in BONUSES:
            fusion = LabelModel(lm.engine, lm.tokenizer, model.labels, weight=weight, bonus=bonus)
            count = errors(valid, hear(model, valid, WIDTH, [fusion])).total
            found.append((count, len(found), fusion, {"weight": weight, "bonus": bonus}))
    _, _, fusion, values = min(found, key=lambda each: each[:2])
    return fusion, values


def speed(model: Recogniser, strings: Strings) -> dict[str, float]:
    """Seconds of computing for each second of sound, the median of three rounds and all of them."""
    seconds = sum(map(len, strings.sounds)) / model.model.sample_rate
    rounds = []
    for _ in range(3):
        start = time.process_time()
        hear(model, strings)
        rounds.append((time.process_time() - start) / seconds)
    return {"real_time_factor": round(float(np.median(rounds)), 4), "least": round(min(rounds), 4)}


def times(model: Recogniser, strings: Strings) -> dict[str, Any]:
    """How many seconds after its digit each word begins and ends, in strings that were heard right."""
    starts, ends, rate = [], [], model.model.sample_rate
    for sound, text, spans in zip(strings.sounds, strings.texts, strings.spans, strict=True):
        found = model.transcribe(sound, rate)
        if found.text == text:
            starts += [word.start - start for word, (start, _) in zip(found.words, spans, strict=True)]
            ends += [word.end - end for word, (_, end) in zip(found.words, spans, strict=True)]
    return {"start": _spread(starts), "end": _spread(ends)}


def lateness(model: Recogniser, strings: Strings) -> dict[str, Any]:
    """How many seconds after its digit ends a word is told, in strings that were heard right.

    Of last words nothing: they are told when the sound has ended.
    """
    told = []
    for sound, text, spans in zip(strings.sounds, strings.texts, strings.spans, strict=True):
        words, when = stream(model, sound)
        if [word.text for word in words] == text.split():
            told += [each - end for each, (_, end) in zip(when[:-1], spans, strict=False)]
    return _spread(told)


def stream(model: Recogniser, sound: np.ndarray[Any, Any]) -> tuple[list[Word], list[float]]:
    """The words of a sound that comes in small blocks, and how many seconds of it had come when each was told."""
    size, listening = int(BLOCK * model.model.sample_rate), model.listen()
    words: list[Word] = []
    when: list[float] = []
    for at in range(0, len(sound), size):
        words += listening.hear(sound[at : at + size])
        when += [listening.seconds] * (len(words) - len(when))
    words += listening.finish()
    return words, when + [listening.seconds] * (len(words) - len(when))


def end_to_end(model: Recogniser, strings: Strings) -> dict[str, Any]:
    """Errors where all strings are one stream, and how long it is."""
    sound = np.concatenate(strings.sounds)
    heard = [word.text for word in stream(model, sound)[0]]
    rate = word_errors(" ".join(strings.texts).split(), heard).rate
    return {"wer": round(100 * rate, 2), "seconds": round(len(sound) / model.model.sample_rate)}


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.quantile(seconds, [0.1, 0.5, 0.9]).round(3).tolist()
    return {"words": len(seconds), "10%": low, "median": middle, "90%": high}


def main(folder: str, data: str, lm: str | None = None) -> None:
    """Measure everything."""
    model = load(folder)
    rate = model.model.sample_rate
    parts = {name: read(Path(data) / f"{name}.tsv", rate) for name in ("valid", "test", "noisy")}
    report: dict[str, Any] = {"model": model.model.describe(), "parameters": model.training["parameters"]}
    report |= {name: model.training[name] for name in ("steps", "epochs", "cpu_seconds", "seed", "threads")}

    def measured(*search: Any) -> dict[str, Any]:
        return {name: summary(parts[name], hear(model, parts[name], *search)) for name in ("test", "noisy")}

    report |= {"greedy": measured(), "beam": measured(WIDTH)}
    if lm is not None:
        fusion, values = tuned(model, lm, parts["valid"])
        report["beam and language model"] = {**values, **measured(WIDTH, [fusion])}
    report["times"] = times(model, parts["test"])
    report["speed"] = speed(model, parts["test"])
    if model.model.streams:
        report["told"] = lateness(model, parts["test"])
        report["end to end"] = {name: end_to_end(model, parts[name]) for name in ("test", "noisy")}
    print(json.dumps(report, indent=1))


def write_numbers(path: str) -> None:
    """Strings of 1 to 7 digits, a line each."""
    rng = np.random.default_rng(5)
    lines = [" ".join(rng.choice(WORDS, int(rng.integers(1, 8)))) for _ in range(4000)]
    Path(path).write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--numbers":
        write_numbers(sys.argv[2])
    else:
        main(*sys.argv[1:])
