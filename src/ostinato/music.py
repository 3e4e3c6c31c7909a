"""Files of music to piano rolls and back, tunes to sound: JSON by itself, MIDI by symusic, which only this module
imports, when needed; sound by fluidsynth, a program of its own.

A file is data: its size is looked at before it is read, and the length that it promises before memory is taken.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ostinato.config import did_you_mean
from ostinato.data.rolls import KEYS, LOWEST, Roll, key_of, to_roll, to_steps
from ostinato.errors import MusicError, OstinatoError
from ostinato.files import whole, write_whole

PARTS = ("train", "valid", "test")
MIDI = (".mid", ".midi")
MOST_BYTES = 1 << 28
"""Of a file."""
MOST_STEPS = 1 << 20
"""Of a piece: over a hundred hours of sixteenth notes, 88 MB."""
_TICKS = 480  # of a quarter note, in what is written
_VELOCITY = 80


@dataclass(frozen=True)
class Piece:
    """A piece of music as read."""

    roll: Roll
    place: str
    """File, part and number, for messages."""


def read_parts(paths: Sequence[str | Path], beats: float) -> dict[str, list[Piece]]:
    """Pieces by the part that they are for, one of PARTS; under ``""`` those whose files do not say.

    A path is a JSON file, of pieces or of parts with pieces, a MIDI file, or a folder that is searched for MIDI files.
    A piece is a list of steps, a step a list of MIDI pitches; of MIDI a step is ``beats`` quarter notes. Raises
    MusicError.
    """
    parts: dict[str, list[Piece]] = {}
    for path in files_in(paths):
        found = {"": [_read_midi(path, beats)]} if path.suffix.lower() in MIDI else _read_json(path)
        for part, pieces in found.items():
            parts.setdefault(part, []).extend(pieces)
    return parts


def read_pieces(path: str | Path, beats: float) -> list[Piece]:
    """All pieces of a file, whatever part they are for. Raises MusicError."""
    return [piece for pieces in read_parts([path], beats).values() for piece in pieces]


def files_in(paths: Sequence[str | Path]) -> Iterator[Path]:
    """The paths, in place of a folder the MIDI files in it. Raises MusicError on a folder without."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        inside = [each for each in sorted(path.rglob("*")) if each.suffix.lower() in MIDI and each.is_file()]
        if not inside:
            raise MusicError(f"{path} holds no MIDI file; expected some that end in .mid or .midi")
        yield from inside


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise MusicError(
                    f"{path} has {size:,} bytes; expected {MOST_BYTES:,} at most; cut it into several files"
                )
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        near = [str(entry) for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []
        raise MusicError(f"no such file of music: {path}{did_you_mean(str(path), near)}") from None
    except OSError as error:
        raise MusicError(f"{path} cannot be read: {error.strerror}; expected JSON or MIDI") from None


# JSON


def _read_json(path: Path) -> dict[str, list[Piece]]:
    data = _read(path)
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        raise MusicError(
            f"{path}, line {error.lineno}, is no JSON ({error.msg}); expected pieces as JSON, or MIDI that ends in .mid"
        ) from None
    except (ValueError, RecursionError):  # no UTF-8; a number of thousands of digits; thousands of brackets
        raise MusicError(f"{path} is no JSON; expected pieces as JSON, or MIDI that ends in .mid or .midi") from None
    if isinstance(content, list):
        return {"": _pieces(content, f"{path},")}
    if not isinstance(content, dict) or not content:
        raise MusicError(
            f"{path} holds {str(content)[:40]!r}; expected a list of pieces, or {', '.join(PARTS)} with such"
        )
    for part in content:
        if part not in PARTS:
            hint = did_you_mean(part, PARTS)
            raise MusicError(f"{path} has a part {part!r}; expected {', '.join(PARTS)}{hint}")
    return {part: _pieces(pieces, f"{path}, {part}") for part, pieces in content.items()}


def _pieces(pieces: Any, where: str) -> list[Piece]:
    if not isinstance(pieces, list):
        raise MusicError(f"{where} is {str(pieces)[:40]!r}; expected a list of pieces, each a list of steps")
    return [_piece(steps, f"{where} piece {number}") for number, steps in enumerate(pieces, start=1)]


def _piece(steps: Any, place: str) -> Piece:
    if not isinstance(steps, list):
        raise MusicError(f"{place} is {str(steps)[:40]!r}; expected a list of steps, each a list of MIDI pitches")
    if not steps:
        raise MusicError(f"{place} is empty; expected a step or more; leave it out")
    _check_steps(len(steps), place)
    return Piece(to_roll(steps, place), place)


def _check_steps(steps: float, place: str) -> None:
    if steps > MOST_STEPS:
        raise MusicError(
            f"{place} has {steps:,.0f} steps; expected {MOST_STEPS:,} at most; cut it, or give longer --beats"
        )


# MIDI


def _read_midi(path: Path, beats: float) -> Piece:
    """A MIDI file, all tracks but drums together. A note sounds from the step nearest to its beginning to the one
    nearest to its end, in one step at least; halfway between two, the later one is nearest."""
    symusic, data = _symusic(), _read(path)
    _check_tracks(data, str(path))
    try:
        score = symusic.Score.from_midi(data)
    except (RuntimeError, ValueError, MemoryError, UnicodeDecodeError) as error:
        raise MusicError(f"{path} is a damaged MIDI file: {_line(error)}; get it again") from None
    notes = [
        (note.start, note.end, note.pitch, track) for track in score.tracks if not track.is_drum for note in track.notes
    ]
    if not notes:
        raise MusicError(f"{path} is empty: it has no notes, drums left aside; leave it out")
    step = max(1, score.ticks_per_quarter) * beats
    _check_steps(max(end for _, end, _, _ in notes) / step, str(path))
    rounded = [(math.floor(start / step + 0.5), math.floor(end / step + 0.5)) for start, end, _, _ in notes]
    spans = [(first, max(first + 1, last)) for first, last in rounded]
    roll = np.zeros((max(end for _, end in spans), KEYS), bool)
    for (first, last), (start, _, pitch, track) in zip(spans, notes, strict=True):
        name = f", track {track.name!r}" if track.name else ""
        roll[first:last, key_of(pitch, f"{path}{name}, quarter {start / score.ticks_per_quarter:g},")] = True
    return Piece(roll, str(path))


def _check_tracks(data: bytes, path: str) -> None:
    """Raises MusicError when there are fewer whole tracks than the header promises: symusic may read what is left."""
    if data[:4] != b"MThd":
        raise MusicError(f"{path} is no MIDI file (it begins with {data[:4]!r}); expected MThd; convert it")
    promised, there, at = int.from_bytes(data[10:12], "big"), 0, 0
    while at + 8 <= len(data):
        kind, end = data[at : at + 4], at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        there += kind == b"MTrk" and end <= len(data)
        at = end
    if len(data) < 14 or there < promised:
        raise MusicError(f"{path} is cut: of the {promised:,} tracks in its header {there:,} are whole; get it again")


def write_midi(path: str | Path, voices: Sequence[Roll], beats: float, bpm: float = 90.0) -> None:
    """Write rolls ``(T, KEYS)``, a track for each, as MIDI; a key that goes on sounding is one long note.

    Raises MusicError when the file cannot be written, OstinatoError without symusic.
    """
    symusic = _symusic()
    score = symusic.Score(_TICKS)
    score.tempos.append(symusic.Tempo(0, qpm=bpm))
    step = max(1, round(_TICKS * beats))
    for roll in voices:
        track = symusic.Track(name="", program=0, is_drum=False)
        for start, end, key in _notes(roll):
            track.notes.append(symusic.Note(start * step, (end - start) * step, key + LOWEST, _VELOCITY))
        score.tracks.append(track)
    _write(Path(path), score.dumps_midi())


def _notes(roll: Roll) -> list[tuple[int, int, int]]:
    """First step, step after the last, and key of every note, in the order in which they begin."""
    silent = np.zeros((1, KEYS), bool)
    changes = np.diff(np.concatenate([silent, roll, silent]).astype(np.int8), axis=0)
    starts, ends = np.argwhere(changes.T == 1), np.argwhere(changes.T == -1)
    found = [(int(t), int(u), int(key)) for (key, t), (_, u) in zip(starts, ends, strict=True)]
    return sorted(found)


def write_json(path: str | Path, rolls: Sequence[Roll]) -> None:
    """Write pieces as JSON that ``read_pieces`` reads. Raises MusicError when the file cannot be written."""
    _write(Path(path), (json.dumps([to_steps(roll) for roll in rolls]) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise MusicError(f"{path} cannot be written: {error.strerror}; give another -o") from None


def _symusic() -> Any:
    try:
        import symusic
    except ImportError:
        raise OstinatoError('MIDI needs symusic, which is not here: pip install "ostinato[music]"') from None
    return symusic


def _line(error: Exception) -> str:
    """What an error says, in a line."""
    return " ".join(str(error).split()) or type(error).__name__


# Tunes in ABC


def write_tune_midi(path: str | Path, tune: str) -> None:
    """Write a tune in ABC as MIDI, repeats played and chords accompanied, by the abc2midi that symusic brings along.

    Raises MusicError when it is no tune or the file cannot be written, OstinatoError without symusic.
    """
    symusic = _symusic()
    try:
        with _quiet():
            score = symusic.Score.from_abc(tune)
    except (RuntimeError, ValueError) as error:
        raise MusicError(f"no MIDI of {tune[:40]!r}: {_line(error)}; expected a tune in ABC") from None
    _write(Path(path), score.dumps_midi())


_STREAMS = Lock()
"""Whoever turns the standard streams away: a second one meanwhile would take nowhere for where they led."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a library writes past Python to the standard streams: abc2midi remarks on every odd bar."""
    with _STREAMS:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(stream) for stream in (1, 2)]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for stream in (1, 2):
                os.dup2(nowhere, stream)
            yield
        finally:
            for stream, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, stream)
                os.close(copy)
            os.close(nowhere)


SOUNDFONTS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
"""Where instruments are looked for."""
_RENDER_SECONDS = 300.0


def find_player() -> tuple[str, str]:
    """fluidsynth and instruments for it. Raises OstinatoError, saying what to install, when one is not there."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise OstinatoError("sound needs fluidsynth, which is not here; install it (Debian: apt install fluidsynth)")
    for folder in map(Path, SOUNDFONTS):
        fonts = sorted(folder.glob("*.sf[23]")) if folder.is_dir() else []
        if fonts:
            return program, str(fonts[-1])
    raise OstinatoError(
        f"fluidsynth needs a soundfont, none is in {', '.join(SOUNDFONTS)}; install one (Debian: apt install "
        "timgm6mb-soundfont)"
    )


def write_wav(path: str | Path, midi: str | Path, player: tuple[str, str]) -> None:
    """Let ``player`` (see ``find_player``) play a MIDI file into a WAV file.

    Raises OstinatoError when it fails; then nothing is written.
    """
    program, font = player
    options = ["-n", "-i", "-q", "-r", "44100", "-T", "wav", "-F"]
    try:
        with whole(Path(path).absolute()) as part:
            command = [program, *options, str(part), font, str(Path(midi).absolute())]
            subprocess.run(command, check=True, capture_output=True, timeout=_RENDER_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise OstinatoError(f"{path}: fluidsynth could not play {midi}: {_line(error)}") from None
