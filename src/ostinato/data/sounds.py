"""Samples of sounds: how the rate is changed, and what training makes of recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ostinato.types import Floats

Spans = list[tuple[int, int]]

FULL = 32768.0
"""What sixteen bits call 1."""
EDGE = 0.05
"""Seconds after a string, and least pause: time to say a last letter and a space in. So long a first one is heard
before it may be said."""
_ZEROS = 32  # crossings of the sinc on each side
_CUTOFF = 0.9  # of half the rate: the filter falls from 0.81 to 0.99 of it
_BETA = 8.6  # of the Kaiser window: what is to be kept out is 80 dB down
SPEED_STEP = 0.05
"""Speeds are multiples of it: so few that a filter for each is short."""
_SILENCE = (-75.0, -45.0)  # dB of full scale of what is heard in pauses
_NOISE = (5.0, 30.0)  # dB that speech is above noise


def resample(samples: Floats, rate: int, wanted: int) -> Floats:
    """``samples (n,)`` at ``rate`` as ``(ceil(n * wanted / rate),)`` at ``wanted`` samples a second.

    A polyphase filter: a sinc that ends below half of the lower rate, in a Kaiser window. What lies outside of the
    sound is 0.
    """
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    if up == down or len(samples) == 0:
        return samples
    slow = max(1.0, down / up)  # samples from one crossing of the sinc to the next
    half = math.ceil(_ZEROS * slow)
    count = -(-len(samples) * up // down)
    padded = np.pad(samples, (half, half + down + 1))
    windows = sliding_window_view(padded, 2 * half + 1)
    found = np.empty(count, np.float32)
    for phase in range(min(up, count)):  # outputs ``phase + j * up`` lie equally far behind a sample
        first, behind = divmod(phase * down, up)
        rows = windows[first::down][: -(-(count - phase) // up)]
        found[phase::up] = rows @ _taps(half, behind / up, slow)
    return found


@lru_cache(maxsize=1024)
def _taps(half: int, behind: float, slow: float) -> Floats:
    """The filter ``(2 half + 1,)`` for a place so far behind the middle sample."""
    x = (np.arange(-half, half + 1) - behind) / slow
    inside = np.sqrt(np.maximum(0.0, 1.0 - (x / _ZEROS) ** 2))
    taps = _CUTOFF * np.sinc(_CUTOFF * x) * np.i0(_BETA * inside) / np.i0(_BETA) * (np.abs(x) <= _ZEROS)
    return cast(Floats, (taps / taps.sum()).astype(np.float32))


def noise(samples: int, rng: np.random.Generator) -> Floats:
    """So many samples of noise of mean square 1, its colour drawn between white and brown."""
    points = 1 << max(1, samples - 1).bit_length()  # a length that transforms are fast for
    spectrum = np.fft.rfft(rng.standard_normal(points, np.float32))
    spectrum *= np.arange(1, len(spectrum) + 1, dtype=np.float32) ** np.float32(-rng.uniform(0.0, 1.0))
    made = np.fft.irfft(spectrum, points)[:samples].astype(np.float32)
    return made / np.float32(math.sqrt(max(1e-12, float(np.mean(made**2)))))


@dataclass(frozen=True)
class Mixing:
    """Recordings joined to one, and changes that leave true what is said in them. As it is, none but faint noise."""

    join: int = 1
    """Most recordings in a string."""
    pause: float = 0.0
    """Longest pause before each, in seconds."""
    noise: float = 0.0
    """Share of the strings that noise is mixed into."""
    speed: float = 0.0
    """A recording is played up to so much faster or slower, in multiples of SPEED_STEP, which shifts its pitch too."""
    loudness: float = 0.0
    """A recording is made up to so many dB quieter, or a quarter as many louder: most are near full scale."""
    eq: float = 0.0
    """A string is heard through a random filter of about so many dB (``spectra.equaliser``)."""

    def fastest(self, samples: int) -> int:
        """The fewest samples that a recording of so many may become."""
        return int(samples / (1.0 + self.speed))

    def longest(self, samples: int, rate: int) -> int:
        """The most samples that a string of recordings of so many may have."""
        gaps = self.join * max(EDGE, self.pause) + EDGE
        return math.ceil(self.join * (samples / (1.0 - self.speed) + 1) + gaps * rate)

    def mix(
        self, recordings: Sequence[NDArray[np.integer]], rate: int, rng: np.random.Generator
    ) -> tuple[Floats, Spans]:
        """One sound of ``recordings``, in this order, as training hears it, and the samples that each lies in.

        Each is played at its own speed and loudness; pauses, before each and after the last, are faint noise, and
        noise over all of it is 5 to 30 dB below the speech. A change that is off draws nothing.
        """
        parts = [self._played(recording, rng) for recording in recordings]
        edge, longest = int(EDGE * rate), max(EDGE, self.pause)
        gaps = [int(rng.uniform(EDGE, longest) * rate) for _ in parts] + [edge]
        quiet = noise(sum(map(len, parts)) + sum(gaps), rng) * np.float32(_ratio(rng.uniform(*_SILENCE)))
        spans, end, energy = [], 0, 0.0
        for gap, part in zip(gaps, parts, strict=False):
            start, end = end + gap, end + gap + len(part)
            quiet[start:end] += part
            spans.append((start, end))
            energy += float(np.sum(part**2))
        if self.noise and rng.random() < self.noise:
            loud = math.sqrt(energy / max(1, sum(map(len, parts)))) * _ratio(-rng.uniform(*_NOISE))
            quiet += noise(len(quiet), rng) * np.float32(loud)
        return quiet, spans

    def _played(self, recording: NDArray[np.integer], rng: np.random.Generator) -> Floats:
        samples = recording.astype(np.float32) / np.float32(FULL)
        if self.speed:
            most, normal = int(self.speed / SPEED_STEP + 1e-9), round(1 / SPEED_STEP)
            samples = resample(samples, normal + int(rng.integers(-most, most + 1)), normal)
        if self.loudness:
            samples = samples * np.float32(_ratio(rng.uniform(-self.loudness, self.loudness / 4)))
        return samples


def _ratio(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))


def quantised(samples: Floats) -> NDArray[np.int16]:
    """Samples, of which 1 is full scale, in sixteen bits."""
    whole = np.clip(np.rint(samples * np.float32(FULL)), -FULL, FULL - 1.0)
    return cast("NDArray[np.int16]", whole.astype(np.int16))
