"""Made-up speech: each letter is a tone of its own, so that what is said can be learned from little."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.architectures import RecogniserConfig
from ostinato.config import ModelConfig
from ostinato.data.ragged import Ragged
from ostinato.data.sounds import quantised
from ostinato.data.spectra import LogMel
from ostinato.training.recognising import Recordings

RATE = 8000
TONES = {"a": 400.0, "b": 900.0, "c": 1700.0, "d": 2900.0}


def say(text: str, rng: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """A letter is 60 to 90 ms of its tone, 20 ms apart from the next; noise is under all of it."""
    parts = [np.zeros(rate // 50)]
    for letter in text:
        time = np.arange(int(rng.uniform(0.06, 0.09) * (3 if letter == " " else 1) * rate)) / rate
        tone = 0.0 if letter == " " else np.sin(2 * np.pi * TONES[letter] * time + rng.uniform(0, 6))
        parts += [rng.uniform(0.1, 0.4) * tone * np.hanning(len(time)), np.zeros(rate // 50)]
    samples = np.concatenate(parts)
    return (samples + 0.001 * rng.standard_normal(len(samples))).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE, kind: int = 1, bits: int = 16, **changes: Any) -> bytes:
    """A WAV file of ``samples (n,)`` or ``(n, channels)``, whole numbers or floats as ``kind`` and ``bits`` want."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    data = samples.tobytes()
    values = {"channels": channels, "rate": rate, "width": channels * bits // 8, "promised": len(data), **changes}
    form = struct.pack(
        "<HHIIHH", kind, values["channels"], values["rate"], rate * values["width"], values["width"], bits
    )
    form += changes.get("extension", b"")
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + changes.get("before", b"")
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + 8 + len(data)) + b"WAVE" + chunks + _data(values, data)


def _data(values: dict[str, Any], data: bytes) -> bytes:
    return b"data" + struct.pack("<I", values["promised"]) + data


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Floats ``(n,)`` as a file of sixteen bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav(quantised(samples), rate))
    return path


def write_list(folder: Path, name: str, texts: Sequence[str], seed: int = 0) -> Path:
    """``folder/name.tsv`` and the recordings that it names."""
    rng = np.random.default_rng(seed)
    lines = []
    for number, text in enumerate(texts):
        write_wav(folder / name / f"{number}.wav", say(text, rng))
        lines.append(f"{name}/{number}.wav\t{text}\tmore\n")
    path = folder / f"{name}.tsv"
    path.write_text("".join(lines), "utf-8")
    return path


def texts(count: int, seed: int = 0) -> list[str]:
    """Words of one to four letters."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(TONES), int(rng.integers(1, 5)))) for _ in range(count)]


def small(reader: str = "encoder", **changes: Any) -> RecogniserConfig:
    """Odd sizes everywhere: two layers, nine bands, three frames a step."""
    layers = ModelConfig(**{"vocab": 6, "embed": 27, "hidden": (5, 7), **changes})
    return RecogniserConfig(layers, reader, RATE, 9, 3)


def recordings(count: int = 6, seed: int = 0) -> Recordings:
    """Of made-up speech; letters are 0 to 3, the space 4, the blank 5."""
    rng = np.random.default_rng(seed)
    said = texts(count, seed)
    sounds = Ragged.of([quantised(say(text, rng)).astype(np.int64) for text in said])
    ids = Ragged.of([np.array(["abcd".index(letter) for letter in text]) for text in said])
    return Recordings(sounds, ids, LogMel(RATE, 9, 3), space=4)
