"""The plan for a captioner: every choice has a reason, what is given wins, and only minutes look at the clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ostinato.architectures import CaptionerConfig
from ostinato.errors import ConfigError
from ostinato.training.caption_plan import EPOCHS, WIDTHS, CaptionsSize, convolutions, plan, seconds_a_step

SIZE = CaptionsSize(captions=5000, longest=40, vocab=80, tokens=150_000)
DATA = {"image_size": 32, "attention": "additive", "blind": False, "words_first": 0.0}


def made(size: CaptionsSize = SIZE, speed: float = 1e-9, **given: Any):
    """A plan on a machine that takes ``speed`` seconds for each weight of the decoder's width, squared."""
    return plan(size, {**DATA, **given}, lambda model, *_: speed * sum(model.decoder.hidden) ** 2 * 1000)


@pytest.mark.parametrize("budget", [{"minutes": 1.0}, {"epochs": 3.0}, {"steps": 10}])
def test_every_choice_has_a_reason_and_no_given_one(budget: dict[str, Any]) -> None:
    given = {"lr": 0.5, "hidden": (24, 20), "attention": "none", "tied": False, **budget}
    found = made(**given)
    assert found.model.decoder.hidden == (24, 20)
    assert found.model.attention == "none"
    assert found.training.lr == 0.5
    chosen = {"batch", "bptt", "threads", "cell", "embed", "channels", "dropout", "evaluations"}
    assert chosen <= found.reasons.keys()
    assert not {"lr", "hidden", "attention", "tied"} & found.reasons.keys()
    assert {**found.values, **given} == dict(found.values)


def test_a_saved_plan_gives_the_same_plan_again() -> None:
    first = made(minutes=2.0, layers=2)
    again = plan(SIZE, dict(first.values), lambda *_: pytest.fail("it was measured again"))
    assert (again.model, again.regularisers, again.training) == (first.model, first.regularisers, first.training)


def test_more_time_never_gives_a_smaller_model() -> None:
    widths = [made(minutes=minutes).model.decoder.hidden[0] for minutes in (0.05, 0.3, 1.0, 5.0, 60.0, 600.0)]
    assert widths == sorted(widths)
    assert widths[0] == WIDTHS[0]
    assert widths[-1] == WIDTHS[-1]


def test_few_captions_are_not_learned_by_heart() -> None:
    widths = [
        made(CaptionsSize(500, 40, 80, tokens), minutes=60.0).model.decoder.hidden[0]
        for tokens in (2_000, 9_000, 30_000, 100_000)
    ]
    assert widths == [96, 128, 256, 384]


def test_the_widest_that_gets_through_the_captions_often_enough() -> None:
    found = made(minutes=1.0)
    width = found.model.decoder.hidden[0]
    steps = -(-SIZE.captions // found.training.batch)
    epochs = [54.0 / (steps * 1e-6 * wide**2) for wide in WIDTHS]
    assert width == max(wide for wide, times in zip(WIDTHS, epochs, strict=True) if times >= EPOCHS)


def test_a_budget_in_steps_or_epochs_does_not_depend_on_the_machine() -> None:
    for budget in ({"steps": 50}, {"epochs": 4.0}):
        first = plan(SIZE, {**DATA, **budget}, lambda *_: pytest.fail("it was measured"))
        assert isinstance(first.model, CaptionerConfig)


def test_what_is_read_often_gets_more_dropout() -> None:
    strengths = [made(epochs=epochs).regularisers.dropout_hidden for epochs in (1.0, 4.0, 16.0, 1000.0)]
    assert strengths[0] == 0.0
    assert strengths == sorted(strengths)
    assert strengths[-1] <= 0.6


@pytest.mark.parametrize(("size", "side"), [(8, 4), (16, 4), (24, 3), (32, 4), (64, 4), (100, 7), (128, 8)])
def test_convolutions_bring_images_near_four_by_four(size: int, side: int) -> None:
    channels, strides = convolutions(64, size)
    assert channels == (16, 32, 64, 64)
    model = CaptionerConfig(made(epochs=1.0).model.decoder, channels, strides, size)
    assert model.side == side


def test_what_captions_do_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"temporal_penalty is 0\.5, which --task caption does not have"):
        made(epochs=1.0, temporal_penalty=0.5)
    with pytest.raises(ConfigError, match="bptt is 39, but a caption has 40 tokens"):
        made(epochs=1.0, bptt=39)
    assert made(epochs=1.0, bptt=40).training.bptt == 40


def test_the_probe_leaves_no_trace() -> None:
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    model = made(epochs=1.0, hidden=(16,)).model
    assert 0.0 < seconds_a_step(model, 4, 6, 1) < 5.0
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
