"""The translator without torch against the one that is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelling import PLAIN, randomise

from ostinato import bundle
from ostinato.architectures import TranslatorConfig
from ostinato.config import CELLS, ModelConfig
from ostinato.decode.beam import beam_search
from ostinato.decode.sampling import log_softmax
from ostinato.engine.translator import TranslatorEngine
from ostinato.errors import BundleError
from ostinato.kernels import native
from ostinato.models.translator import Pairs, Translator

BOUNDARY = 1
SOURCES, TARGETS = (5, 2, 1, 9), (3, 6, 0, 1)
KINDS: list[dict[str, Any]] = [
    {"attention": "none"},
    {"attention": "dot", "shared": True, "tied": True},
    {"attention": "general", "input_feeding": True, "tied": True},
    {"attention": "additive", "shared": True},
    {"attention": "additive", "input_feeding": True},
]


def model_of(cell: str, options: dict[str, Any], **layers: Any) -> Translator:
    vocab = 11 if options.get("shared") else 13
    encoder = ModelConfig(vocab=11, embed=6, hidden=(3, 4), cell=cell, **layers)
    decoder = ModelConfig(vocab=vocab, embed=6, hidden=(8, 8), cell=cell, **layers)
    return randomise(Translator(TranslatorConfig(encoder, decoder, **options), PLAIN)).eval()


def engine_of(model: Translator) -> TranslatorEngine:
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    return TranslatorEngine(model.config, tensors, BOUNDARY)


def sequences(lengths: tuple[int, ...], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 11, length) for length in lengths]


def trained_nats(model: Translator, sources: list[np.ndarray], targets: list[np.ndarray]) -> list[float]:
    """``-log p`` of each target, each pair alone."""
    found = []
    for source, target in zip(sources, targets, strict=True):
        framed = torch.from_numpy(np.concatenate([[BOUNDARY], target, [BOUNDARY]]))[:, None]
        lengths = torch.tensor([len(source)]), torch.tensor([len(target) + 1])
        found.append(float(model.nats(Pairs(torch.from_numpy(source)[:, None], lengths[0], framed, lengths[1])).sum()))
    return found


def engine_nats(engine: TranslatorEngine, sources: list[np.ndarray], targets: list[np.ndarray]) -> list[float]:
    """The same, all sources side by side, padded, two streams each that write different things for a while."""
    reading = engine.read(sources)
    state = reading.start(2)
    T, B = max(map(len, targets)), 2 * len(sources)
    ids = np.random.default_rng(5).integers(2, 11, (T, B))
    for b, target in enumerate(targets):
        ids[: len(target), 2 * b + 1] = target
    first = reading.logits(state)
    logits = np.concatenate([first[None], reading.run(ids, state)[0]])
    scores = log_softmax(logits)
    return [
        -float(sum(scores[t, 2 * b + 1, token] for t, token in enumerate([*target, BOUNDARY])))
        for b, target in enumerate(targets)
    ]


@pytest.mark.parametrize("core", [True, False], ids=["core", "numpy"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", KINDS, ids=lambda options: "-".join(map(str, options.values())))
def test_engine_and_training_agree(options, cell, core, monkeypatch):
    """Within float32 rounding over two layers of some ten steps."""
    if not core:
        monkeypatch.setattr(native, "available", lambda: False)
    model, sources, targets = model_of(cell, options), sequences(SOURCES, 0), sequences(TARGETS, 1)
    np.testing.assert_allclose(
        engine_nats(engine_of(model), sources, targets), trained_nats(model, sources, targets), rtol=2e-5
    )


@pytest.mark.parametrize(
    "layers", [{"layer_norm": True}, {"zoneout": 0.2}, {"residual": True}], ids=lambda x: next(iter(x))
)
def test_engine_and_training_agree_on_the_options_of_layers(layers):
    model = model_of("lstm", {"attention": "general"}, **layers)
    sources, targets = sequences(SOURCES, 0), sequences(TARGETS, 1)
    expected = trained_nats(model, sources, targets)
    np.testing.assert_allclose(engine_nats(engine_of(model), sources, targets), expected, rtol=2e-5)


@pytest.mark.parametrize("options", KINDS, ids=lambda options: "-".join(map(str, options.values())))
def test_beams_side_by_side_are_beams_alone(options):
    engine, sources = engine_of(model_of("gru", options)), sequences(SOURCES, 0)
    reading = engine.read(sources)
    together = beam_search(reading, reading.start(), end=BOUNDARY, width=3, most=8)
    for source, found in zip(sources, together, strict=True):
        alone = engine.read([source])
        wanted = beam_search(alone, alone.start(), end=BOUNDARY, width=3, most=8)[0]
        assert [one.ids for one in found] == [one.ids for one in wanted]
        np.testing.assert_allclose([one.logprob for one in found], [one.logprob for one in wanted], rtol=1e-5)


def test_attention_of_streams_in_any_order():
    engine, sources = engine_of(model_of("lstm", {"attention": "general"})), sequences(SOURCES, 0)
    reading = engine.read(sources)
    state = reading.start(2)
    mixed = [7, 0, 3, 2, 2]
    weights = reading.weights(state.rows(mixed))
    np.testing.assert_allclose(weights, reading.weights(state)[mixed], rtol=1e-6)
    for row, stream in zip(weights, mixed, strict=True):
        assert (row[: SOURCES[stream // 2]] > 0).all()
        assert (row[SOURCES[stream // 2] :] == 0).all()
    logits, after = reading.step(np.array([3, 4, 5, 6, 7]), state.rows(mixed))
    for b, stream in enumerate(mixed):
        alone, _ = reading.step(np.array([3 + b]), state.rows([stream]))
        np.testing.assert_allclose(logits[b], alone[0], rtol=1e-5, atol=1e-6)
    assert after.batch == 5


@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_holds_both_tokenizers_and_is_checked(tmp_path: Path, shared: bool) -> None:
    model = model_of("lstm", {"attention": "general", "shared": shared})
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    texts = ["{}"] if shared else ["{}", '{"source": 1}']
    bundle.save(tmp_path / "m", model=model.config, tensors=tensors, tokenizer_json=texts, training={}, card="")
    found = bundle.load(tmp_path / "m")
    assert found.model == model.config
    assert [path.read_text("utf-8") for path in found.tokenizer_paths] == texts
    damaged = found.tokenizer_paths[-1]
    damaged.write_text(damaged.read_text() + " ")
    with pytest.raises(BundleError, match=f"{damaged.name} has"):
        bundle.load(tmp_path / "m")


def test_what_is_no_token_is_refused():
    engine = engine_of(model_of("lstm", {"attention": "dot"}))
    with pytest.raises(IndexError, match="ids from 3 to 11; expected 0 to 10"):
        engine.read([np.array([3, 11])])
    with pytest.raises(ValueError, match="no token"):
        engine.read([np.array([3]), np.array([], np.int64)])
    with pytest.raises(BundleError, match="the boundary is token 99"):
        TranslatorEngine(engine.model, engine.tensors, 99)
