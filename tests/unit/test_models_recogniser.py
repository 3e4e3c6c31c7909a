"""What a recogniser learns from: the loss against all paths written out, rows by themselves, standard bands."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from modelling import EVERYTHING, PLAIN, close, draw, randomise
from modelling import small as layers
from speech import RATE, recordings, small

from ostinato.architectures.recogniser import RecogniserConfig, recogniser_tensors
from ostinato.data.lanes import Place
from ostinato.data.sounds import FULL, Mixing
from ostinato.errors import ConfigError
from ostinato.models.recogniser import RecurrentRecogniser
from ostinato.training.recognising import HeldOutRecordings, SpellObjective, needed_steps

SPACE, BLANK = 4, 5
READERS = ("encoder", "stack")
NEVER = torch.zeros(9, 9, dtype=torch.bool)
"""No pause."""


def make(reader: str = "encoder", regularisers=PLAIN, **changes) -> RecurrentRecogniser:
    model = randomise(RecurrentRecogniser(small(reader, **changes), regularisers, BLANK))
    model.input.mean.copy_(draw(9, seed=11))
    model.input.scale.copy_(draw(9, seed=12).exp())
    return model


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != BLANK)


def brute(logprobs: np.ndarray, text: tuple[int, ...], pauses: np.ndarray | None = None) -> float:
    """``-log p(text)``: the sum over every path there is that says no letter in a pause."""
    total = 0.0
    for path in itertools.product(range(6), repeat=len(logprobs)):
        said = [label for t, label in enumerate(path) if pauses is not None and pauses[t]]
        if collapse(path) == text and set(said) <= {SPACE, BLANK}:
            total += math.exp(sum(logprobs[t, label] for t, label in enumerate(path)))
    return -math.log(total)


@pytest.mark.parametrize("reader", READERS)
def test_the_loss_is_the_sum_over_all_paths(reader: str) -> None:
    model = make(reader).eval()
    steps, lengths = draw(5, 4, 27), torch.tensor([5, 3, 4, 2])
    texts = [(1, 1, 3), (2,), (), (0, 4)]
    flat, spelled = torch.tensor([label for text in texts for label in text]), torch.tensor([len(t) for t in texts])
    logprobs = model(steps, lengths).detach().double().numpy()
    np.testing.assert_allclose(np.exp(logprobs).sum(-1), 1.0, atol=1e-5)
    nats = model.nats(steps, lengths, flat, spelled).numpy()
    for b, text in enumerate(texts):
        assert nats[b] == pytest.approx(brute(logprobs[: lengths[b], b], text), rel=1e-4)
    assert model.loss(steps, lengths, flat, spelled, NEVER[:5, :4], SPACE).item() == pytest.approx(nats.sum(), rel=1e-5)


@pytest.mark.parametrize("reader", READERS)
def test_in_training_no_letter_is_said_in_a_pause(reader: str) -> None:
    model = make(reader).eval()
    steps, lengths = draw(5, 4, 27), torch.tensor([5, 4, 5, 3])
    pauses = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    texts = [(1, 1, 3), (2, 1), (3, SPACE, 1), ()]
    flat, spelled = torch.tensor([label for text in texts for label in text]), torch.tensor([len(t) for t in texts])
    logprobs = model(steps, lengths).detach().double().numpy()
    rows = [(logprobs[: lengths[b], b], text, pauses[: lengths[b], b].numpy()) for b, text in enumerate(texts)]
    loss = model.loss(steps, lengths, flat, spelled, pauses, SPACE)
    assert loss.item() == pytest.approx(sum(brute(*row) for row in rows), rel=1e-5)
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    nats = model.nats(steps, lengths, flat, spelled)  # of a sound whose pauses nobody knows
    assert nats.sum().item() == pytest.approx(sum(brute(*row[:2]) for row in rows), rel=1e-5)


def test_a_text_that_does_not_fit_is_impossible() -> None:
    model = make().eval()
    text = torch.tensor([1, 1, 2])
    assert needed_steps(text.numpy()) == 4
    for steps, finite in ((4, True), (3, False)):
        nats = model.nats(draw(steps, 1, 27), torch.tensor([steps]), text, torch.tensor([3]))
        assert bool(torch.isfinite(nats).all()) is finite


@pytest.mark.parametrize("reader", READERS)
def test_a_row_does_not_depend_on_others_nor_on_what_follows_its_end(reader: str) -> None:
    model = make(reader, layer_norm=True, residual=True).eval()
    steps, lengths = draw(7, 3, 27), torch.tensor([7, 1, 4])
    together = model(steps, lengths)
    for b, length in enumerate(lengths.tolist()):
        close(model(steps[:length, b : b + 1], torch.tensor([length]))[:, 0], together[:length, b])
    steps[4:, 2] = 9.0
    close(model(steps, lengths)[:4, 2], together[:4, 2])


def test_what_is_to_come_counts_in_both_directions_only() -> None:
    for reader, seen in (("encoder", True), ("stack", False)):
        model = make(reader).eval()
        steps = draw(6, 1, 27)
        before = model(steps, torch.tensor([6]))
        steps[5] += 1.0
        after = model(steps, torch.tensor([6]))
        assert (not torch.equal(before[:5], after[:5])) is seen
        assert not torch.equal(before[5], after[5])


def test_bands_are_made_standard_frame_by_frame() -> None:
    model = make()
    steps = draw(4, 2, 27)
    expected = np.empty((4, 2, 27), np.float32)
    for frame in range(3):
        for band in range(9):
            at = frame * 9 + band
            expected[:, :, at] = (steps[:, :, at] - model.input.mean[band]) * model.input.scale[band]
    close(model.input(steps), torch.from_numpy(expected))


def test_evaluation_drops_nothing_and_training_does() -> None:
    model = make(regularisers=EVERYTHING).train()
    arguments = draw(6, 2, 27), torch.tensor([6, 5]), torch.tensor([1, 2, 3]), torch.tensor([2, 1])
    first, second = model.nats(*arguments), model.nats(*arguments)
    assert torch.equal(first, second)
    assert model.training
    pauses = NEVER[:6, :2], SPACE
    assert model.loss(*arguments, *pauses).item() != model.loss(*arguments, *pauses).item()


def test_every_parameter_gets_a_gradient_and_the_bands_none() -> None:
    for reader in READERS:
        model = make(reader)
        texts, spelled = torch.tensor([1, 2, 3]), torch.tensor([2, 1])
        model.loss(draw(6, 2, 27), torch.tensor([6, 5]), texts, spelled, NEVER[:6, :2], SPACE).backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
        assert {"input.mean", "input.scale"} == set(dict(model.named_buffers()))


@pytest.mark.parametrize("reader", READERS)
def test_tensors_are_those_of_the_architecture(reader: str) -> None:
    model = make(reader, layer_norm=True)
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert found == recogniser_tensors(model.config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed": 26}, "a step is 26 wide; expected mels times stack, 27"),
        ({"bidirectional": True}, "take no bidirectional of their own"),
        ({"hidden": (5, 27), "tied": True}, "take no tied of their own"),
    ],
)
def test_a_description_that_cannot_be(changes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)
    with pytest.raises(ConfigError, match="mels is 7; expected a whole number from 8 to 80"):
        RecogniserConfig(layers(embed=7), mels=7, stack=1)
    with pytest.raises(ConfigError, match="reader is 'both'"):
        small("both")


def test_descriptions_go_through_json() -> None:
    for reader in READERS:
        model = small(reader, cell="peephole", residual=True)
        assert RecogniserConfig.from_json(model.to_json()) == model
    assert small().describe() == "encoder lstm 5, 7, 9 mel bands, 3 frames a step, 8000 Hz"
    assert (small().memory, small("stack").memory) == (14, 7)
    assert (small().streams, small("stack").streams) == (False, True)


# Batches


def test_texts_of_joined_recordings_have_a_space_between() -> None:
    data = recordings()
    one, two = (data.text([index]) for index in (0, 1))
    np.testing.assert_array_equal(data.text([0, 1, 0]), [*one, 4, *two, 4, *one])
    assert data.chars == sum(len(data.text([index])) for index in range(len(data)))
    samples = data.plain(1)
    assert 0.05 < np.abs(samples).max() < 0.6
    assert data.seconds == pytest.approx(sum(len(data.plain(k)) for k in range(len(data))) / RATE)


def test_standard_bands_have_mean_zero_and_deviation_one() -> None:
    data = recordings()
    mean, scale = data.standard()
    frames = np.concatenate([data.spectrum.whole(data.plain(k)).reshape(-1, 9) for k in range(len(data))])
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-4)
    np.testing.assert_allclose(scale, 1 / frames.std(0), rtol=1e-3)


def test_an_epoch_begins_a_string_with_every_recording_once() -> None:
    data, model, seen = recordings(7), make(), []
    objective = SpellObjective(model, data, 3, Mixing(join=3), seed=4)

    class Watch(Mixing):
        def mix(self, parts, rate, rng):
            seen.append([next(k for k in range(7) if np.array_equal(part, _sound(data, k))) for part in parts])
            return super().mix(parts, rate, rng)

    objective._mixing = Watch(join=3)
    place = Place()
    for _ in range(objective.steps):
        loss = objective.loss(place, ())
        assert loss.tokens > 0
        assert torch.isfinite(loss.nats)
        place = objective.after(place)
    assert place.epoch == 1
    assert sorted(string[0] for string in seen) == list(range(7))
    assert {len(string) for string in seen} <= {1, 2, 3}


def test_a_batch_is_told_its_pauses() -> None:
    """A step has 240 samples; letters may be said from 400 samples after a sound begins to 400 after it ends."""
    data, model = recordings(), make("stack").eval()
    gaps = iter([480, 719, 2000])

    class Slow(Mixing):
        def mix(self, parts, rate, rng):
            (part,), gap = parts, next(gaps)
            sound = np.concatenate(
                [np.zeros(gap, np.float32), part.astype(np.float32) / FULL, np.zeros(1111, np.float32)]
            )
            return sound, [(gap, gap + len(part))]

    objective = SpellObjective(model, data, 3, Slow(), seed=4)
    some, expected = objective._buckets.indices(Place()).tolist(), 0.0
    for k, gap, first in zip(some, (480, 719, 2000), (3, 4, 10), strict=True):
        sound = np.concatenate([np.zeros(gap, np.float32), data.plain(k), np.zeros(1111, np.float32)])
        steps, text = torch.from_numpy(data.spectrum.whole(sound))[:, None], torch.from_numpy(data.text([k]))
        pauses = torch.ones(len(steps), 1, dtype=torch.bool)
        pauses[first : math.ceil((gap + len(data.plain(k)) + 400) / 240)] = False
        assert 2 < pauses[first:].sum() < 5
        sizes = torch.tensor([len(steps)]), text, torch.tensor([len(text)])
        expected += model.loss(steps, *sizes, pauses, SPACE).item()
    assert objective.loss(Place(), ()).nats.item() == pytest.approx(expected, rel=1e-5)


def test_a_string_is_heard_through_one_filter() -> None:
    data = recordings()
    plain, text, pauses = data.joined([1, 2], Mixing(join=2), np.random.default_rng(3))
    filtered, same, as_long = data.joined([1, 2], Mixing(join=2, eq=6.0), np.random.default_rng(3))
    np.testing.assert_array_equal(text, same)
    np.testing.assert_array_equal(pauses, as_long)
    gains = (filtered - plain).reshape(-1, 9)
    assert np.ptp(gains, axis=0).max() < 1e-5  # the same in all frames
    assert gains[0].std() > 0.2
    waves = np.cos(np.pi * np.outer(np.arange(1, 5), np.arange(9) / 8))
    assert np.linalg.lstsq(waves.T, gains[0], rcond=None)[1] < 1e-9


def _sound(data, k: int) -> np.ndarray:
    start, end = data.sounds.bounds[k]
    return data.sounds.ids[start:end]


def test_a_step_depends_on_its_place_and_the_seed_alone() -> None:
    data, model = recordings(), make()

    def nats(seed: int, window: int) -> float:
        objective = SpellObjective(model.eval(), data, 2, Mixing(3, 0.2, 0.5, 0.1), seed)
        return objective.loss(Place(0, window), ()).nats.item()

    assert nats(0, 1) == nats(0, 1)
    assert len({nats(0, 0), nats(0, 1), nats(1, 0)}) == 3


def test_held_out_nats_are_those_of_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = recordings(), make().eval()
    total = 0.0
    for k in range(len(data)):
        steps = torch.from_numpy(data.spectrum.whole(data.plain(k)))[:, None]
        text = torch.from_numpy(data.text([k]))
        total += model.nats(steps, torch.tensor([len(steps)]), text, torch.tensor([len(text)])).item()
    monkeypatch.setattr("ostinato.training.recognising._STEPS", 40)
    held_out = HeldOutRecordings(data)
    measured = held_out.measure(model)
    assert measured["nats"] == pytest.approx(total / data.chars, rel=1e-5)
    assert measured["bits_per_char"] == pytest.approx(measured["nats"] / math.log(2))
    assert held_out.size == data.chars
    assert held_out.seconds(model) > 0
    some = held_out.first(int(data.texts.lengths[:2].sum()))
    assert len(some.data) == 2
    assert len(held_out.first(0).data) == 1
