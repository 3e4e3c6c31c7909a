"""Resampling against what a sine is at another rate; joining recordings; noise."""

from __future__ import annotations

import numpy as np
import pytest
from speech import RATE, say

from ostinato.data.sounds import FULL, Mixing, noise, quantised, resample

PAIRS = [(16_000, 8_000), (8_000, 16_000), (44_100, 8_000), (11_025, 16_000), (8_000, 7_999), (48_000, 44_100)]


def sine(hertz: float, rate: int, count: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(count) / rate + 0.3).astype(np.float32)


@pytest.mark.parametrize(("rate", "wanted"), PAIRS)
def test_a_sine_is_the_same_sine_at_another_rate(rate: int, wanted: int) -> None:
    count = rate // 4 + 3
    for hertz in (50.0, 0.2 * min(rate, wanted), 0.4 * min(rate, wanted)):
        found = resample(sine(hertz, rate, count), rate, wanted)
        assert len(found) == -(-count * wanted // rate)
        expected = sine(hertz, wanted, len(found))
        inside = slice(len(found) // 4, -len(found) // 4)  # at the ends the filter sees zeros
        np.testing.assert_allclose(found[inside], expected[inside], atol=2e-3)


@pytest.mark.parametrize(("rate", "wanted"), [(16_000, 8_000), (44_100, 8_000)])
def test_what_the_lower_rate_cannot_hold_is_gone(rate: int, wanted: int) -> None:
    found = resample(sine(0.55 * wanted, rate, rate // 2), rate, wanted)
    inside = found[len(found) // 4 : -len(found) // 4]
    assert np.abs(inside).max() < 1e-3  # 60 dB down


def test_the_same_rate_and_nothing_at_all() -> None:
    samples = sine(440.0, RATE, 100)
    assert resample(samples, RATE, RATE) is samples
    assert len(resample(samples[:0], RATE, 16_000)) == 0
    assert len(resample(samples[:1], 44_100, RATE)) == 1


def test_noise_has_the_mean_square_of_one() -> None:
    for count in (1, 2, 1000, 1025):
        made = noise(count, np.random.default_rng(count))
        assert len(made) == count
        assert np.mean(made.astype(np.float64) ** 2) == pytest.approx(1.0, rel=1e-3)


def parts(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [quantised(say(text, rng)) for text in ("ab", "c", "dda")[:count]]


def test_recordings_are_in_a_string_one_after_the_other() -> None:
    given = parts()
    mixed, spans = Mixing(join=3, pause=0.2).mix(given, RATE, np.random.default_rng(1))
    edge, at = RATE // 20, 0
    assert len(mixed) <= Mixing(join=3, pause=0.2).longest(max(map(len, given)), RATE)
    for number, part in enumerate(given):
        plain = part / FULL
        # the place where it fits best, and how loud it is there
        fits = np.correlate(mixed[at:].astype(np.float64), plain, "valid")
        place = int(fits.argmax())
        gain = fits[place] / np.sum(plain**2)
        assert gain == pytest.approx(1.0, rel=0.1)
        assert edge <= place <= 0.2 * RATE + 1
        assert spans[number] == (at + place, at + place + len(part))
        at += place + len(part)
    assert len(mixed) - at == edge


def test_each_recording_has_a_loudness_of_its_own() -> None:
    """Up to so many dB quieter, a quarter as many louder, any as likely as any other."""
    (part,), gains = parts(1), []
    for seed in range(100):
        mixed, spans = Mixing(join=2, loudness=20.0).mix([part, part], RATE, np.random.default_rng(seed))
        gains += [10 * np.log10(np.sum(mixed[a:b] ** 2) / np.sum((part / FULL) ** 2)) for a, b in spans]
    assert -20.1 < min(gains) < -18
    assert 4 < max(gains) < 5.1
    assert np.mean(gains) == pytest.approx(-7.5, abs=1.5)
    assert abs(np.corrcoef(gains[::2], gains[1::2])[0, 1]) < 0.3


def test_the_longest_string_is_no_longer_than_it_must_be() -> None:
    (part,) = parts(1)
    mixed, _ = Mixing(join=3).mix([part] * 3, RATE, np.random.default_rng(0))
    assert len(mixed) <= Mixing(join=3).longest(len(part), RATE) <= len(mixed) + 3


def test_noise_and_speed_are_as_much_as_they_say() -> None:
    (part,) = parts(1)
    quiet, spans = Mixing().mix([part], RATE, np.random.default_rng(0))
    edge = RATE // 20
    assert spans == [(edge, edge + len(part))]
    assert len(quiet) == len(part) + 2 * edge
    lengths, levels = set(), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        lengths.add(len(Mixing(speed=0.1).mix([part], RATE, rng)[0]) - 2 * edge)
        loud, _ = Mixing(noise=1.0).mix([part], RATE, rng)
        speech, before = loud[edge:-edge], loud[:edge]
        levels.append(10 * np.log10(np.mean(speech**2) / np.mean(before**2)))
    expected = {-(-len(part) * 20 // speed) for speed in range(18, 23)}
    assert lengths == expected
    assert min(lengths) >= Mixing(speed=0.1).fastest(len(part))
    assert 0 < min(levels) < 15
    assert 15 < max(levels) < 45  # speech and noise over noise; coloured noise is uneven
    halves = [Mixing(noise=0.5).mix([part], RATE, np.random.default_rng(seed))[0] for seed in range(60)]
    noisy = sum(np.mean(mixed[:100] ** 2) > 1e-4 * np.mean(mixed**2) for mixed in halves)
    assert 15 < noisy < 60


def test_the_same_generator_mixes_the_same() -> None:
    mixing = Mixing(3, 0.3, 0.5, 0.2)
    (first, spans), (second, same), (other, _) = (
        mixing.mix(parts(), RATE, np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, second)
    assert spans == same
    assert not np.array_equal(first[:100], other[:100])


def test_sixteen_bits_hold_what_fits() -> None:
    np.testing.assert_array_equal(
        quantised(np.array([0.0, 0.5, -1.0, 1.0, 7.0, -7.0, 1.6 / 32768], np.float32)),
        np.array([0, 16384, -32768, 32767, 32767, -32768, 2]),
    )
