"""The composer that was trained and the engine that runs it without torch say the same, and draw what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from composing import draw_roll, small
from modelling import PLAIN, randomise

from ostinato.config import CELLS
from ostinato.data.rolls import KEYS, SILENT, melody_of
from ostinato.engine import composer
from ostinato.errors import ConfigError
from ostinato.models.composer import RecurrentComposer

CASES = [
    *({"layers": {"cell": cell}} for cell in CELLS),
    {"output": "bernoulli"},
    {"melody": "past"},
    {"melody": "whole"},
    {"melody": "whole", "output": "bernoulli"},
    {"melody": "whole", "layers": {"hidden": (6, 6, 7), "residual": True, "layer_norm": True, "zoneout": 0.2}},
    {"melody": "whole", "layers": {"skip_output": True}},
]


def pair(module, case):
    model = randomise(RecurrentComposer(small(**case), PLAIN)).eval()
    return model, module.ComposerEngine(model.config, {name: x.numpy() for name, x in model.state_dict().items()})


def pieces(steps=9):
    """Three pieces of one length, ``(T, B, K)``."""
    return np.stack([draw_roll(steps, seed) for seed in range(3)], axis=1)


def check(module, case) -> None:
    model, engine = pair(module, case)
    roll = pieces()
    keys = torch.from_numpy(np.concatenate([np.zeros_like(roll[:1]), roll]))
    expected = model.nats(keys, torch.full((3,), 9)).detach().numpy().reshape(9, 3)
    each, last = engine.nats(roll, engine.start(3))
    # Float32 rounding of sums over 88 keys, after some ten steps of two or three layers.
    np.testing.assert_allclose(each, expected, rtol=2e-4)
    for name, array in engine.hear(roll, engine.start(3)).arrays.items():
        np.testing.assert_allclose(array, last.arrays[name], atol=1e-6, err_msg=name)
    if model.config.melody != "whole":
        check_pieces_by_piece(engine, roll, each, last)


def check_pieces_by_piece(engine, roll, each, last) -> None:
    """A run in parts is the whole run; a row of a batch is that row alone."""
    first, state = engine.nats(roll[:4], engine.start(3))
    second, state = engine.nats(roll[4:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), each, rtol=1e-5)
    for name, array in state.arrays.items():
        np.testing.assert_allclose(array, last.arrays[name], atol=1e-5, err_msg=name)
    alone, _ = engine.nats(roll[:, 1:2], engine.start())
    np.testing.assert_allclose(alone[:, 0], each[:, 1], rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_engine_says_what_the_model_says(case):
    check(composer, case)


def test_blocks_of_a_long_piece_are_the_whole(monkeypatch):
    expected = [pair(composer, case)[1].nats(pieces(), pair(composer, case)[1].start(3))[0] for case in CASES[-4:]]
    monkeypatch.setattr(composer, "STEPS", 4)
    for case, whole in zip(CASES[-4:], expected, strict=True):
        engine = pair(composer, case)[1]
        np.testing.assert_allclose(engine.nats(pieces(), engine.start(3))[0], whole, rtol=1e-5)


FOUR = [20, 40, 41, 60]
"""The only keys that may sound in what follows, so that all patterns can be counted."""


def few_keys(module, case):
    """An engine in which only FOUR sound."""
    model = randomise(RecurrentComposer(small(**case), PLAIN)).eval()
    tensors = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    others = [key for key in range(KEYS) if key not in FOUR]
    tensors["output.bias"][others] -= 60.0
    tensors["output.bias"][FOUR] += 1.0
    return module.ComposerEngine(model.config, tensors)


def drawn(module, case, temperature=1.0, draws=6000):
    """How often each pattern of FOUR comes, and how often it should, after two steps; below key 60 where given one."""
    engine = few_keys(module, case)
    state = engine.hear(pieces(2)[:, :1], engine.start()).rows([0] * draws)
    melody = None if engine.model.melody == "none" else np.full((1, draws), 60)
    uniforms = np.random.default_rng(3).random((1, draws, KEYS))
    roll, _ = engine.compose(uniforms, state, temperature, melody)
    assert not np.delete(roll[0], FOUR, axis=1).any()
    patterns = [p for p in itertools.product([False, True], repeat=4) if melody is None or p[3]]
    counts, expected = [], []
    for pattern in patterns:
        given = np.zeros((1, 1, KEYS), bool)
        given[0, 0, FOUR] = pattern
        counts.append((roll[0][:, FOUR] == pattern).all(axis=1).sum())
        expected.append(draws * np.exp(-engine.nats(given, state.rows([0]))[0][0, 0]))
    return np.array(counts), np.array(expected)


def check_draws(module, case) -> None:
    """Chi-square over the patterns of four keys. The seed is fixed; of other seeds one in 10,000 would fail."""
    counts, expected = drawn(module, case)
    assert expected.sum() == pytest.approx(counts.sum(), rel=1e-4)
    usual = expected >= 5
    chi = ((counts - expected)[usual] ** 2 / expected[usual]).sum()
    assert chi < {4: 21.1, 8: 29.9, 16: 44.3}[1 << (len(counts) - 1).bit_length()], (counts, expected)
    assert (counts > 100).sum() >= 3


@pytest.mark.parametrize("case", [{}, {"output": "bernoulli"}, {"melody": "past"}, {"melody": "whole"}], ids=str)
def test_what_is_drawn_is_what_is_scored(case):
    check_draws(composer, case)


def test_temperature_divides_the_logits():
    """Of keys that do not know of each other: log-odds at temperature 2 are half of those at 1."""
    ones, _ = drawn(composer, {"output": "bernoulli"}, draws=40_000)
    twos, _ = drawn(composer, {"output": "bernoulli"}, 2.0, 40_000)
    patterns = np.array(list(itertools.product([False, True], repeat=4)))
    for key in range(4):
        odds = [np.log(counts[patterns[:, key]].sum() / counts[~patterns[:, key]].sum()) for counts in (ones, twos)]
        assert odds[1] == pytest.approx(odds[0] / 2, abs=0.05)


def test_at_temperature_nought_the_likelier_way_is_taken():
    engine = few_keys(composer, {})
    rolls = [
        engine.compose(np.random.default_rng(seed).random((6, 2, KEYS)), engine.start(2), 0.0)[0] for seed in (1, 2)
    ]
    assert np.array_equal(*rolls)
    _, expected = drawn(composer, {"output": "bernoulli"})
    counts, _ = drawn(composer, {"output": "bernoulli"}, 0.0)
    assert counts.max() == counts.sum()
    assert counts.argmax() == expected.argmax()


@pytest.mark.parametrize("melody", ["none", "past"])
def test_composing_in_parts_is_composing_the_whole(melody):
    engine = few_keys(composer, {"melody": melody})
    uniforms = np.random.default_rng(0).random((8, 2, KEYS))
    given = None if melody == "none" else np.random.default_rng(1).choice([SILENT, 40, 60], (8, 2))
    whole, last = engine.compose(uniforms, engine.start(2), 1.0, given)
    first, state = engine.compose(uniforms[:3], engine.start(2), 1.0, None if given is None else given[:3])
    second, state = engine.compose(uniforms[3:], state, 1.0, None if given is None else given[3:])
    assert np.array_equal(np.concatenate([first, second]), whole)
    assert len(np.unique(whole.reshape(16, -1), axis=0)) > 2
    assert state == last
    heard = engine.hear(whole, engine.start(2))
    for name, array in heard.arrays.items():
        np.testing.assert_allclose(array, last.arrays[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("output", ["chain", "bernoulli"])
def test_a_melody_stays_on_top(output):
    engine = few_keys(composer, {"melody": "whole", "output": output})
    melody = np.array([[60, 41], [SILENT, 87], [20, 0], [40, SILENT]])
    roll, _ = engine.compose(np.random.default_rng(0).random((4, 2, KEYS)), engine.start(2), 3.0, melody)
    assert np.array_equal(melody_of(roll), melody)
    assert roll.sum() > 7


def test_a_key_does_not_know_of_those_below():
    """The number that decides a key is its own: changing that of the lowest changes nothing else in the step."""
    engine = few_keys(composer, {})
    uniforms = np.random.default_rng(0).random((1, 500, KEYS))
    other = uniforms.copy()
    other[:, :, FOUR[0]] = 1 - other[:, :, FOUR[0]]
    first, second = (engine.compose(u, engine.start(500))[0][0] for u in (uniforms, other))
    assert not np.array_equal(first, second)
    assert np.array_equal(first[:, FOUR[0] + 1 :], second[:, FOUR[0] + 1 :])


def test_what_does_not_fit_is_refused():
    _, engine = pair(composer, {})
    with pytest.raises(ConfigError, match="the state is of 2 pieces; expected one for each of 3"):
        engine.nats(pieces(), engine.start(2))
    with pytest.raises(ConfigError, match="trained with melody none: it takes no melody"):
        engine.compose(np.zeros((1, 1, KEYS)), engine.start(), 1.0, np.zeros((1, 1), np.int64))
    _, engine = pair(composer, {"melody": "past"})
    with pytest.raises(ConfigError, match="trained with melody past: it takes a melody"):
        engine.compose(np.zeros((1, 1, KEYS)), engine.start())
    assert engine.hear(pieces()[:0], engine.start(3)) == engine.start(3)
    each, _ = engine.nats(pieces()[:0], engine.start(3))
    assert each.shape == (0, 3)
