"""``ostinato compose``: pieces of music, or the voices below a melody."""

from __future__ import annotations

import secrets
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from ostinato import music
from ostinato.cli.arguments import Flag
from ostinato.composer import Composer, Steps, load
from ostinato.config import check_range
from ostinato.data.rolls import KEYS, Roll, melody_of, to_roll, to_steps
from ostinato.errors import ConfigError, MusicError
from ostinato.files import check_place

Files = Annotated[list[Path] | None, Parameter(consume_multiple=True, negative=())]


def compose(
    model: Path,
    *,
    out: Annotated[Path, Parameter(alias="-o")] = Path("piece.mid"),
    harmonise: Files = None,
    steps: int = 64,
    count: int = 1,
    temperature: float = 1.0,
    seed: int | None = None,
    prompt: Path | None = None,
    bpm: float = 90.0,
    json: Flag = False,
) -> None:
    """Compose pieces, or harmonise melodies, into MIDI files; says of each its file, steps and nats per step.

    A melody that cannot be read is reported and does not stop the others; the exit status is then 1.

    Parameters
    ----------
    model
        The folder of a model trained with --task music.
    out
        The file to write: .mid, or .json for lists of MIDI pitches. Several pieces are numbered: piece-1.mid, ...
    harmonise
        Files whose melody, the highest key of each step, gets the keys below it: MIDI, or JSON with pieces. For a model
        trained with --melody past or whole.
    steps
        How many steps to compose; a melody has its own.
    count
        How many pieces, or how many ways to harmonise each melody.
    temperature
        Less than 1 keeps to what is likely, more is more surprising; 0 lets a key sound where that is likelier.
    seed
        The same seed composes the same pieces.
    prompt
        A file with one piece to go on from; it stands at the beginning of what is written, and counts as part of it.
    bpm
        Quarter notes a minute.
    json
        One JSON object a piece on standard output: file, steps, notes, nats_per_step, seed, index, melody.
    """
    check_range("count", count, 1, 1 << 20)
    check_range("bpm", bpm, 4.0, 1000.0)
    if out.suffix.lower() not in (*music.MIDI, ".json"):
        raise ConfigError(f"{out} ends in {out.suffix or 'nothing'!r}; expected .mid for MIDI, or .json")
    if harmonise is not None and prompt is not None:
        raise ConfigError("--prompt begins a piece, --harmonise brings its own; leave one of them out")
    if harmonise == []:
        raise ConfigError("--harmonise names no file; expected one or more melodies behind it")
    check_place(out, [*(harmonise or []), *([prompt] if prompt else [])])
    composer = load(model)
    seed = secrets.randbits(32) if seed is None else seed
    melodies, failed = _melodies(composer, harmonise or [])
    if harmonise and not melodies and not failed:
        raise MusicError("no melody is in those files, so nothing was composed; expected MIDI, or JSON with pieces")
    number, several = 0, count * max(1, len(melodies)) > 1
    for melody, place in melodies if harmonise is not None else [(None, None)]:
        for index in range(count):
            number += 1
            how: dict[str, Any] = {"temperature": temperature, "seed": seed, "index": index}
            if melody is None:
                piece = _begun(composer, prompt) + composer.compose(steps, prompt=prompt, **how)
            else:
                piece = composer.harmonise(to_steps(melody), **how)
            path = out.with_name(f"{out.stem}-{number}{out.suffix}") if several else out
            _write(path, composer, piece, bpm)
            _tell(path, composer, piece, {"seed": seed, "index": index, "melody": place}, json=json)
    if failed:
        sys.exit(1)


def _melodies(composer: Composer, names: list[Path]) -> tuple[list[tuple[Roll, str]], bool]:
    """The pieces of files and folders, each with where it is from, and whether a file could not be read: it is
    reported, and the others are not lost."""
    found, failed = [], False
    for name in names:
        try:
            files = list(music.files_in([name]))
        except MusicError as error:
            files, failed = [], True
            print(f"ostinato: {error}", file=sys.stderr)
        for file in files:
            try:
                found += [(piece.roll, piece.place) for piece in music.read_pieces(file, composer.model.beats)]
            except MusicError as error:
                failed = True
                print(f"ostinato: {error}", file=sys.stderr)
    return found, failed


def _begun(composer: Composer, prompt: Path | None) -> Steps:
    return [] if prompt is None else to_steps(composer.roll(prompt))


def _write(path: Path, composer: Composer, piece: Steps, bpm: float) -> None:
    roll = to_roll(piece, "the piece")
    if path.suffix.lower() == ".json":
        music.write_json(path, [roll])
        return
    voices = [roll]
    if composer.model.melody != "none":
        top = melody_of(roll)
        melody = (np.arange(KEYS) == top[:, None]) & roll
        voices = [melody, roll & ~melody]
    music.write_midi(path, voices, composer.model.beats, bpm)


def _tell(path: Path, composer: Composer, piece: Steps, about: dict[str, Any], *, json: bool) -> None:
    nats, notes = composer.score(piece), sum(map(len, piece))
    if json:
        record = {"file": str(path), "steps": len(piece), "notes": notes, "nats_per_step": nats, **about}
        print(dumps(record, ensure_ascii=False), flush=True)
    else:
        below = "" if composer.model.melody == "none" else " below the melody"
        print(f"{path}\t{len(piece)} steps\t{notes} keys\t{nats:.3f} nats per step{below}", flush=True)
