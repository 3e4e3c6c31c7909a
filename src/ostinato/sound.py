"""WAV files to samples, with checks of our own: a file is data that may say anything of itself.

Read are PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, of up to CHANNELS channels, which are mixed down to
their mean. What a header promises is held against what is there before memory is taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ostinato.config import did_you_mean
from ostinato.data.sounds import resample
from ostinato.errors import SoundError
from ostinato.types import Floats

CHANNELS = 64
RATES = (1_000, 768_000)
MOST_BYTES = 0x7FFF0000
"""Of the sound in a file: beyond are hours. A header that promises as much does not know: a program that pipes a sound
it has not ended says 0 bytes, or as many as fit (SoX 0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF)."""
LOUDEST = 16.0
"""Of samples as floats: 24 dB beyond full scale are no sound, but another scale."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_TAIL = bytes.fromhex("0000 0000 1000 8000 00AA 0038 9B71")  # of what an extensible format names PCM and floats by
_HEADER = 1 << 20  # bytes before the sound that are skipped at most
_BLOCK = 1 << 16  # sample frames converted at once


@dataclass(frozen=True)
class Format:
    """How samples lie in a file."""

    rate: int
    channels: int
    bits: int
    floating: bool

    @property
    def width(self) -> int:
        """Bytes of a sample of all channels."""
        return self.channels * self.bits // 8

    def decode(self, data: bytes) -> Floats:
        """The mean of the channels ``(n,)``, of which 1 is full scale."""
        mean: Floats = _scaled(data, self).reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
        return mean


def _scaled(data: bytes, form: Format) -> Floats:
    if form.floating:
        with np.errstate(over="ignore"):  # what comes of it is refused
            return np.frombuffer(data, f"<f{form.bits // 8}").astype(np.float32)
    if form.bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128.0)) / np.float32(128.0)
    if form.bits == 24:
        wide: NDArray[np.uint8] = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2.0**31)
    whole = np.frombuffer(data, f"<i{form.bits // 8}").astype(np.float32)
    return whole / np.float32(2.0 ** (form.bits - 1))


def read_wav(path: str | Path, rate: int | None = None) -> tuple[Floats, int]:
    """The samples ``(n,)`` of a WAV file, of one channel, and their rate; with ``rate`` they are brought to that.

    Raises SoundError when it is missing, no WAV, cut, empty, of a kind that is not read, or holds numbers that are not
    finite.
    """
    with opened(Path(path)) as file:
        form, promised = _header(file, str(path))
        there = os.fstat(file.fileno()).st_size - file.tell() if file.seekable() else 0
        if promised is not None and file.seekable() and there < promised:
            raise SoundError(
                f"{path} is cut: its header promises {promised:,} bytes of sound, {max(0, there):,} are there; "
                "get it again"
            )
        blocks: list[Floats] = []
        read = 0  # a pipe does not say how much there is
        for block in _blocks(file, form, promised, str(path), _BLOCK):
            read += len(block) * form.width
            if max(read, there) > MOST_BYTES:
                raise SoundError(f"{path} has more than {MOST_BYTES:,} bytes of sound; cut it into pieces")
            blocks.append(block)
    samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    if len(samples) == 0:
        raise SoundError(f"{path} holds no sound: not one sample; record it again")
    return (samples, form.rate) if rate is None else (resample(samples, form.rate, rate), rate)


def stream_wav(file: IO[bytes], rate: int, name: str, seconds: float) -> Iterator[Floats]:
    """The samples of a WAV file as they come, about so many seconds at once; it need not have ended yet.

    Raises SoundError as ``read_wav``, and when its rate is not ``rate``: what streams is not resampled.
    """
    form, promised = _header(file, name)
    if form.rate != rate:
        raise SoundError(
            f"{name} has {form.rate:,} samples a second, the model reads {rate:,}; record it so, or transcribe the "
            "whole file without --stream, which resamples it"
        )
    yield from _blocks(file, form, promised, name, max(1, round(seconds * rate)))


def opened(path: Path) -> IO[bytes]:
    """A file to read. Raises SoundError when it is missing, or cannot be."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        near = [str(entry) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SoundError(f"no such sound: {path}{did_you_mean(str(path), near)}") from None
    except OSError as error:
        raise SoundError(f"{path} cannot be read: {error.strerror}; expected a WAV file") from None


def check_samples(samples: Floats, name: str) -> None:
    """Raises SoundError on numbers that are not finite, and on such as are no shares of full scale."""
    if not np.isfinite(samples).all():
        raise SoundError(f"{name} holds numbers that are not finite; make it anew")
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest > LOUDEST:
        raise SoundError(f"{name} holds {loudest:,.0f} where 1 is full scale; divide its samples by what full scale is")


def _blocks(file: IO[bytes], form: Format, promised: int | None, name: str, frames: int) -> Iterator[Floats]:
    """The sound that begins here. A pipe that ends before ``promised`` bytes is a sound that was cut."""
    left = promised
    while left is None or left > 0:
        size = frames * form.width if left is None else min(frames * form.width, left)
        data = file.read(size)
        if left is not None:
            left -= len(data)
        whole = len(data) - len(data) % form.width
        if whole:
            samples = form.decode(data[:whole])
            check_samples(samples, name)
            yield samples
        if len(data) < size:
            if left:
                raise SoundError(f"{name} is cut: {left:,} bytes of its sound are missing; get it again")
            return


def _header(file: IO[bytes], name: str) -> tuple[Format, int | None]:
    """The format, and the bytes of sound that follow; None where the header does not know. Leaves ``file`` there."""
    start = file.read(12)
    if not start:
        raise SoundError(f"{name} is empty; expected a WAV file")
    if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise SoundError(f"{name} is no WAV file (it begins with {start[:4]!r}); expected RIFF ... WAVE; convert it")
    form: Format | None = None
    skipped = 0
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise SoundError(f"{name} ends before its sound begins; expected a WAV file with a data chunk")
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"data":
            if form is None:
                raise SoundError(f"{name} has its sound before its format; expected a fmt chunk first; convert it")
            known = 0 < size < MOST_BYTES or (size == 0 and _chunk_follows(file))
            return form, size - size % form.width if known else None
        skipped += size
        if skipped > _HEADER:
            raise SoundError(f"{name} has {skipped:,} bytes before its sound; expected {_HEADER:,} at most; convert it")
        body = file.read(size + size % 2)
        if kind == b"fmt ":
            form = _format(body, name)


def _chunk_follows(file: IO[bytes]) -> bool:
    """Whether a chunk begins here and is whole: then the one before was empty. A pipe does not say."""
    if not file.seekable():
        return False
    start = file.tell()
    head, left = file.read(8), file.seek(0, os.SEEK_END) - start - 8
    file.seek(start)
    return (
        len(head) == 8
        and all(0x20 <= letter < 0x7F for letter in head[:4])
        and int.from_bytes(head[4:], "little") <= left
    )


def _format(body: bytes, name: str) -> Format:
    if len(body) < 16:
        raise SoundError(f"{name} has a format of {len(body)} bytes; expected 16 or more: it is damaged")
    code, channels = (int.from_bytes(body[at : at + 2], "little") for at in (0, 2))
    rate, width, bits = (int.from_bytes(body[at : at + size], "little") for at, size in ((4, 4), (12, 2), (14, 2)))
    if code == _EXTENSIBLE and len(body) >= 40 and body[26:40] == _TAIL:
        code = int.from_bytes(body[24:26], "little")
    if (code, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        raise SoundError(
            f"{name} is a WAV of kind {code} with {bits} bits; expected PCM of 8, 16, 24 or 32 bits, or floats; "
            "convert it"
        )
    if not 1 <= channels <= CHANNELS:
        raise SoundError(f"{name} has {channels} channels; expected 1 to {CHANNELS}")
    if not RATES[0] <= rate <= RATES[1]:
        raise SoundError(f"{name} has {rate:,} samples a second; expected {RATES[0]:,} to {RATES[1]:,}")
    form = Format(rate, channels, bits, code == _FLOAT)
    if width != form.width:
        raise SoundError(f"{name} says that a sample has {width} bytes; expected {form.width}: it is damaged")
    return form
