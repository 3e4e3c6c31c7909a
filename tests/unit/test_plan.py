from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from ostinato.config import CELLS, ModelConfig, Regularisers
from ostinato.errors import ConfigError
from ostinato.models.build import build
from ostinato.pipeline.settings import gather, known_settings, to_toml
from ostinato.training import probe as probing
from ostinato.training.plan import Plan, TextSize, plan
from ostinato.training.probe import Speed, most_scored, operations_per_token, probe, weights

CHARS = TextSize(1_000_000, 65)
WORDS = TextSize(900_000, 10_000)
SHORT = TextSize(2_000, 40)
TEXTS = [CHARS, WORDS, SHORT, TextSize(50, 256), TextSize(100_000_000, 8192)]


def at(operations: float = 4e10) -> Any:
    """A machine of that many operations a second."""
    return lambda model, batch, bptt, threads, drawn: Speed(operations, threads or 2, "as measured")


def make(text: TextSize = CHARS, speed: float = 4e10, **given: Any) -> Plan:
    if not {"minutes", "epochs", "steps"} & given.keys():
        given["minutes"] = 5.0
    return plan(text, given, at(speed))


def size(found: Plan) -> int:
    return weights(found.model)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("budget", [{"minutes": 1.0}, {"minutes": 600.0}, {"epochs": 3.0}, {"steps": 40}])
def test_every_text_and_budget_gets_a_plan(text: TextSize, budget: dict[str, Any]) -> None:
    found = make(text, **budget)
    assert found.model.vocab == text.vocab
    assert {name: getattr(found.training, name) for name in budget} == budget
    assert found.training.batch * 2 <= text.tokens
    assert found.training.bptt >= 1


@pytest.mark.parametrize("text", TEXTS)
def test_every_chosen_value_has_a_reason_and_no_given_one(text: TextSize) -> None:
    given = {"cell": "gru", "batch": 4, "minutes": 2.0, "clip": 0.5}
    found = make(text, **given)
    assert found.values.keys() - given.keys() == found.reasons.keys()
    assert all(reason.strip() and "\n" not in reason for reason in found.reasons.values())
    assert {"hidden", "embed", "lr", "bptt", "dropout", "tied", "layers", "evaluations"} <= found.reasons.keys()


WISHES: list[dict[str, Any]] = [
    {"hidden": (48,)},
    {"hidden": (48, 32, 16)},
    {"hidden": (48,), "layers": 3},
    {"layers": 4},
    {"embed": 24},
    {"tied": True},
    {"tied": True, "embed": 24},
    {"tied": True, "embed": 24, "bidirectional": True},
    {"tied": False, "embed": 24, "hidden": (40,)},
    {"cell": "peephole", "layers": 2},
    {"cell": "rnn", "activation": "relu"},
    {"bidirectional": True},
    {"skip_output": True, "layers": 2},
    {"residual": True, "layer_norm": True, "zoneout": 0.1},
    {"batch": 3, "bptt": 7, "lr": 0.125, "evaluations": 3},
    {"optimiser": "sgd", "schedule": "constant", "warmup": 0.0, "average": 0.5},
    {"dropout": 0.0},
    {"dropout_input": 0.4, "locked": True, "weight_drop": 0.25, "weight_decay": 0.0},
    {"sampled_softmax": 39},
    {"clip": 0.0, "clip_value": 2.0, "patience": 4, "seed": 9, "checkpoint_seconds": 1.0},
]


@pytest.mark.parametrize("text", [CHARS, WORDS, SHORT])
@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: "-".join(wish))
def test_what_the_user_sets_always_wins(text: TextSize, wish: dict[str, Any]) -> None:
    found = make(text, **wish)
    for name, value in wish.items():
        for part in (found.model, found.regularisers, found.training):
            if hasattr(part, name) and name != "hidden":
                assert getattr(part, name) == value, name
    if "hidden" in wish:
        assert found.model.hidden == wish["hidden"] * (1 if len(wish["hidden"]) > 1 else wish.get("layers") or
                                                       len(found.model.hidden))  # fmt: skip
    if "layers" in wish:
        assert len(found.model.hidden) == wish["layers"]
    if "dropout" in wish:
        assert found.regularisers.dropout_hidden == wish["dropout"]


@pytest.mark.parametrize("text", [CHARS, WORDS, SHORT])
@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: "-".join(wish))
def test_a_saved_plan_gives_the_same_plan_again(text: TextSize, wish: dict[str, Any], tmp_path: Any) -> None:
    first = make(text, **wish)
    file = tmp_path / "run.toml"
    file.write_text(to_toml({"minutes": 5.0, **first.values}, first.reasons))
    again = plan(text, gather({}, {}, file), at(1e8))  # on a slow machine
    assert (again.model, again.regularisers, again.training) == (first.model, first.regularisers, first.training)
    assert again.values.keys() <= known_settings().keys()


@pytest.mark.parametrize("text", [CHARS, WORDS, SHORT])
@pytest.mark.parametrize("wish", [{}, {"cell": "peephole"}, {"layers": 3}, {"bidirectional": True}])
def test_more_time_or_a_faster_machine_never_gives_a_smaller_model(text: TextSize, wish: dict[str, Any]) -> None:
    by_time = [size(make(text, minutes=minutes, **wish)) for minutes in (0.1, 0.5, 1, 2, 3, 5, 10, 20, 60, 600)]
    assert by_time == sorted(by_time)
    by_speed = [size(make(text, speed=speed, **wish)) for speed in (1e8, 1e9, 1e10, 5e10, 2e11, 1e13)]
    assert by_speed == sorted(by_speed)


def test_more_time_gives_a_larger_model_until_the_text_is_too_short_for_it() -> None:
    assert size(make(CHARS, minutes=0.1)) < size(make(CHARS, minutes=600))
    assert size(make(SHORT, minutes=600)) < size(make(CHARS, minutes=600))


def test_what_is_read_often_gets_more_dropout() -> None:
    once = make(TextSize(100_000_000, 65), minutes=1.0)
    often = make(TextSize(100_000, 65), minutes=60.0)
    assert once.regularisers.dropout_hidden == 0.0 < often.regularisers.dropout_hidden
    assert make(CHARS, epochs=40.0).regularisers.dropout_hidden > make(CHARS, epochs=1.0).regularisers.dropout_hidden


def test_a_large_vocabulary_is_tied_unless_that_cannot_be() -> None:
    assert make(WORDS).model.tied
    assert not make(CHARS).model.tied
    for wish in (
        {"skip_output": True},
        {"hidden": (64, 32)},
        {"embed": 16},
        {"hidden": (64,), "embed": 64, "bidirectional": True},
    ):
        assert not make(WORDS, **wish).model.tied, wish


def test_the_weights_are_counted_as_the_model_has_them() -> None:
    for cell, tied, both in itertools.product(CELLS, (False, True), (False, True)):
        model = ModelConfig(vocab=11, embed=14 if both else 7, hidden=(5, 7), cell=cell, bidirectional=both, tied=tied)
        if cell == "peephole_diagonal":
            continue  # its peepholes are vectors, left out like biases
        matrices = sum(p.numel() for p in build(model, Regularisers()).parameters() if p.ndim == 2)
        assert weights(model) == matrices, model


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("threads", [None, 1])
@pytest.mark.parametrize("drawn", [0, 4])
def test_the_probe_measures_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, bidirectional: bool, threads: int | None, drawn: int
) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.0)
    before = torch.get_rng_state(), torch.get_num_threads()
    found = probe(ModelConfig(vocab=9, embed=4, hidden=(6,), bidirectional=bidirectional), 2, 5, threads, drawn)
    assert 1e3 < found.operations < 1e13
    assert found.threads in (threads, before[1], 1)
    assert found.reason
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_fewer_scores_read_more_text_and_so_allow_a_wider_model() -> None:
    few = make(WORDS, minutes=5.0, sampled_softmax=500)
    assert size(make(WORDS, minutes=5.0)) < size(few)
    assert size(make(WORDS, minutes=5.0, sampled_softmax=9000)) == size(make(WORDS, minutes=5.0))
    model = few.model
    assert operations_per_token(model, most_scored(500, 100)) == operations_per_token(replace(model, vocab=600))
    assert operations_per_token(model, most_scored(9950, 100)) == operations_per_token(model)


def test_no_more_can_be_drawn_than_there_is() -> None:
    make(SHORT, sampled_softmax=39)
    with pytest.raises(ConfigError, match="sampled_softmax is 40, but the text has 40 tokens to draw from; give fewer"):
        make(SHORT, sampled_softmax=40)


def test_the_probe_gets_the_shape_that_is_planned_with() -> None:
    seen: list[tuple[str, int, int, int | None, int]] = []

    def speed_of(model: ModelConfig, batch: int, bptt: int, threads: int | None, drawn: int) -> Speed:
        seen.append((model.cell, batch, bptt, threads, drawn))
        return Speed(1e10, 3, "three are best")

    found = plan(CHARS, {"minutes": 1.0, "cell": "gru", "batch": 6, "bptt": 9, "sampled_softmax": 20}, speed_of)
    assert seen == [("gru", 6, 9, None, 20)]
    assert (found.threads, found.reasons["threads"]) == (3, "three are best")


def test_a_budget_in_steps_or_epochs_does_not_depend_on_the_machine() -> None:
    def never(*_: Any) -> Speed:
        raise AssertionError("measured")

    for budget in ({"steps": 50}, {"epochs": 2.0}):
        found = plan(CHARS, budget, never)
        assert found.threads == torch.get_num_threads()
        assert found == plan(CHARS, budget, at(1e5))
