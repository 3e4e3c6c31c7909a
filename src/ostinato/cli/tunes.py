"""What ``ostinato sample --abc`` does: tunes in ABC from a language model, and their sound."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path

from ostinato import music
from ostinato.errors import ConfigError, MusicError, OstinatoError
from ostinato.files import check_place, write_whole
from ostinato.language_model import LanguageModel, Writing
from ostinato.text.abc import Tune, bars, notes, numbered, split_tunes
from ostinato.tunes import compose


def write_tunes(
    lm: LanguageModel,
    path: Path,
    prompt: str,
    count: int,
    tokens: int,
    redraw: int,
    options: Writing,
    *,
    sound: bool,
    json: bool,
) -> None:
    """Write ``count`` tunes into ``path``, with ``sound`` into .mid and .wav beside it, and say what each is.

    What is no tune is reported and left out; the exit status is then 1. Raises ConfigError on another ending than .abc,
    MusicError when there is no tune in the end or the file cannot be written.
    """
    if path.suffix.lower() != ".abc":
        raise ConfigError(f"{path} ends in {path.suffix or 'nothing'!r}; expected .abc")
    with _named(path):
        check_place(path)
    tunes, failed = [], False
    for index in range(count):
        options["index"] = index
        try:
            tune, ended = _compose(lm, prompt, tokens, redraw, options)
        except MusicError as error:
            failed = True
            print(f"ostinato: sample {index}: {error}", file=sys.stderr)
            continue
        tunes.append(tune)
        _tell(tune, len(tunes), index, ended, options, json=json)
    if not tunes:
        raise MusicError(
            f"no tune was written, so {path} was not; train the model on tunes, or give a header as --prompt"
        )
    with _named(path):
        write_whole(path, numbered([tune.text for tune in tunes]))
    failed |= sound and not _play(path, tunes)
    if failed:
        sys.exit(1)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raises MusicError in place of OSError."""
    try:
        yield
    except OSError as error:
        raise MusicError(f"{path} cannot be written: {error.strerror}; give another --abc") from None


def _compose(lm: LanguageModel, prompt: str, tokens: int, redraw: int, options: Writing) -> tuple[Tune, bool]:
    """A tune, and whether the model ended it. Raises MusicError when it is none."""
    composed = compose(lm, prompt.replace("\\n", "\n"), tokens=tokens, redraw=redraw, options=options)
    found = split_tunes(composed.text)
    if len(found) != 1 or not notes(found[0]):
        raise MusicError(f"the model wrote no tune: {composed.text[:60]!r}; expected lines X: and K:, and notes")
    return found[0], composed.ended


def _tell(tune: Tune, number: int, index: int, ended: bool, options: Writing, *, json: bool) -> None:
    found = bars(tune)
    fit = sum(bar.fits for bar in found)
    if json:
        about = {
            "seed": options["seed"],
            "index": index,
            "tune": tune.text,
            "bars": len(found),
            "fit": fit,
            "ended": ended,
        }
        print(dumps(about, ensure_ascii=False), flush=True)
    else:
        cut = "" if ended else "; cut: give more --tokens"
        header = tune.header
        about_it = ", ".join(header[letter] for letter in "RMK" if letter in header)
        print(f"tune {number}: {about_it}; {len(found)} bars, {fit} as long as the metre says{cut}", flush=True)


def _play(path: Path, tunes: list[Tune]) -> bool:
    """Write .mid and .wav beside ``path``, those of several tunes numbered; whether all of it could be done."""
    player, complete = None, True
    try:
        player = music.find_player()
    except OstinatoError as error:
        complete = False
        print(f"ostinato: no .wav: {error}", file=sys.stderr)
    for number, tune in enumerate(tunes, start=1):
        stem = path.stem if len(tunes) == 1 else f"{path.stem}-{number}"
        midi = path.with_name(f"{stem}.mid")
        try:
            music.write_tune_midi(midi, tune.text)
            if player is not None:
                music.write_wav(path.with_name(f"{stem}.wav"), midi, player)
        except MusicError as error:
            complete = False
            print(f"ostinato: {error}", file=sys.stderr)
        except OstinatoError as error:  # what is missing for one is missing for all
            print(f"ostinato: {error}", file=sys.stderr)
            return False
    return complete
