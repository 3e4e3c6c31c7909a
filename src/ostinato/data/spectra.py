"""Samples to what a recogniser reads: logarithms of the energy in bands of the mel scale, beside how loud it is."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ostinato.types import Floats

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
LOWEST_HERTZ = 60.0
"""Below is hum."""
FLOOR = 1e-6
"""Energy that every band has at least: what is quieter than some -75 dB of full scale is silence."""
QUIET = -6.0
"""The least level, in nats: that of white noise some 50 dB below full scale. What is quieter stays quiet, or the noise
in silence would be as loud as speech."""
FALL = 0.2
"""Nats a second by which the level falls: 0.9 dB."""
_WAVES = 4
_FRAMES = 4096  # whose spectra are held at once


class Rest(NamedTuple):
    """What was heard of a sound and is needed to go on."""

    samples: Floats
    """That no step has settled."""
    level: float = QUIET
    """Of the last frame that was read."""


class LogMel:
    """Log mel energies of a sound beside its level, ``stack`` frames of 10 ms side by side in each step.

    Step t holds frames ``t * stack`` to ``t * stack + stack - 1``; frame k is the Hann-windowed 25 ms from sample
    ``k * hop`` on. A sound of n samples has ``ceil(n / (hop * stack))`` steps; zeros follow it as far as they reach.
    So that it does not matter how loud a sound is, the level is taken from each logarithm, as recorders control their
    gain::

        e_km = log max(FLOOR, energy of band m in frame k)
        level_k = max(level_{k-1} - FALL * 10 ms, mean over m of e_km, QUIET)
        frame_km = e_km - level_k
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
        return self.finish(Rest(samples))

    def start(self) -> Rest:
        """Of a sound of which nothing was heard."""
        return Rest(np.zeros(0, np.float32))

    def ready(self, samples: Floats, rest: Rest) -> tuple[Floats, Rest]:
        """The steps ``(T', mels * stack)`` that more of a sound settles, and the rest."""
        samples = np.concatenate([rest.samples, samples])
        T = max(0, (len(samples) - self.reach) // self.step + 1)
        steps, level = self._read(samples, T, rest.level)
        return steps, Rest(samples[T * self.step :], level)

    def finish(self, rest: Rest) -> Floats:
        """The steps that are left at the end of a sound."""
        T = self.steps(len(rest.samples))
        missing = (T - 1) * self.step + self.reach - len(rest.samples)
        return self._read(np.pad(rest.samples, (0, max(0, missing))), T, rest.level)[0]

    def _read(self, samples: Floats, steps: int, level: float) -> tuple[Floats, float]:
        """The first steps of ``samples``, of which there are enough, and the level after them."""
        if steps == 0:
            return np.zeros((0, self.mels * self.stack), np.float32), level
        frames = sliding_window_view(samples, self.window)[:: self.hop][: steps * self.stack]
        energies = [self._energies(frames[k : k + _FRAMES]) for k in range(0, len(frames), _FRAMES)]
        logs = np.log(np.maximum(np.concatenate(energies), np.float32(FLOOR)))
        levels = _levels(logs.mean(axis=1, dtype=np.float64), level)
        return (logs - levels[:, None]).astype(np.float32).reshape(steps, -1), float(levels[-1])

    def _energies(self, frames: Floats) -> Floats:
        """Of each band ``(K, mels)`` of ``frames (K, window)``."""
        spectrum = np.fft.rfft(frames * self._hann, self._points).astype(np.complex64)
        return cast(Floats, (spectrum.real**2 + spectrum.imag**2) @ self._filters)


def _levels(loud: NDArray[np.float64], before: float) -> NDArray[np.float64]:
    """The level in each frame, ``(K,)``, of frames so ``loud``: the highest of all that came, each fallen since."""
    fallen = FALL * HOP_SECONDS * np.arange(1, len(loud) + 1)
    highest = np.maximum.accumulate(np.maximum(loud, QUIET) + fallen)
    return cast("NDArray[np.float64]", np.maximum(highest, before) - fallen)


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
