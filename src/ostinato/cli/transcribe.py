"""``ostinato transcribe``: speech to text."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import IO

from ostinato.cli.arguments import Flag, TextFile, for_terminal
from ostinato.config import check_range
from ostinato.ctc import Fusion, HotWords, LabelModel, Labels, Lexicon, WordModel
from ostinato.ctc.search import WIDEST
from ostinato.errors import ConfigError, SoundError
from ostinato.language_model import load as load_language_model
from ostinato.recogniser import Recogniser, Transcript, Word, load
from ostinato.score.arpa import read_arpa
from ostinato.score.recurrent import RecurrentScorer
from ostinato.sound import opened, stream_wav

WEIGHT, BONUS, WORD_BONUS = 0.5, 0.5, 1.0
"""Of a language model, for each character, for each word."""
BLOCK = 0.1
"""Seconds of a stream that are read at once."""


def transcribe(
    model: Path,
    *sounds: TextFile,
    beam: int | None = None,
    lm: Path | None = None,
    hot: list[str] | None = None,
    weight: float | None = None,
    bonus: float | None = None,
    stream: Flag = False,
    json: Flag = False,
) -> None:
    """Transcribe WAV files: a line each, with the file, a tab, and what is said in it.

    A file that cannot be read is reported and does not stop the others; the exit status is then 1. Several channels are
    mixed down to one, another rate than the model's is resampled.

    Parameters
    ----------
    model
        The folder of a model trained with --task transcribe.
    sounds
        WAV files: PCM of 8, 16, 24 or 32 bits, or floats; with --stream also - for standard input.
    beam
        Texts that a search keeps; 1 takes the likeliest character of each step. Default: 1, with --lm or --hot 16.
    lm
        A language model, which knows what is likely to be said: the folder of one of characters or of words, or an ARPA
        file.
    hot
        WORD=NATS: a word that is likely to be said here, and what it adds to a text (3 is much); may be repeated.
    weight
        With --lm: what its log-probability counts. Default: 0.5.
    bonus
        With --lm: what each character or word adds, since a language model favours short texts. Default: 0.5 for
        characters, 1 for words.
    stream
        Read a file as it comes and show each word as soon as it has ended; the model has to read forward only
        (--no-bidirectional), and the rate has to be the model's.
    json
        One JSON object a file: file, text, seconds, logprob (of the path; of the text over all its paths with a beam),
        and words with text, start and end, in seconds, of where its characters are told. With --stream one a word:
        file, text, start, end, and heard, the seconds of sound that were read by then.
    """
    if not sounds:
        raise ConfigError("no sound was given; name one or more WAV files")
    if "-" in sounds and not stream:
        raise ConfigError("standard input is read as it comes: give --stream, or name WAV files")
    if stream and (lm is not None or hot or beam not in (None, 1)):
        raise ConfigError(
            "--stream shows words that stay as they are: it takes no --beam, --lm and --hot; leave them out"
        )
    if lm is None and (weight is not None or bonus is not None):
        raise ConfigError(
            f"--{'bonus' if weight is None else 'weight'} is of a language model; expected --lm beside it"
        )
    check_range("--beam", 1 if beam is None else beam, 1, WIDEST)
    recogniser = load(model)
    fusions = [] if lm is None else [_language(recogniser.labels, lm, WEIGHT if weight is None else weight, bonus)]
    if hot:
        fusions.append(HotWords(_boosts(hot), recogniser.labels))
    failed = False
    for name in sounds:
        try:
            if stream:
                _stream(recogniser, name, json=json)
            else:
                _show(name, recogniser.transcribe(name, beam=beam, fusions=fusions), json=json)
        except SoundError as error:
            failed = True
            print(f"ostinato: {error}", file=sys.stderr)
    if failed:
        sys.exit(1)


def _language(labels: Labels, path: Path, weight: float, bonus: float | None) -> Fusion:
    """A language model: of characters, asked at each of them, or of words or an ARPA file, asked when a word ends."""
    of_words = WORD_BONUS if bonus is None else bonus
    if path.is_file():
        arpa = read_arpa(path)
        return WordModel(arpa, labels, lexicon=Lexicon.unigrams(arpa), weight=weight, bonus=of_words)
    model = load_language_model(path)
    reader, tokenizer = model.forward(), model.tokenizer
    if tokenizer.level == "char":
        try:
            return LabelModel(reader, tokenizer, labels, weight=weight, bonus=BONUS if bonus is None else bonus)
        except ConfigError as error:
            raise ConfigError(f"--lm {path}: {error}") from None
    return WordModel(RecurrentScorer(reader, tokenizer), labels, weight=weight, bonus=of_words)


def _boosts(hot: Sequence[str]) -> dict[str, float]:
    """``WORD=NATS`` to numbers by words."""
    boosts = {}
    for one in hot:
        word, mark, nats = one.rpartition("=")
        if word in boosts:
            raise ConfigError(f"--hot {word} is given twice; expected it once")
        try:
            boosts[word] = float(nats)
        except ValueError:
            mark = ""
        if not (mark and word):
            raise ConfigError(f"--hot is {one!r}; expected WORD=NATS")
    return boosts


def _stream(recogniser: Recogniser, name: str, *, json: bool) -> None:
    """Show words as they end: a JSON object each, or on a line that begins with the file's name."""
    listening, begun = recogniser.listen(), False

    def show(words: Sequence[Word]) -> None:
        nonlocal begun
        for word in words:
            if json:
                heard = round(listening.seconds, 3)
                print(dumps({"file": name, **asdict(word), "heard": heard}, ensure_ascii=False), flush=True)
            else:
                text = for_terminal(word.text) if sys.stdout.isatty() else word.text
                print(f" {text}" if begun else f"{name}\t{text}", end="", flush=True)
            begun = True

    try:
        with _source(name) as file:
            for samples in stream_wav(
                file, recogniser.model.sample_rate, "standard input" if name == "-" else name, BLOCK
            ):
                show(listening.hear(samples))
            show(listening.finish())
            if not (begun or json):
                print(f"{name}\t", end="")
                begun = True
    finally:
        if begun and not json:
            print(flush=True)


@contextmanager
def _source(name: str) -> Iterator[IO[bytes]]:
    """A file, or standard input, which stays open."""
    if name == "-":
        yield sys.stdin.buffer
        return
    with opened(Path(name)) as file:
        yield file


def _show(name: str, found: Transcript, *, json: bool) -> None:
    line = dumps({"file": name, **asdict(found)}, ensure_ascii=False) if json else f"{name}\t{found.text}"
    # What a model makes up must not steer a terminal.
    print(for_terminal(line) if sys.stdout.isatty() else line, flush=True)
