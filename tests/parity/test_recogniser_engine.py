"""The recogniser that was trained and the engine that runs it without torch say the same, whole and in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from modelling import PLAIN, draw, randomise
from speech import small

from ostinato.config import CELLS
from ostinato.engine import recogniser
from ostinato.errors import BundleError, ConfigError
from ostinato.models.recogniser import RecurrentRecogniser

CASES = [
    *({"cell": cell} for cell in CELLS),
    {"hidden": (6, 6, 7), "residual": True, "layer_norm": True, "zoneout": 0.2},
    {"hidden": (9,)},
]
READERS = ("encoder", "stack")


def pair(module, reader: str, case=None, length: int = 11):
    """The engine, the steps of a sound, and what the model says of them."""
    model = randomise(RecurrentRecogniser(small(reader, **(case or {})), PLAIN, 5)).eval()
    model.input.mean.copy_(draw(9, seed=11))
    model.input.scale.copy_(draw(9, seed=12).exp())
    engine = module.RecogniserEngine(model.config, {name: x.numpy() for name, x in model.state_dict().items()}, 5)
    steps = draw(length, 1, 27)
    return engine, steps[:, 0].numpy(), model(steps, torch.tensor([length]))[:, 0].detach().numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))


def check(module, reader: str, case=None) -> None:
    engine, steps, expected = pair(module, reader, case)
    np.testing.assert_allclose(log_softmax(engine.logits(steps)), expected, atol=5e-5, rtol=1e-4)
    assert engine.logits(steps[:0]).shape == (0, 6)


def check_pieces(module) -> None:
    engine, steps, expected = pair(module, "stack")
    for cuts in ([1] * 11, [4, 0, 7], [11]):
        state, found, at = engine.start(), [], 0
        for size in cuts:
            logits, state = engine.read(steps[at : at + size], state)
            found.append(logits)
            at += size
        np.testing.assert_allclose(log_softmax(np.concatenate(found)), expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine_reads_as_the_model(reader: str, case) -> None:
    check(recogniser, reader, case)


def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    check_pieces(recogniser)
    monkeypatch.setattr(recogniser, "STEPS", 2)
    check(recogniser, "stack")


def test_what_does_not_fit_is_refused() -> None:
    engine, _, _ = pair(recogniser, "encoder")
    with pytest.raises(ConfigError, match="in both directions, so it has to hear the end first; to stream"):
        engine.start()
    with pytest.raises(BundleError, match="the tokenizer's boundary token is 6, the model has tokens 0 to 5"):
        recogniser.RecogniserEngine(engine.model, {}, 6)
