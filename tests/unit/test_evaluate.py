from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from modelling import EVERYTHING, PLAIN, draw_ids, randomise, small

from ostinato.models.build import build
from ostinato.models.tokens import TokenModel
from ostinato.training import evaluate
from ostinato.training.evaluate import HeldOut

BOUNDARY = 3


def model(**changes: object) -> TokenModel:
    return randomise(build(small(**changes), EVERYTHING))  # type: ignore[return-value]


def ids(tokens: int) -> np.ndarray:
    return draw_ids(tokens, seed=5).numpy().astype(np.uint8)


def one_by_one(network: TokenModel, tokens: np.ndarray) -> float:
    """The mean over the text read in one stream, after the boundary token."""
    text = torch.tensor([BOUNDARY, *tokens.tolist(), *[BOUNDARY] * network.lookahead])[:, None]
    nats, _ = network.nats(text, network.initial_state(1))
    return float(nats.double().mean())


@pytest.mark.parametrize("tokens", [1, 2, 127, 128, 129, 1000])
@pytest.mark.parametrize("cell", ["lstm", "gru", "peephole"])
def test_a_text_of_one_lane_scores_as_read_in_one_stream(tokens: int, cell: str) -> None:
    network = model(cell=cell)
    assert HeldOut(ids(tokens), BOUNDARY).nats(network) == pytest.approx(one_by_one(network, ids(tokens)), rel=1e-5)


def test_lanes_score_as_one_stream_but_for_what_is_forgotten() -> None:
    network, tokens = model(), ids(9000)
    with torch.no_grad():
        network.output.weight.mul_(5.0)  # type: ignore[operator]
    lanes = HeldOut(tokens, BOUNDARY).nats(network)
    assert lanes == pytest.approx(one_by_one(network, tokens), rel=1e-4)
    other_order = HeldOut(np.sort(tokens), BOUNDARY).nats(network)
    assert abs(other_order - lanes) > 1e-2 * lanes  # so the tolerance tells texts apart


@torch.no_grad()
def test_a_bidirectional_model_is_scored_on_what_lies_to_the_right() -> None:
    network = model(bidirectional=True)
    network.eval()
    tokens = torch.tensor(ids(700).astype(np.int64))[:, None]
    logits: torch.Tensor = network.gap_logits(tokens, BOUNDARY)  # type: ignore[operator]
    whole = -torch.log_softmax(logits, -1).gather(-1, tokens[..., None]).double().mean()
    assert HeldOut(ids(700), BOUNDARY).nats(network) == pytest.approx(float(whole), rel=5e-3)


def test_a_uniform_model_scores_the_logarithm_of_its_vocabulary() -> None:
    network = build(small(), PLAIN)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert HeldOut(ids(5000), BOUNDARY).nats(network) == pytest.approx(math.log(11), rel=1e-6)


def test_the_first_part_is_scored_alone_and_the_mode_is_kept() -> None:
    network = model()
    part = HeldOut(ids(900), BOUNDARY).first(300)
    assert part.nats(network) == pytest.approx(HeldOut(ids(900)[:300], BOUNDARY).nats(network))
    assert network.training
    assert HeldOut(ids(900), BOUNDARY).first(5000).ids.shape == (900,)


def test_the_expected_time_grows_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(evaluate.time, "perf_counter", lambda: float(next(ticks)))
    network = model()
    short = HeldOut(ids(40_000), BOUNDARY).seconds(network)
    assert HeldOut(ids(120_000), BOUNDARY).seconds(network) == pytest.approx(3 * short)
