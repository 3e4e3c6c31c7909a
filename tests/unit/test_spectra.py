"""Log mel energies, against the definition written out; the same steps however a sound is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ostinato.data.spectra import FLOOR, LogMel, equaliser, mel_filters


def draw(count: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def brute(samples: np.ndarray, rate: int, mels: int, stack: int) -> np.ndarray:
    """Every frame by itself, its spectrum by the sum that defines it, every filter as a loop."""
    window, hop = round(0.025 * rate), round(0.01 * rate)
    points = 2 << (window - 1).bit_length()
    steps = -(-len(samples) // (hop * stack))
    long = np.concatenate([samples, np.zeros(steps * stack * hop + window)])
    hann = np.array([np.sin(np.pi * (k + 1) / (window + 1)) ** 2 for k in range(window)])
    wave = np.exp(-2j * np.pi * np.outer(np.arange(points // 2 + 1), np.arange(window)) / points)

    def mel(hertz: float) -> float:
        return 2595 * np.log10(1 + hertz / 700)

    corners = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(mel(60), mel(rate / 2), mels + 2)]
    found = np.zeros((steps, stack * mels))
    for t in range(steps):
        for s in range(stack):
            start = (t * stack + s) * hop
            power = np.abs(wave @ (long[start : start + window] * hann)) ** 2
            for m in range(mels):
                low, middle, high = corners[m : m + 3]
                total = 0.0
                for k, energy in enumerate(power):
                    hertz = k * rate / points
                    if low < hertz < high:
                        total += energy * min((hertz - low) / (middle - low), (high - hertz) / (high - middle))
                found[t, s * mels + m] = np.log(max(total, FLOOR))
    return found


@pytest.mark.parametrize(
    ("rate", "mels", "stack", "count"), [(8000, 9, 3, 1501), (8000, 8, 1, 240), (11_025, 12, 2, 7)]
)
def test_steps_are_what_the_definition_says(rate: int, mels: int, stack: int, count: int) -> None:
    found = LogMel(rate, mels, stack).whole(draw(count))
    np.testing.assert_allclose(found, brute(draw(count), rate, mels, stack), atol=2e-3)


def test_silence_is_the_floor() -> None:
    np.testing.assert_allclose(LogMel(8000, 9, 2).whole(np.zeros(500, np.float32)), np.log(FLOOR), rtol=1e-6)


@pytest.mark.parametrize("rate", [4000, 8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("mels", [8, 40, 80])
def test_every_band_hears_something(rate: int, mels: int) -> None:
    filters = mel_filters(rate, mels, 2 << (round(0.025 * rate) - 1).bit_length())
    assert (filters.max(axis=0) > 0.2).all()
    peaks = filters.argmax(axis=0)
    assert (np.diff(peaks) >= 0).all()


@pytest.mark.parametrize("pieces", [[1] * 900, [37] * 30, [900, 1, 320], [0, 0, 500]])
def test_pieces_give_the_steps_of_the_whole(pieces: list[int]) -> None:
    spectrum, samples = LogMel(8000, 9, 3), draw(sum(pieces))
    found, rest, at = [], np.zeros(0, np.float32), 0
    for size in pieces:
        steps, rest = spectrum.ready(np.concatenate([rest, samples[at : at + size]]))
        assert len(rest) < spectrum.step + spectrum.reach
        found.append(steps)
        at += size
    found.append(spectrum.whole(rest))
    np.testing.assert_allclose(np.concatenate(found), spectrum.whole(samples), atol=1e-4)
    assert spectrum.steps(len(samples)) == len(np.concatenate(found))


def test_times_and_sizes() -> None:
    spectrum = LogMel(8000, 40, 2)
    assert (spectrum.window, spectrum.hop, spectrum.step, spectrum.reach) == (200, 80, 160, 280)
    assert [spectrum.steps(n) for n in (0, 1, 160, 161)] == [0, 1, 1, 2]
    assert spectrum.seconds(50) == 1.0
    assert spectrum.whole(draw(0)).shape == (0, 80)


def test_a_long_sound_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = draw(4000)
    whole = LogMel(8000, 9, 2).whole(samples)
    monkeypatch.setattr("ostinato.data.spectra._FRAMES", 7)
    np.testing.assert_allclose(LogMel(8000, 9, 2).whole(samples), whole, atol=1e-4)


def test_an_equaliser_is_a_few_waves_over_the_bands() -> None:
    """Of many: no gain in the mean, and of each half wave so many dB over its number."""
    many = np.array([equaliser(33, 6.0, np.random.default_rng(seed)) for seed in range(4000)]).astype(np.float64)
    waves = np.cos(np.pi * np.outer(np.arange(1, 5), np.arange(33) / 32))
    gains, left, _, _ = np.linalg.lstsq(waves.T, many.T, rcond=None)
    assert left.max() < 1e-10
    decibels = 10 / math.log(10) * gains
    np.testing.assert_allclose(decibels.std(axis=1), 6.0 / np.arange(1, 5), rtol=0.05)
    assert np.abs(decibels.mean(axis=1)).max() < 0.3
