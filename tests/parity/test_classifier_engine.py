"""The classifier that was trained and the engine that runs it without torch say the same, for texts of any length."""

import numpy as np
import pytest
from classifying import BOUNDARY, READERS, batch, classifier, config, texts

from ostinato.config import CELLS
from ostinato.engine import classifier as module
from ostinato.engine import encoder
from ostinato.engine.classifier import ClassifierEngine
from ostinato.kernels import native

POOLINGS = ("max", "mean", "last", "attention", "attention,last,max,mean")
OPTIONS = {"hidden": (6, 6, 7), "residual": True, "layer_norm": True, "zoneout": 0.2}
CASES = [
    *(
        pytest.param({"cell": cell, "pooling": pooling, **reader}, id=f"{cell}-{pooling}-{name}")
        for cell in CELLS
        for pooling in POOLINGS
        for name, reader in READERS.items()
    ),
    *(pytest.param({"cell": "rnn", "activation": name}, id=name) for name in ("relu", "leaky_relu", "elu")),
    *(
        pytest.param({"pooling": "last,attention", **OPTIONS, **reader}, id=f"every option-{name}")
        for name, reader in READERS.items()
    ),
    *(
        pytest.param({"pooling": "last,max", "skip_output": True, **READERS[name]}, id=f"skip output-{name}")
        for name in ("stack", "stacks")
    ),
]


def engine_of(model):
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    return ClassifierEngine(model.config, tensors, BOUNDARY)


def close(got, expected):
    """Float32 rounding, grown over some ten steps of two or three layers."""
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(params=["core", "numpy"])
def _kernels(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(native, "available", lambda: False)


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("changes", CASES)
def test_engine_scores_as_the_model(changes):
    model = classifier(config(**changes))
    rows = texts()
    expected = model.scores(*batch(rows)).numpy()
    assert np.abs(expected).max() > 0.1
    close(engine_of(model).logits(rows), expected)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("pooling", ["max", "mean", "last", "attention"])
def test_a_long_text_is_read_in_blocks_with_the_same_result(monkeypatch, reader, pooling):
    model = classifier(config(pooling, **READERS[reader]))
    rows = texts((40, 3, 17, 39, 1))
    whole = engine_of(model).logits(rows)
    monkeypatch.setattr(module, "STEPS", 7)
    monkeypatch.setattr(module, "TOKENS", 20)
    monkeypatch.setattr(encoder, "ROWS", 5)
    close(engine_of(model).logits(rows), whole)
    close(whole, model.scores(*batch(rows)).numpy())


def test_a_stack_that_reads_forward_never_holds_a_whole_text(monkeypatch):
    engine = engine_of(classifier(config("max,mean,last,attention", reader="language_model")))
    longest = []
    run = module.Stack.run

    def watched(stack, ids, states):
        longest.append(len(ids))
        return run(stack, ids, states)

    monkeypatch.setattr(module.Stack, "run", watched)
    engine.logits(texts((5000,)))
    assert sum(longest) == 5002
    assert max(longest) <= module.STEPS


def test_texts_without_a_token_are_scored_and_none_gives_none():
    model = classifier(config("last,max"))
    rows = texts((0, 4, 0))
    close(engine_of(model).logits(rows), model.scores(*batch(rows)).numpy())
    assert engine_of(model).logits([]).shape == (0, 3)


def test_what_is_no_token_is_refused():
    with pytest.raises(IndexError, match="expected 0 to 10"):
        engine_of(classifier(config())).logits([np.array([3, 11])])
