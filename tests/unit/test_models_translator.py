"""The encoder-decoder against its equations, written out step by step in float64."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from modelling import PLAIN, close, draw, draw_ids, randomise

from ostinato.architectures import TranslatorConfig, expected_tensors
from ostinato.config import CELLS, ModelConfig, Regularisers
from ostinato.errors import ConfigError
from ostinato.kernels import reference
from ostinato.models.translator import Pairs, Translator, smoothing
from ostinato.nn.attention import Attention

SOURCE_LENGTHS, TARGET_LENGTHS = [6, 1, 3], [2, 5, 1]
KINDS: list[dict[str, Any]] = [
    {"attention": "none"},
    {"attention": "dot", "shared": True, "tied": True},
    {"attention": "general", "input_feeding": True, "tied": True},
    {"attention": "additive", "shared": True},
    {"attention": "additive", "input_feeding": True},
]
IDS = ["-".join([kind["attention"], *(name for name in kind if name != "attention")]) for kind in KINDS]


def config(cell: str = "lstm", **kind: Any) -> TranslatorConfig:
    """Odd sizes; the encoder as wide as dot products ask for."""
    vocab = 11 if kind.get("shared") else 13
    encoder = ModelConfig(vocab=11, embed=6, hidden=(5, 4), cell=cell)
    decoder = ModelConfig(vocab=vocab, embed=6, hidden=(7, 8), cell=cell)
    return TranslatorConfig(encoder, decoder, **kind)


def model_of(cell: str = "lstm", regularisers: Regularisers = PLAIN, **kind: Any) -> Translator:
    return randomise(Translator(config(cell, **kind), regularisers))


def pairs(seed: int = 0) -> Pairs:
    """Three ragged pairs; the padding is of any tokens."""
    source, target = draw_ids(6, 3, seed=seed), draw_ids(6, 3, seed=seed + 1)
    return Pairs(source, torch.tensor(SOURCE_LENGTHS), target, torch.tensor(TARGET_LENGTHS))


def weights_under(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def run_layer(cell: str, x: np.ndarray, weights: dict[str, np.ndarray], state: tuple[np.ndarray, ...]) -> Any:
    return reference.forward(cell, x[:, None], weights, state)[:2]


def encode(c: TranslatorConfig, t: dict[str, np.ndarray], ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Memory ``(S, M)`` and summary ``(M,)`` of one source."""
    x = t["embedding.weight" if c.shared else "source_embedding.weight"][ids]
    parts = len(reference.state_parts(c.encoder.cell))
    for k, H in enumerate(c.encoder.hidden):
        zero = (np.zeros((1, H)),) * parts
        sides = [weights_under(t, f"encoder.layers.{k}.{side}.") for side in ("left_to_right", "right_to_left")]
        ahead, _ = run_layer(c.encoder.cell, x, sides[0], zero)
        back, _ = run_layer(c.encoder.cell, x[::-1], sides[1], zero)
        x = np.concatenate([ahead[:, 0], back[::-1, 0]], axis=1)
        summary = np.concatenate([ahead[-1, 0], back[-1, 0]])
    return x, summary


def look(c: TranslatorConfig, t: dict[str, np.ndarray], h: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """The context ``(M,)`` of a query ``h``."""
    if c.attention == "dot":
        scores = memory @ h
    elif c.attention == "general":
        scores = memory @ t["attention.weight"].T @ h
    else:
        keys = memory @ t["attention.weight_memory"].T + t["attention.bias"]
        scores = np.tanh(keys + t["attention.weight_query"] @ h) @ t["attention.v"]
    weights = np.exp(scores - scores.max())
    return weights / weights.sum() @ memory


def nats_by_hand(model: Translator, source: np.ndarray, target: np.ndarray) -> list[float]:
    """``-log p`` of ``target[1:]`` by the equations in the docstring of Translator."""
    c, t = model.config, {name: value.double().numpy() for name, value in model.state_dict().items()}
    memory, summary = encode(c, t, source)
    states = np.tanh(t["bridge.weight"] @ summary + t["bridge.bias"])
    parts = len(reference.state_parts(c.decoder.cell))
    cuts = np.cumsum(np.repeat(c.decoder.hidden, parts))[:-1]
    flat = np.split(states[None], cuts, axis=1)
    layers = [tuple(flat[k * parts : (k + 1) * parts]) for k in range(len(c.decoder.hidden))]
    readout, nats = np.zeros(c.decoder.embed), []
    for before, after in itertools.pairwise(target):
        fed = [summary] if c.attention == "none" else [readout] if c.input_feeding else []
        x = np.concatenate([t["embedding.weight"][before], *fed])[None]
        for k, state in enumerate(layers):
            outputs, layers[k] = run_layer(c.decoder.cell, x, weights_under(t, f"decoder.layers.{k}."), state)
            x = outputs[:, 0]
        context = summary if c.attention == "none" else look(c, t, x[0], memory)
        readout = np.tanh(t["readout.weight"] @ np.concatenate([x[0], context]) + t["readout.bias"])
        matrix = t["embedding.weight"] if c.tied else t["output.weight"]
        scores = matrix @ readout + t["output.bias"]
        nats.append(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[after])
    return nats


def check_nats(kind: type[Translator], **options: Any) -> None:
    for cell in CELLS:
        model = randomise(kind(config(cell, **options), PLAIN))
        data = pairs()
        expected = [
            nats_by_hand(model, data.source[:S, b].numpy(), data.target[: T + 1, b].numpy())
            for b, (S, T) in enumerate(zip(SOURCE_LENGTHS, TARGET_LENGTHS, strict=True))
        ]
        by_step = [expected[b][t] for t in range(max(TARGET_LENGTHS)) for b in range(3) if t < TARGET_LENGTHS[b]]
        close(model.nats(data), torch.tensor(by_step, dtype=torch.float32))


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_nats_are_those_of_the_equations(kind):
    check_nats(Translator, **kind)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_tensors_are_those_that_a_folder_holds(kind):
    model = model_of(**kind)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected_tensors(model.config)
    assert TranslatorConfig.from_json(model.config.to_json()) == model.config


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_padding_changes_nothing_and_every_weight_has_a_gradient(kind):
    model, data = model_of(**kind), pairs()
    other = Pairs(data.source.clone(), data.source_lengths, data.target.clone(), data.target_lengths)
    for b, (S, T) in enumerate(zip(SOURCE_LENGTHS, TARGET_LENGTHS, strict=True)):
        other.source[S:, b] = (other.source[S:, b] + 3) % 11
        other.target[T + 1 :, b] = (other.target[T + 1 :, b] + 3) % 11
    found = []
    for each in (data, other):
        nats, tokens, _ = model.loss(each)
        assert tokens == sum(TARGET_LENGTHS)
        found.append([nats.detach(), *torch.autograd.grad(nats, list(model.parameters()))])
    for first, second in zip(*found, strict=True):
        assert first.abs().max() > 0
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_gradients_are_those_of_float64_differences(kind):
    """In float64, without the core: along a random direction of all weights at once."""
    model, data = model_of(**kind).double(), pairs()
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(model.loss(data)[0], parameters)
    direction = [draw(*p.shape, seed=9 + k).double() for k, p in enumerate(parameters)]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += step * d
        values.append(float(model.loss(data)[0].detach()))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_evaluation_drops_nothing_and_keeps_the_mode():
    model, data = (
        model_of(attention="general", regularisers=Regularisers(0.3, 0.3, 0.3, dropout_embedding=0.3)),
        pairs(),
    )
    assert torch.equal(model.nats(data), model.nats(data))
    assert model.training
    assert model.loss(data)[0].item() != model.loss(data)[0].item()
    close(model.eval().loss(data)[0], model.nats(data).sum())


def test_label_smoothing_is_cross_entropy_with_smoothed_targets():
    x, weight, bias, targets = draw(7, 5), draw(11, 5, seed=2), draw(11, seed=3), draw_ids(7)
    scores = x @ weight.T + bias
    plain = F.cross_entropy(scores, targets)
    # torch spreads the share over all tokens, the target among them, as we do
    smoothed = F.cross_entropy(scores, targets, label_smoothing=0.15)
    close(plain + smoothing(x, weight, bias, targets, 0.15), smoothed)
    assert smoothing(x, weight, bias, targets, 0.0).item() == 0.0


def test_label_smoothing_is_part_of_the_loss_and_not_of_the_nats():
    plain = model_of(attention="dot")
    smooth = model_of(attention="dot", regularisers=Regularisers(label_smoothing=0.2))
    close(plain.loss(pairs())[0], smooth.loss(pairs())[0])
    assert plain.loss(pairs())[2].item() == 0.0
    assert abs(smooth.loss(pairs())[2].item()) > 0.01


@pytest.mark.parametrize("kind", ["dot", "general", "additive"])
def test_attention_weights_are_a_distribution_over_what_is_there(kind):
    attention = randomise(Attention(kind, 4, 4))
    memory, query, there = draw(5, 3, 4), draw(2, 3, 4, seed=5), torch.arange(5)[:, None] < torch.tensor([5, 1, 3])
    context, weights = attention(query, attention.keys(memory), memory, there)
    close(weights.sum(-1), torch.ones(2, 3))
    assert torch.equal(weights > 0, there.T.expand(2, 3, 5))
    close(context, torch.einsum("tbs,sbm->tbm", weights, memory))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "cosine"}, "attention is 'cosine'; expected one of none, dot, general, additive"),
        ({"attention": "none", "input_feeding": True}, "attention is 'none'"),
        ({"shared": True}, "the same vocab and embed"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    encoder = ModelConfig(vocab=11, embed=6, hidden=(5,))
    with pytest.raises(ConfigError, match=message):
        TranslatorConfig(encoder, ModelConfig(vocab=13, embed=6, hidden=(7,)), **changes)


def test_dot_products_need_equal_widths():
    encoder, decoder = ModelConfig(vocab=11, embed=6, hidden=(5,)), ModelConfig(vocab=11, embed=6, hidden=(9,))
    with pytest.raises(ConfigError, match="both directions of the encoder, 10; it is 9 wide"):
        TranslatorConfig(encoder, decoder, "dot")


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_learns_to_reverse_its_source(kind):
    """Every model can learn six pairs by heart; what it cannot is to tell them apart without the source."""
    torch.manual_seed(0)
    model = Translator(config(**kind), PLAIN)
    source = torch.tensor([[2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7, 2], [8, 8, 8, 8, 8, 8]])
    target = torch.cat([torch.ones(1, 6, dtype=torch.long), source.flip(0), torch.ones(1, 6, dtype=torch.long)])
    data = Pairs(source, torch.full((6,), 3), target, torch.full((6,), 4))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        model.loss(data)[0].backward()
        optimiser.step()
    assert model.nats(data).mean().item() < 0.05 * math.log(6)
