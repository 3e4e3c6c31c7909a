"""WAV files: every kind that is read, to the number; every way a file can be wrong, in one line."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speech import RATE, wav

from ostinato import sound
from ostinato.errors import SoundError
from ostinato.sound import read_wav, stream_wav

WHOLE = np.array([0, 1, -1, 12, -77, 127, -128])


def write(folder: Path, data: bytes) -> Path:
    path = folder / "a.wav"
    path.write_bytes(data)
    return path


def packed(bits: int) -> np.ndarray:
    """WHOLE in the upper eight bits, with something below."""
    if bits == 8:
        return (WHOLE + 128).astype(np.uint8)
    if bits == 24:
        wide = (WHOLE.astype("<i4") << 24 | 0x345600).view(np.uint8).reshape(-1, 4)
        return np.ascontiguousarray(wide[:, 1:]).reshape(-1)
    return (WHOLE.astype(f"<i{bits // 8}") << (bits - 8)) + (3 if bits > 8 else 0)


@pytest.mark.parametrize(("bits", "below"), [(8, 0.0), (16, 3 / 2**15), (24, 0x3456 / 2**23), (32, 3 / 2**31)])
def test_whole_numbers_of_every_width(tmp_path: Path, bits: int, below: float) -> None:
    samples, rate = read_wav(write(tmp_path, wav(packed(bits), 11_025, bits=bits)))
    assert rate == 11_025
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, WHOLE / 128 + below, atol=1e-7)


@pytest.mark.parametrize("bits", [32, 64])
def test_floats(tmp_path: Path, bits: int) -> None:
    numbers = np.array([0.0, 0.5, -1.25, 1e-6], f"<f{bits // 8}")
    samples, _ = read_wav(write(tmp_path, wav(numbers, kind=3, bits=bits)))
    np.testing.assert_allclose(samples, numbers, rtol=1e-6)


def test_channels_are_mixed_to_their_mean(tmp_path: Path) -> None:
    channels = np.array([[100, 200, -600], [3, 0, 0], [-30000, 30000, 3]], np.int16)
    samples, _ = read_wav(write(tmp_path, wav(channels)))
    np.testing.assert_allclose(samples, channels.mean(axis=1) / 32768, atol=1e-7)


def test_an_extensible_format_and_other_chunks(tmp_path: Path) -> None:
    tail = bytes.fromhex("000000001000800000aa00389b71")
    extension = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + tail
    before = b"LIST" + struct.pack("<I", 3) + b"odd\0"  # a chunk of odd length is followed by a byte
    data = wav(np.array([5, -7], np.int16), kind=0xFFFE, extension=extension, before=before)
    np.testing.assert_allclose(read_wav(write(tmp_path, data + b"more"))[0], np.array([5, -7]) / 32768)
    other = wav(np.array([5, -7], np.int16), kind=0xFFFE, extension=extension[:-1] + b"\0")
    with pytest.raises(SoundError, match="WAV of kind 65534 with 16 bits"):
        read_wav(write(tmp_path, other))


def test_a_rate_that_is_wanted(tmp_path: Path) -> None:
    time = np.arange(16_000) / 16_000
    tone = np.rint(20_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    samples, rate = read_wav(write(tmp_path, wav(tone, 16_000)), RATE)
    assert (rate, len(samples)) == (RATE, 8000)
    expected = 20_000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(8000) / RATE)
    np.testing.assert_allclose(samples[200:-200], expected[200:-200], atol=2e-3)


UNKNOWN = (0, 0x7FFF0000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF)
"""Lengths that programs write which pipe a sound: SoX's, arecord's and ffmpeg's among them."""


def test_a_header_that_does_not_know_the_length_is_read_to_the_end(tmp_path: Path) -> None:
    numbers = np.arange(50, dtype=np.int16)
    for unknown in UNKNOWN:
        samples, _ = read_wav(write(tmp_path, wav(numbers, promised=unknown)))
        np.testing.assert_allclose(samples, numbers / 32768)


def test_an_empty_sound_before_other_chunks_is_empty(tmp_path: Path) -> None:
    """Where a length of 0 may mean that it is not known, what follows may not be taken for sound."""
    chunk = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.16.100\0"
    with pytest.raises(SoundError, match="holds no sound: not one sample"):
        read_wav(write(tmp_path, wav(np.zeros(0, np.int16)) + chunk))
    samples, _ = read_wav(write(tmp_path, wav(np.frombuffer(chunk[:-2], np.int16), promised=0)))
    assert len(samples) == 16  # cut, so no chunk


GOOD = wav(np.arange(40, dtype=np.int16))
BAD: list[tuple[str, bytes, str]] = [
    ("empty", b"", "is empty; expected a WAV file"),
    ("scale", wav(np.array([0, 32768], np.float32), kind=3, bits=32), "holds 32,768 where 1 is full scale; divide"),
    ("text", b"hello, this is no sound at all", "is no WAV file (it begins with b'hell')"),
    ("big endian", b"RIFX" + GOOD[4:], "it begins with b'RIFX'"),
    ("cut header", GOOD[:30], "ends before its sound begins|has a format of 10 bytes"),
    ("no data", GOOD[:36], "ends before its sound begins; expected a WAV file with a data chunk"),
    ("cut", GOOD[:-31], "is cut: its header promises 80 bytes of sound, 49 are there; get it again"),
    ("no sample", wav(np.zeros(0, np.int16)), "holds no sound: not one sample"),
    ("compressed", wav(np.zeros(4, np.uint8), kind=7, bits=8), "WAV of kind 7 with 8 bits; expected PCM of 8, 16"),
    ("bits", wav(np.zeros(4, np.int16), bits=12, width=2), "WAV of kind 1 with 12 bits"),
    ("no channel", wav(np.zeros(4, np.int16), channels=0), "has 0 channels; expected 1 to 64"),
    ("channels", wav(np.zeros(4, np.int16), channels=65), "has 65 channels"),
    ("rate", wav(np.zeros(4, np.int16), 0), "has 0 samples a second; expected 1,000 to 768,000"),
    ("fast", wav(np.zeros(4, np.int16), 4_000_000_000 // 2 - 1, width=1), "samples a second"),
    ("width", wav(np.zeros(4, np.int16), width=3), "says that a sample has 3 bytes; expected 2"),
    ("not finite", wav(np.array([0, np.nan], np.float32), kind=3, bits=32), "holds numbers that are not finite"),
    ("enormous", wav(np.array([0, 1e300]), kind=3, bits=64), "holds numbers that are not finite"),
    ("sound first", b"RIFF\0\0\0\0WAVEdata\4\0\0\0\1\0\2\0", "has its sound before its format"),
    ("long", wav(np.zeros(4, np.int16), promised=0x7FFEFFFE), "is cut: its header promises 2,147,418,110 bytes"),
    ("chunks", GOOD[:36] + b"LIST" + struct.pack("<I", 1 << 30), "bytes before its sound; expected 1,048,576 at most"),
]


@pytest.mark.parametrize(("data", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_file_that_is_wrong(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(SoundError) as caught:
        read_wav(path)
    assert str(caught.value).startswith(str(path))
    assert any(part in str(caught.value) for part in message.split("|"))
    assert "\n" not in str(caught.value)


def test_every_beginning_of_a_file_is_refused_in_a_line(tmp_path: Path) -> None:
    for size in range(len(GOOD)):
        with pytest.raises(SoundError):
            read_wav(write(tmp_path, GOOD[:size]))


def test_any_byte_of_the_header_may_be_wrong(tmp_path: Path) -> None:
    """What is read then is another sound, or nothing: never an error of another kind."""
    rng = np.random.default_rng(0)
    for place in range(44):
        for value in (0, 255, int(rng.integers(256))):
            data = bytearray(GOOD)
            data[place] = value
            try:
                samples, _ = read_wav(write(tmp_path, bytes(data)))
            except SoundError:
                continue
            assert 1 <= len(samples) <= 80


def test_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(SoundError, match=r"no such sound: .*b.wav; did you mean '.*a.wav'"):
        read_wav(tmp_path / "b.wav")
    with pytest.raises(SoundError, match="cannot be read: Is a directory; expected a WAV file"):
        read_wav(tmp_path)


class Pipe(io.RawIOBase):
    """Gives what is asked for, and cannot be looked into."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._data.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def test_more_than_may_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "MOST_BYTES", 79)
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    for data in (GOOD, wav(np.arange(40, dtype=np.int16), promised=0)):
        with pytest.raises(SoundError, match=r"a\.wav has more than 79 bytes of sound; cut it into pieces"):
            read_wav(write(tmp_path, data))
        writer = threading.Thread(target=path.write_bytes, args=(data,))
        writer.start()
        with pytest.raises(SoundError, match=r"pipe\.wav has more than 79 bytes of sound; cut it into pieces"):
            read_wav(path)
        writer.join()
    monkeypatch.setattr(sound, "MOST_BYTES", 80)
    assert len(read_wav(write(tmp_path, wav(np.arange(40, dtype=np.int16), promised=0)))[0]) == 40


@pytest.mark.parametrize("promised", [80, *UNKNOWN])
def test_a_stream_gives_the_same_samples(promised: int) -> None:
    data = wav(np.arange(40, dtype=np.int16), promised=promised)
    blocks = list(stream_wav(io.BufferedReader(Pipe(data)), RATE, "pipe", 13 / RATE))
    assert [len(block) for block in blocks] == [13, 13, 13, 1]
    np.testing.assert_allclose(np.concatenate(blocks), np.arange(40) / 32768)


def test_a_stream_that_is_wrong() -> None:
    with pytest.raises(SoundError, match="pipe is cut: 30 bytes of its sound are missing"):
        list(stream_wav(io.BytesIO(GOOD[:-30]), RATE, "pipe", 0.001))
    with pytest.raises(SoundError, match="pipe has 8,000 samples a second, the model reads 16,000; record it so"):
        list(stream_wav(io.BytesIO(GOOD), 16_000, "pipe", 0.001))
