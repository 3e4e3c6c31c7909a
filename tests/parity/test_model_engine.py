"""The model that was trained and the engine that runs it without torch say the same."""

import numpy as np
import pytest
import torch
from modelling import PLAIN, draw_ids, randomise, small

from ostinato.config import CELLS, ModelConfig
from ostinato.engine import BidirectionalEngine, Engine
from ostinato.models.build import build

BOUNDARY = 10
OPTIONS = {
    "plain": {},
    "zoneout": {"zoneout": 0.2},
    "every option": {"hidden": (6, 6, 7), "skip_output": True, "residual": True, "layer_norm": True, "zoneout": 0.2},
}
CASES = [
    *(
        pytest.param({"cell": cell, **options}, id=f"{cell}-{name}")
        for cell in CELLS
        for name, options in OPTIONS.items()
    ),
    *(pytest.param({"cell": "rnn", "activation": name}, id=name) for name in ("relu", "leaky_relu", "elu")),
    pytest.param({"hidden": (5, 6), "tied": True}, id="tied"),
]


def tensors(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def close(got: np.ndarray, expected: torch.Tensor) -> None:
    """Float32 rounding, grown over some ten steps of two or three layers."""
    np.testing.assert_allclose(got, expected.detach().numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", CASES)
def test_engine_reads_as_the_model(changes):
    config = small(**changes)
    model = randomise(build(config, PLAIN)).eval()
    ids = draw_ids(9, 4, vocab=BOUNDARY)
    _, state = model.readout(torch.full((1, 4), BOUNDARY), model.initial_state(4))
    readout, last = model.readout(ids, state)
    engine = Engine(config, tensors(model), BOUNDARY)
    logits, after = engine.run(ids.numpy(), engine.start(4))
    close(logits, model.logits(readout))
    for name, part in zip(model.state_names(), last, strict=True):
        close(after.arrays[name], part)


@pytest.mark.parametrize("changes", [case for case in CASES if case.id != "tied"])
def test_engine_fills_as_the_model(changes):
    config = ModelConfig(**{**vars(small(**changes)), "bidirectional": True})
    model = randomise(build(config, PLAIN)).eval()
    engine = BidirectionalEngine(config, tensors(model), BOUNDARY)
    lengths = torch.tensor([9, 1, 5])
    ids = draw_ids(9, 3, vocab=BOUNDARY)
    logits = model.gap_logits(ids, BOUNDARY, lengths)
    for b, n in enumerate(lengths.tolist()):
        close(engine.gap_logits(ids[:n, b].numpy()), logits[:n, b])
