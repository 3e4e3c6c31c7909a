"""Samples to what a recogniser reads: logarithms of the energy in bands of the mel scale, some frames a step."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ostinato.types import Floats

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
LOWEST_HERTZ = 60.0
"""Below is hum."""
FLOOR = 1e-6
"""Energy that every band has at least: what is quieter than some -75 dB of full scale is silence."""
_WAVES = 4
_FRAMES = 4096  # whose spectra are held at once


class LogMel:
    """Log mel energies of a sound, ``stack`` frames of 10 ms side by side in each step.

    Step t holds frames ``t * stack`` to ``t * stack + stack - 1``; frame k is the Hann-windowed 25 ms from sample
    ``k * hop`` on. A sound of n samples has ``ceil(n / (hop * stack))`` steps; zeros follow it as far as they reach.
    """

    def __init__(self, rate: int, mels: int, stack: int) -> None:
        self.rate, self.mels, self.stack = rate, mels, stack
        self.window, self.hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
        self.step = self.hop * stack
        """Samples from one step to the next."""
        self.reach = self.step - self.hop + self.window
        """Samples that a step looks at."""
        self._hann = np.hanning(self.window + 2)[1:-1].astype(np.float32)
        self._points = 2 << (self.window - 1).bit_length()
        self._filters = mel_filters(rate, mels, self._points)

    def steps(self, samples: int) -> int:
        """Of a sound of so many samples."""
        return -(-samples // self.step)

    def seconds(self, step: int) -> float:
        """When a step begins."""
        return step * self.step / self.rate

    def whole(self, samples: Floats) -> Floats:
        """The steps ``(T, mels * stack)`` of a whole sound ``(n,)``."""
        T = self.steps(len(samples))
        return self._read(np.pad(samples, (0, max(0, self._needed(T) - len(samples)))), T)

    def ready(self, samples: Floats) -> tuple[Floats, Floats]:
        """The steps ``(T', mels * stack)`` that the beginning of a sound settles, and the samples for those to come."""
        T = max(0, (len(samples) - self.reach) // self.step + 1)
        return self._read(samples, T), samples[T * self.step :]

    def _needed(self, steps: int) -> int:
        return (steps - 1) * self.step + self.reach

    def _read(self, samples: Floats, steps: int) -> Floats:
        """The first steps of ``samples``, of which there are enough."""
        if steps == 0:
            return np.zeros((0, self.mels * self.stack), np.float32)
        frames = sliding_window_view(samples, self.window)[:: self.hop][: steps * self.stack]
        energies = [self._energies(frames[k : k + _FRAMES]) for k in range(0, len(frames), _FRAMES)]
        logs = np.log(np.maximum(np.concatenate(energies), np.float32(FLOOR)))
        return cast(Floats, logs.reshape(steps, -1))

    def _energies(self, frames: Floats) -> Floats:
        """Of each band ``(K, mels)`` of ``frames (K, window)``."""
        spectrum = np.fft.rfft(frames * self._hann, self._points).astype(np.complex64)
        return cast(Floats, (spectrum.real**2 + spectrum.imag**2) @ self._filters)


def equaliser(mels: int, deviation: float, rng: np.random.Generator) -> Floats:
    """What a random filter adds to the logarithms of the bands ``(mels,)``: another microphone, another room.

    The sum of one, two, three and four half waves over the bands, the k-th of ``deviation / k`` dB in the mean.
    """
    k = np.arange(1, _WAVES + 1)
    waves = np.cos(np.pi * np.outer(k, np.linspace(0.0, 1.0, mels)))
    gains = rng.normal(0.0, deviation * math.log(10.0) / 10.0 / k)
    return cast(Floats, (gains @ waves).astype(np.float32))


def mel_filters(rate: int, mels: int, points: int) -> Floats:
    """Triangles over the ``points // 2 + 1`` frequencies of a spectrum, ``(points // 2 + 1, mels)``.

    Each climbs from the middle of the one below to 1 at its own and falls to the middle of the one above; middles are
    evenly spread over ``2595 log10(1 + f / 700)`` from LOWEST_HERTZ to half the rate.
    """
    low, high = (2595.0 * np.log10(1.0 + hertz / 700.0) for hertz in (LOWEST_HERTZ, rate / 2))
    corners = 700.0 * (10.0 ** (np.linspace(low, high, mels + 2) / 2595.0) - 1.0)
    hertz = np.arange(points // 2 + 1)[:, None] * (rate / points)
    below, middle, above = corners[:-2], corners[1:-1], corners[2:]
    climbing, falling = (hertz - below) / (middle - below), (above - hertz) / (above - middle)
    return cast(Floats, np.maximum(0.0, np.minimum(climbing, falling)).astype(np.float32))
