from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.training.schedule import Budget, rate
from ostinato.training.settings import TrainingConfig


def config(**changes: object) -> TrainingConfig:
    return TrainingConfig(**{"batch": 1, "bptt": 1, "lr": 0.5, "steps": 10, **changes})  # type: ignore[arg-type]


def test_the_rate_climbs_in_a_line_then_falls_along_half_a_cosine() -> None:
    some = config(warmup=0.2, final_rate=0.1)
    assert rate(some, 0.0) == 0.0
    assert rate(some, 0.05) == pytest.approx(0.125)
    assert rate(some, 0.2) == pytest.approx(0.5)
    assert rate(some, 0.6) == pytest.approx(0.5 * (0.1 + 0.9 * 0.5))
    assert rate(some, 0.4) == pytest.approx(0.5 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4))))
    assert rate(some, 1.0) == pytest.approx(0.05)
    assert rate(some, 1.3) == pytest.approx(0.05)


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_other_schedules_stay_at_the_peak(schedule: str) -> None:
    some = config(schedule=schedule, warmup=0.1, patience=3)
    assert [rate(some, share) for share in (0.05, 0.1, 0.5, 1.0)] == pytest.approx([0.25, 0.5, 0.5, 0.5])


@given(share=st.floats(0, 2), warmup=st.floats(0, 0.9), final=st.floats(0, 1))
def test_the_rate_is_never_negative_nor_above_the_peak(share: float, warmup: float, final: float) -> None:
    assert 0.0 <= rate(config(warmup=warmup, final_rate=final), share) <= 0.5 * (1 + 1e-12)


def test_no_warm_up_begins_at_the_peak() -> None:
    assert rate(config(warmup=0.0), 0.0) == 0.5


def test_budgets_in_steps_and_in_seconds() -> None:
    steps, seconds = Budget(steps=8), Budget(seconds=20.0)
    assert [steps.fraction(step, 99.0) for step in (0, 2, 8, 12)] == [0.0, 0.25, 1.0, 1.5]
    assert [seconds.fraction(99, elapsed) for elapsed in (0.0, 5.0, 20.0)] == [0.0, 0.25, 1.0]
    assert steps.seconds_left(2, 10.0) == 30.0
    assert math.isnan(steps.seconds_left(0, 0.0))
    assert [seconds.seconds_left(1, elapsed) for elapsed in (5.0, 25.0)] == [15.0, 0.0]
