"""The captioner that was trained and the engine that runs it without torch say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captioning import BOUNDARY, draw_captions, draw_images, small
from modelling import PLAIN, randomise
from torch.nn import functional

from ostinato.config import CELLS
from ostinato.engine import captioner
from ostinato.errors import BundleError, ConfigError
from ostinato.models.captioner import RecurrentCaptioner

CASES = [
    *({"decoder": {"cell": cell}} for cell in CELLS),
    {"attention": "none"},
    {"tied": True},
    {"blind": True},
    {"decoder": {"hidden": (6, 6, 7), "residual": True, "layer_norm": True, "zoneout": 0.2}},
    {"size": 12, "channels": (2, 6), "strides": (2, 1), "decoder": {"hidden": (9,)}},
]


def close(got: np.ndarray, expected: torch.Tensor) -> None:
    """Float32 rounding, grown over three convolutions and some ten steps of two or three layers."""
    np.testing.assert_allclose(got, expected.detach().numpy(), atol=1e-4, rtol=1e-4)


def pair(module, case, batch=4):
    """The model in torch and in numpy, images, and what the model says of framed ids."""
    model = randomise(RecurrentCaptioner(small(**case), PLAIN)).eval()
    engine = module.CaptionEngine(model.config, {name: x.numpy() for name, x in model.state_dict().items()}, BOUNDARY)
    images = draw_images(batch, model.config.size)
    ids, _ = draw_captions([7] * batch)
    memory = model.see(torch.from_numpy(images))
    readout = model.read(functional.embedding(ids[:-1], model.embedding.weight), memory)
    logits = functional.linear(readout, model.output.matrix(model.embedding.weight), model.output.bias)
    return engine, images, ids, memory, logits


def check(module, case) -> None:
    engine, images, ids, memory, logits = pair(module, case)
    seen = engine.see(images)
    close(seen, memory.transpose(0, 1))
    state = engine.start(seen)
    close(engine.logits(state), logits[0])
    run, last = engine.run(ids[1:-1].numpy(), state)
    close(run, logits[1:])
    for t, step in enumerate(ids[1:-1].numpy()):
        scores, state = engine.step(step, state)
        close(scores, logits[t + 1])
    for name, array in state.arrays.items():
        np.testing.assert_allclose(array, last.arrays[name], atol=1e-5, err_msg=name)


def check_rows(module) -> None:
    """Images of a state can be picked, repeated and left out, as beams do."""
    engine, images, ids, _, logits = pair(module, {})
    state = engine.start(engine.see(images)).rows([2, 0, 2])
    close(engine.run(ids[1:-1, [2, 0, 2]].numpy(), state)[0], logits[1:, [2, 0, 2]])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine_reads_as_the_model(case):
    check(captioner, case)


def test_rows_of_a_state():
    check_rows(captioner)


def test_attention_in_pieces_is_attention(monkeypatch):
    monkeypatch.setattr(captioner, "WORK", 1)
    check(captioner, {})


def test_what_does_not_fit_is_refused():
    engine, images, ids, _, _ = pair(captioner, {})
    state = engine.start(engine.see(images))
    with pytest.raises(ValueError, match=r"expected uint8 \(B, 9, 9, 3\)"):
        engine.see(images[:, :8])
    with pytest.raises(ValueError, match="images are float64"):
        engine.see(images / 255)
    with pytest.raises(IndexError, match="expected 0 to 10"):
        engine.step(np.array([0, 1, 2, 11]), state)
    with pytest.raises(ConfigError, match="the state is of 4 images; expected one for each of the 3 ids"):
        engine.step(np.array([0, 1, 2]), state)
    with pytest.raises(BundleError, match="the tokenizer's boundary token is 11"):
        captioner.CaptionEngine(engine.model, {}, 11)
    logits, same = engine.run(ids[:0].numpy(), state)
    assert logits.shape == (0, 4, 11)
    assert same == state
