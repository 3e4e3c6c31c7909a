"""The engine in the core against the one in numpy: every cell, many streams, drawing, eight bits."""

from __future__ import annotations

import numpy as np
import pytest

from ostinato.config import CELLS, ModelConfig
from ostinato.decode.sampling import distribution, draw, log_softmax
from ostinato.engine.compiled import CompiledEngine, EightBitEngine, make_engine
from ostinato.engine.engine import Engine
from ostinato.errors import ConfigError, NativeError
from ostinato.kernels import native
from ostinato.kernels.reference import weight_shapes
from ostinato.quantise import dequantise, quantise, row_scales
from ostinato.types import Sampling, State

V, E = 37, 21
OPTIONS = [
    {},
    {"residual": True},
    {"skip_output": True},
    {"zoneout": 0.2},
    {"layer_norm": True, "residual": True},
]
ISAS = native.instruction_sets()


@pytest.fixture(autouse=True)
def as_it_was():
    isa = native.instruction_set()
    yield
    native.use_instruction_set(isa)


def tensors_of(model: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.normal(size=shape) * scale).astype(np.float32)

    tensors = {"embedding.weight": normal(model.vocab, model.embed), "output.bias": normal(model.vocab)}
    tensors["output.weight"] = normal(model.vocab, model.readout, scale=3 / np.sqrt(model.readout))
    for k, (inputs, width) in enumerate(zip((model.embed, *model.hidden), model.hidden, strict=False)):
        for name, shape in weight_shapes(model.cell, inputs, width).items():
            tensors[f"stack.layers.{k}.{name}"] = normal(*shape, scale=1 / np.sqrt(shape[-1] if len(shape) > 1 else 4))
        if model.layer_norm:
            tensors[f"stack.norms.{k}.weight"] = normal(width)
            tensors[f"stack.norms.{k}.bias"] = normal(width)
    return tensors


def engines(cell: str = "lstm", hidden: tuple[int, ...] = (21, 45), vocab: int = V, **options):
    model = ModelConfig(vocab=vocab, embed=E, hidden=hidden, cell=cell, **options)
    tensors = tensors_of(model)
    return CompiledEngine(model, tensors, 0), Engine(model, tensors, 0)


def close(a: State, b: State) -> None:
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        np.testing.assert_allclose(array, b.arrays[name], atol=3e-6, err_msg=name)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_are_those_of_numpy(cell, options, isa):
    native.use_instruction_set(isa)
    core, numpy = engines(cell, **options)
    here = there = numpy.start(3)
    rng = np.random.default_rng(1)
    for _ in range(5):
        ids = rng.integers(0, V, 3)
        (scores, here), (wanted, there) = core.step(ids, here), Engine.step(numpy, ids, there)
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        close(here, there)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("vocab", [V, 9001])
def test_a_text_whole_in_chunks_and_token_by_token_is_the_same_to_the_bit(cell, vocab):
    """With a table of the first layer's input, and, for many tokens, without."""
    core, _ = engines(cell, (513,) if vocab > V else (21, 45), vocab)
    ids = np.random.default_rng(2).integers(0, vocab, (9, 2))
    whole, end = core.run(ids, core.start(2))
    first, middle = core.run(ids[:4], core.start(2))
    second, last = core.run(ids[4:], middle)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert last == end
    state = core.start(2)
    for t, row in enumerate(ids):
        scores, state = core.step(row, state)
        np.testing.assert_array_equal(scores, whole[t])
    assert state == end


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_neither_neighbours_nor_threads_nor_instruction_set_change_a_stream(cell, int8):
    model = ModelConfig(vocab=V, embed=E, hidden=(70,), cell=cell)
    tensors = tensors_of(model)
    layer = {name.removeprefix("stack.layers.0."): t for name, t in tensors.items() if name.startswith("stack.")}
    uniforms = np.random.default_rng(3).random((12, 1))
    found = []
    for isa in ISAS:
        native.use_instruction_set(isa)
        outer = [tensors["embedding.weight"], tensors["output.weight"], tensors["output.bias"]]
        engine = native.NativeEngine(cell, "tanh", [native.LayerWeights(layer)], *outer, int8=int8)
        for B in (1, 2, 7, 13):
            for threads in (1, 2, 4):
                states = np.zeros((B, engine.state_width), np.float32)
                states[:-1] = np.random.default_rng(B).normal(size=states[:-1].shape)
                drawn = np.random.default_rng(B).random((12, B))
                drawn[:, -1:] = uniforms
                made = engine.write(states, drawn, Sampling(0.8), threads)
                found.append((made.ids[:, -1], made.logprobs[:, -1], made.states[:, -1], states[-1]))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.0),
    Sampling(temperature=1e-4),
    Sampling(temperature=3.0),
    Sampling(top_k=1),
    Sampling(top_k=5),
    Sampling(top_p=0.6),
    Sampling(top_k=9, top_p=0.8),
    Sampling(min_p=0.2),
    Sampling(0.7, 20, 0.9, 0.05),
    Sampling(top_k=10_000),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("vocab", [V, 700])
@pytest.mark.parametrize("how", SAMPLINGS, ids=str)
def test_tokens_are_drawn_as_numpy_draws_them(how, vocab, isa):
    """The same uniforms give the same tokens, but where one falls between two by less than rounding."""
    native.use_instruction_set(isa)
    core, _ = engines(hidden=(21,), vocab=vocab)
    B, steps = 200, 3
    state, uniforms = core.start(B), np.random.default_rng(4).random((steps, B))
    banned = [3, 5, vocab - 1]
    written = core.write(state, uniforms, how, banned)
    settings = {"temperature": how.temperature, "top_k": how.top_k, "top_p": how.top_p, "min_p": how.min_p}
    different = 0
    for t in range(steps):
        scores = core.logits(state)
        allowed = scores.copy()
        allowed[:, banned] = -np.inf
        different += int((draw(distribution(allowed, **settings), uniforms[t]) != written.ids[t]).sum())
        wanted = log_softmax(scores)[np.arange(B), written.ids[t]]
        np.testing.assert_allclose(written.logprobs[t], wanted, atol=2e-5)
        _, state = core.step(written.ids[t], state)
        assert state == written.state_after(t)
    assert different <= 2
    assert not np.isin(written.ids, banned).any()


def test_equal_scores_are_broken_by_the_lower_id():
    scores = {"embedding": np.zeros((4, 2), np.float32), "output_weight": np.zeros((4, 2), np.float32)}
    weights = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes("rnn", 2, 2).items()}
    engine = native.NativeEngine(
        "rnn", "tanh", [native.LayerWeights(weights)], **scores, output_bias=np.array([0, 1, 1, 1], np.float32)
    )
    states = np.zeros((1, engine.state_width), np.float32)
    for how in (Sampling(temperature=0.0), Sampling(top_k=1)):
        assert engine.write(states, np.full((1, 1), 0.999), how, 1).ids.item() == 1
    made = engine.write(states, np.array([[0.0], [0.4], [0.6], [0.999]]), Sampling(top_k=2), 1)
    assert made.ids.ravel().tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("cell", CELLS)
def test_eight_bits_are_near(cell):
    model = ModelConfig(vocab=V, embed=E, hidden=(70, 50), cell=cell)
    tensors = tensors_of(model)
    layers = [
        native.LayerWeights(
            {n.removeprefix(f"stack.layers.{k}."): t for n, t in tensors.items() if f"layers.{k}." in n}
        )
        for k in range(2)
    ]
    outer = [tensors["embedding.weight"], tensors["output.weight"], tensors["output.bias"]]
    whole, small = (native.NativeEngine(cell, "tanh", layers, *outer, int8=int8) for int8 in (False, True))
    states = [np.zeros((1, whole.state_width), np.float32) for _ in range(2)]
    rng, errors, sizes = np.random.default_rng(0), [], []
    for token in rng.integers(0, V, 30):
        a, b = (e.read(np.array([token]), s, 1) for e, s in zip((whole, small), states, strict=True))
        errors.append(np.abs(a - b).max())
        sizes.append(np.abs(a).max())
    assert 0 < np.median(errors) < 0.08 * np.median(sizes)
    assert small.nbytes < whole.nbytes


def eight_bit_engine(cell: str, hidden: tuple[int, ...] = (21, 45), **options):
    """The engine of a model that is stored in eight bits."""
    model = ModelConfig(vocab=V, embed=E, hidden=hidden, cell=cell, **options)
    return EightBitEngine(model, stored(tensors_of(model)), 0)


def stored(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a folder in eight bits gives back of ``tensors``."""
    scales = {name: row_scales(tensor) for name, tensor in tensors.items() if tensor.ndim == 2}
    return tensors | {name: dequantise(quantise(tensors[name], scale), scale) for name, scale in scales.items()}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_core_finds_the_whole_numbers_of_a_file_again(cell, isa):
    """It does the same with the weights of a file as with those that the file was made from.

    All but what the first layer reads, which it takes as it is, in a table. One whole number that differs would
    change a score by a hundredth of what it adds up.
    """
    native.use_instruction_set(isa)
    model = ModelConfig(vocab=V, embed=E, hidden=(70, 50), cell=cell)
    original = tensors_of(model)
    found = stored(original)
    first = {name: found[name] for name in ("embedding.weight", "stack.layers.0.weight_ih")}
    from_file, from_original = (EightBitEngine(model, tensors, 0) for tensors in (found, original | first))
    ids = np.random.default_rng(5).integers(0, V, (20, 3))
    scores, _ = from_file.run(ids, from_file.start(3))
    np.testing.assert_allclose(scores, from_original.run(ids, from_original.start(3))[0], atol=3e-5)
    other = original | first | {"output.weight": original["output.weight"] * np.float32(1.001)}
    assert np.abs(scores - EightBitEngine(model, other, 0).run(ids, from_file.start(3))[0]).max() > 1e-3


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_in_eight_bits_too_a_text_whole_in_chunks_and_token_by_token_is_the_same_to_the_bit(cell, options):
    core = eight_bit_engine(cell, **options)
    ids = np.random.default_rng(2).integers(0, V, (9, 2))
    whole, end = core.run(ids, core.start(2))
    first, middle = core.run(ids[:4], core.start(2))
    nothing, same = core.run(ids[4:4], middle)
    second, last = core.run(ids[4:], same)
    assert (nothing.shape, same) == ((0, 2, V), middle)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert last == end == core.read(ids, core.start(2))
    state = core.start(2)
    for t, row in enumerate(ids):
        scores, state = core.step(row, state)
        np.testing.assert_array_equal(scores, whole[t])
        np.testing.assert_allclose(core.logits(state), scores, atol=1e-5)
    assert state == end


@pytest.mark.parametrize("cell", CELLS)
def test_in_eight_bits_a_text_costs_what_writing_it_says(cell):
    core = eight_bit_engine(cell)
    start = core.start(3)
    written = core.write(start, np.random.default_rng(6).random((12, 3)), Sampling())
    scores, _ = core.run(written.ids, start)
    for t, logits in enumerate([core.logits(start), *scores[:-1]]):
        chosen = log_softmax(logits)[np.arange(3), written.ids[t]]
        np.testing.assert_allclose(written.logprobs[t], chosen, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_in_eight_bits_a_text_begins_after_the_boundary(cell):
    core = eight_bit_engine(cell)
    start = core.start(2)
    zero = State({name: np.zeros_like(array) for name, array in start.arrays.items()})
    assert core.step(np.array([0, 0]), zero)[1] == start
    for name, array in Engine.start(core, 2).arrays.items():
        np.testing.assert_allclose(start.arrays[name], array, atol=0.02)


def test_an_engine_is_in_eight_bits_where_that_is_asked_for():
    model = ModelConfig(vocab=V, embed=E, hidden=(8,))
    tensors = tensors_of(model)
    assert type(make_engine(model, tensors, 0)) is CompiledEngine
    assert type(make_engine(model, tensors, 0, int8=True)) is EightBitEngine


def test_what_does_not_fit_is_refused():
    small = eight_bit_engine("lstm")
    with pytest.raises(ConfigError, match="the state is of 2 streams; expected one for each of the 3 ids"):
        small.run(np.array([[1, 2, 3]]), small.start(2))
    with pytest.raises(IndexError):
        small.read(np.array([[V]]), small.start())
    core, _ = engines()
    with pytest.raises(ConfigError, match="the state is of 2 streams; expected one for each of the 3 ids"):
        core.step(np.array([1, 2, 3]), core.start(2))
    with pytest.raises(IndexError):
        core.step(np.array([V]), core.start())
    with pytest.raises(NativeError, match=f"banned are {V} tokens"):
        core.write(core.start(), np.zeros((1, 1)), Sampling(), list(range(V)))
    with pytest.raises(NativeError, match="banned are 1 tokens from 99 to 99"):
        core.write(core.start(), np.zeros((1, 1)), Sampling(), [99])
    with pytest.raises(NativeError, match=r"uniforms is float64 \(4, 2\); expected float64 \(steps, 1\)"):
        core.write(core.start(), np.zeros((4, 2)), Sampling())
