"""Sounds, spectra and the recogniser, each broken in one place on purpose: a named test must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mutants.mutate import mutant
from mutants.test_model_mutants import broken, run
from parity.test_recogniser_engine import check, check_pieces
from speech import recordings
from unit import test_models_recogniser, test_sounds, test_spectra

from ostinato.errors import NativeError

MODEL = ("models/recogniser.py", "test_models_recogniser")

# The call that must fail: what is wrong, and which source becomes which.
MUTANTS = {
    "test_the_loss_is_the_sum_over_all_paths('encoder')": [
        ("another blank", "spelled, self.blank", "spelled, 0"),
        ("a mean", 'reduction="none"', 'reduction="none").mean().expand(len(lengths)).mul(1.0'),
        ("not normalised", "F.log_softmax(logits.reshape(T, B, -1), dim=-1)", "logits.reshape(T, B, -1)"),
        ("normalised over steps", "dim=-1)", "dim=0)"),
        ("texts in another order", "F.ctc_loss(logprobs, texts", "F.ctc_loss(logprobs, texts.flip(0)"),
    ],
    "test_in_training_no_letter_is_said_in_a_pause('stack')": [
        ("pauses do not count", "pauses[:, :, None] & letters", "(pauses & False)[:, :, None] & letters"),
        ("pauses of all", "pauses[:, :, None] & letters", "pauses.any(1)[:, None, None] & letters"),
        ("no space either", "letters[[self.blank, space]]", "letters[self.blank]"),
        ("no blank either", "letters[[self.blank, space]]", "letters[space]"),
        ("said, but dearer", "letters, -torch.inf", "letters, -1.0"),
    ],
    "test_a_row_does_not_depend_on_others_nor_on_what_follows_its_end('encoder')": [
        ("the end is not told", "initial_state(steps.shape[1]), lengths)", "initial_state(steps.shape[1]))"),
    ],
    "test_bands_are_made_standard_frame_by_frame()": [
        ("not centred", "frames - self.mean", "frames"),
        ("bands for frames", "reshape(T, B, -1, len(self.mean))", "reshape(T, B, len(self.mean), -1).transpose(2, 3)"),
    ],
    "test_what_is_to_come_counts_in_both_directions_only()": [
        ("always both", 'config.reader == "encoder"', 'config.reader != ""'),
    ],
    "test_evaluation_drops_nothing_and_training_does()": [
        ("nats with dropout", "self.eval()", "pass"),
        ("mode lost", "self.train(mode)", "self.train(False)"),
        ],
    "test_tensors_are_those_of_the_architecture('encoder')": [
        ("bands not kept", 'self.register_buffer("mean", torch.zeros(mels))', "self.mean = torch.zeros(mels)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [pytest.param(call, old, new, id=name) for call, mutants in MUTANTS.items() for name, old, new in mutants],
)
def test_mutant_dies(call: str, old: str, new: str) -> None:
    with broken(MODEL[0], old, new), pytest.raises((AssertionError, RuntimeError, NativeError)):
        run(MODEL[1], call)


@pytest.mark.parametrize("call", list(MUTANTS))
def test_unbroken_lives(call: str) -> None:
    same = "from __future__ import annotations"
    with broken(MODEL[0], same, same):
        run(MODEL[1], call)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(start + late) // self.spectrum.step", "self.spectrum.steps(start + late)"),
        ("(start + late) // self.spectrum.step", "start // self.spectrum.step"),
        ("self.spectrum.steps(end + late)", "(end + late) // self.spectrum.step"),
        ("self.spectrum.steps(end + late)", "self.spectrum.steps(end)"),
        ("self.spectrum.steps(end + late)", "len(pauses)"),
        ("for row in pauses]", "for row in pauses[::-1]]"),
    ],
)
def test_pauses_kill_batches(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = mutant("ostinato.training.recognising", old, new)
    monkeypatch.setattr(test_models_recogniser, "SpellObjective", spoilt.SpellObjective)
    monkeypatch.setattr(test_models_recogniser, "recordings", lambda: spoilt.Recordings(**vars(recordings())))
    with pytest.raises(AssertionError):
        test_models_recogniser.test_a_batch_is_told_its_pauses()


@pytest.mark.parametrize(
    ("reader", "old", "new"),
    [
        ("encoder", 'frames - self._tensors["input.mean"]', "frames"),
        ("encoder", '* self._tensors["input.scale"]', '/ self._tensors["input.scale"]'),
        ("encoder", "steps.reshape(len(steps), self.model.stack", "steps[::-1].reshape(len(steps), self.model.stack"),
        ("encoder", "np.array([len(steps)])", "np.array([len(steps) - 1])"),
        ("stack", "stack.read(self._standard(steps[t : t + STEPS])", "stack.read((steps[t : t + STEPS])"),
        ("stack", "y, parts = stack.read(", "y, _ = stack.read("),
        ("stack", "State(dict(zip(stack.state_names(), parts", "State(dict(zip(stack.state_names(), stack.zero(1)"),
        ("stack", 'self._tensors["output.bias"]', 'self._tensors["output.bias"][::-1].copy()'),
    ],
)
def test_the_comparison_kills_engines(reader: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = mutant("ostinato.engine.recogniser", old, new)
    monkeypatch.setattr(module, "STEPS", 3)
    with pytest.raises((AssertionError, ValueError)):
        check(module, reader) if reader == "encoder" else check_pieces(module)


def test_the_unbroken_engine_lives() -> None:
    module = mutant("ostinato.engine.recogniser", "import annotations", "import annotations")
    check(module, "encoder")
    check_pieces(module)


def _patched(tests: Any, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that ``tests`` imported from the sound module are those of the broken one."""
    for name in ("LogMel", "mel_filters", "equaliser", "Mixing", "noise", "quantised", "resample"):
        if name in vars(module) and hasattr(tests, name):
            monkeypatch.setattr(tests, name, vars(module)[name])


def steps() -> None:
    test_spectra.test_steps_are_what_the_definition_says(8000, 9, 3, 501)


def waves() -> None:
    test_spectra.test_an_equaliser_is_a_few_waves_over_the_bands()


def pieces() -> None:
    test_spectra.test_pieces_give_the_steps_of_the_whole([37] * 30)


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [
        (steps, "self._hann = np.hanning(self.window + 2)[1:-1]", "self._hann = np.hamming(self.window)"),
        (steps, "spectrum.real**2 + spectrum.imag**2", "abs(spectrum)"),
        (steps, "[:: self.hop]", "[:: self.window]"),
        (steps, "np.log(np.maximum", "np.log10(np.maximum"),
        (steps, "2595.0 * np.log10(1.0 + hertz / 700.0)", "2595.0 * np.log10(1.0 + hertz / 600.0)"),
        (steps, "np.minimum(climbing, falling)", "climbing"),
        (waves, "/ 10.0 / k)", "/ 10.0)"),
        (waves, "math.log(10.0) / 10.0", "math.log(10.0) / 20.0"),
        (waves, "np.linspace(0.0, 1.0, mels)", "np.linspace(0.0, 1.1, mels)"),
        (pieces, "samples[T * self.step :]", "samples[T * self.step + 1 :]"),
        (pieces, "(len(samples) - self.reach) // self.step + 1", "len(samples) // self.step"),
    ],
)
def test_the_definition_kills_spectra(call: Callable[[], None], old: str, new: str, monkeypatch: Any) -> None:
    _patched(test_spectra, mutant("ostinato.data.spectra", old, new), monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        call()


def sine() -> None:
    for rate, wanted in ((16_000, 8_000), (8_000, 16_000), (11_025, 16_000)):
        test_sounds.test_a_sine_is_the_same_sine_at_another_rate(rate, wanted)
    test_sounds.test_what_the_lower_rate_cannot_hold_is_gone(16_000, 8_000)


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [
        (sine, "slow = max(1.0, down / up)", "slow = 1.0"),
        (sine, "behind / up, slow", "0.0, slow"),
        (sine, "divmod(phase * down, up)", "divmod(phase * up, down)"),
        (sine, "(half, half + down + 1)", "(half + 1, half + down)"),
        (sine, "* np.i0(_BETA * inside) / np.i0(_BETA)", ""),
        (sine, "np.arange(-half, half + 1) - behind", "np.arange(-half, half + 1) + behind"),
        (
            test_sounds.test_recordings_are_in_a_string_one_after_the_other,
            "start, end = end + gap, ",
            "start, end = end, ",
        ),
        (test_sounds.test_recordings_are_in_a_string_one_after_the_other, "zip(gaps, parts", "zip(gaps, parts[::-1]"),
        (
            test_sounds.test_recordings_are_in_a_string_one_after_the_other,
            "spans.append((start, end))",
            "spans.append((start - gap, end))",
        ),
        (test_sounds.test_the_longest_string_is_no_longer_than_it_must_be, "self.join * max(", "max("),
        (test_sounds.test_noise_and_speed_are_as_much_as_they_say, "-rng.uniform(*_NOISE)", "rng.uniform(*_NOISE)"),
        (test_sounds.test_noise_and_speed_are_as_much_as_they_say, "rng.random() < self.noise", "True"),
        (test_sounds.test_noise_and_speed_are_as_much_as_they_say, "-most, most + 1", "0, most + 1"),
        (test_sounds.test_each_recording_has_a_loudness_of_its_own, "self.loudness / 4", "self.loudness"),
        (test_sounds.test_each_recording_has_a_loudness_of_its_own, "decibels / 20.0", "decibels / 10.0"),
        (test_sounds.test_sixteen_bits_hold_what_fits, "np.rint(samples", "np.floor(samples"),
        (test_sounds.test_noise_has_the_mean_square_of_one, "[:samples]", ""),
    ],
)
def test_sines_and_strings_kill_sounds(call: Callable[[], None], old: str, new: str, monkeypatch: Any) -> None:
    _patched(test_sounds, mutant("ostinato.data.sounds", old, new), monkeypatch)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        call()
