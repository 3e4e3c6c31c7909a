"""The plan for a composer: every choice has a reason, what is given wins, and only minutes look at the clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ostinato.architectures import ComposerConfig
from ostinato.config import ModelConfig
from ostinato.errors import ConfigError
from ostinato.training.plan_music import EPOCHS, USUAL, WIDTHS, MusicSize, plan, seconds_a_step

SIZE = MusicSize(pieces=1000, steps=100_000, longest=300, notes=400_000)


def made(size: MusicSize = SIZE, speed: float = 1e-9, **given: Any):
    """A plan on a machine that takes ``speed`` seconds for each weight of the width, squared."""
    return plan(size, given, lambda model, *_: speed * sum(model.layers.hidden) ** 2 * 1000)


@pytest.mark.parametrize("budget", [{"minutes": 1.0}, {"epochs": 3.0}, {"steps": 10}])
def test_every_choice_has_a_reason_and_no_given_one(budget: dict[str, Any]) -> None:
    given = {"lr": 0.5, "hidden": (24, 20), "melody": "whole", "transpose": 0, "beats": 0.25, **budget}
    found = made(**given)
    assert found.model.layers.hidden == (24, 20)
    assert found.model.melody == "whole"
    assert found.model.beats == 0.25
    assert found.training.lr == 0.5
    chosen = {"batch", "bptt", "threads", "cell", "embed", "output", "chain", "dropout", "evaluations", "average"}
    assert chosen <= found.reasons.keys()
    assert not {"lr", "hidden", "melody", "transpose", "beats"} & found.reasons.keys()
    assert {**found.values, **given} == dict(found.values)


@pytest.mark.parametrize("output", ["chain", "bernoulli"])
def test_a_saved_plan_gives_the_same_plan_again(output: str) -> None:
    first = made(minutes=2.0, layers=2, output=output)
    again = plan(SIZE, dict(first.values), lambda *_: pytest.fail("it was measured again"))
    assert (again.model, again.regularisers, again.training) == (first.model, first.regularisers, first.training)


def test_more_time_never_gives_a_smaller_model() -> None:
    widths = [made(minutes=minutes).model.layers.hidden[0] for minutes in (0.02, 0.3, 1.0, 5.0, 60.0, 600.0)]
    assert widths == sorted(widths)
    assert widths[0] == WIDTHS[0]
    assert widths[-1] == WIDTHS[-1]


def test_few_pieces_are_not_learned_by_heart() -> None:
    counts = (500, 5_000, 50_000, 500_000)
    widths = [made(MusicSize(100, notes // 4, 60, notes), minutes=900.0).model.layers.hidden[0] for notes in counts]
    assert widths == sorted(widths)
    assert widths[0] == WIDTHS[0]
    assert widths[1] < widths[2] < widths[3]


def test_a_run_in_epochs_does_not_look_at_the_clock() -> None:
    found = plan(SIZE, {"epochs": 100.0}, lambda *_: pytest.fail("it was measured"))
    assert found.model.layers.hidden == (USUAL,)
    assert found.model.output == "chain"
    assert found.regularisers.dropout_output == 0.4
    assert plan(SIZE, {"epochs": 2.0}).regularisers.dropout_output == 0.1


def test_a_model_that_gets_through_the_pieces_is_preferred() -> None:
    found = made(minutes=0.3)
    epochs = 60 * 0.3 * 0.9 / (63 * 1e-6 * found.model.layers.hidden[0] ** 2)
    assert epochs >= EPOCHS
    wider = WIDTHS[WIDTHS.index(found.model.layers.hidden[0]) + 1]
    assert 60 * 0.3 * 0.9 / (63 * 1e-6 * wider**2) < EPOCHS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"level": "word"}, "level is for texts; leave it out"),
        ({"min_count": 2}, "min_count is for texts"),
        ({"tied": True}, "tied is True, which --task music does not have"),
        ({"bidirectional": True}, "bidirectional is True, which --task music does not have"),
        ({"sampled_softmax": 4}, "sampled_softmax is 4, which --task music"),
        ({"output": "bernoulli", "chain": 5}, "chain is for --output chain; leave it out"),
    ],
)
def test_what_is_for_other_tasks_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(steps=5, **given)


def test_a_step_is_measured_without_a_trace() -> None:
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    model = ComposerConfig(ModelConfig(88, 8, (8,)))
    assert seconds_a_step(model, 2, 20, 1) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random)
