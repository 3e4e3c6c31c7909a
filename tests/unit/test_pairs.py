"""Pairs of sentences: what the loop learns from, what a translator is measured on, and the sizes that are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from modelling import PLAIN, randomise

from ostinato.architectures import TranslatorConfig
from ostinato.config import ModelConfig
from ostinato.data.lanes import Place
from ostinato.data.ragged import Ragged
from ostinato.errors import ConfigError
from ostinato.models.translator import Translator
from ostinato.training.pairs import HeldOutPairs, PairObjective, PairText
from ostinato.training.plan_translate import PairSize, plan_translator
from ostinato.training.probe import Speed

BOUNDARY = 1


def some_pairs(count: int, seed: int = 0) -> PairText:
    rng = np.random.default_rng(seed)
    sides = [Ragged.of([rng.integers(2, 11, rng.integers(1, 9)) for _ in range(count)]) for _ in range(2)]
    return PairText(sides[0], sides[1], BOUNDARY)


def small_model() -> Translator:
    encoder, decoder = ModelConfig(vocab=11, embed=6, hidden=(4,)), ModelConfig(vocab=11, embed=6, hidden=(7,))
    return randomise(Translator(TranslatorConfig(encoder, decoder, "general"), PLAIN))


def test_pairs_are_framed_by_the_boundary_and_padded():
    text = PairText(
        Ragged.of([np.array([5, 6]), np.array([], np.int64)]), Ragged.of([np.array([7]), np.array([8, 9])]), BOUNDARY
    )
    pairs = text.pairs(np.array([1, 0]), torch.device("cpu"))
    assert pairs.source.tolist() == [[1, 5], [1, 6]]
    assert pairs.source_lengths.tolist() == [1, 2]  # a source without a token is read as the boundary
    assert pairs.target.tolist() == [[1, 1], [8, 7], [9, 1], [1, 1]]
    assert pairs.target_lengths.tolist() == [3, 2]
    assert text.predictions == 5
    assert [len(side.padded()[0]) for side in (text.cut(1).sources, text.cut(1).targets)] == [1, 1]


def test_an_epoch_is_every_pair_once():
    text, model = some_pairs(53), small_model()
    objective = PairObjective(model, text, 8, seed=3)
    assert objective.steps == 7
    assert objective.start() == ()
    total, tokens, place = 0.0, 0, Place()
    while place.epoch == 0:
        loss = objective.loss(place, ())
        total, tokens = total + float(loss.nats.detach()), tokens + loss.tokens
        place = objective.after(place)
    assert tokens == text.predictions
    measured = HeldOutPairs(text).measure(model)
    assert measured["nats"] == pytest.approx(total / tokens, rel=1e-5)
    assert measured["perplexity"] == pytest.approx(np.exp(total / tokens), rel=1e-4)


def test_batches_hold_sentences_of_a_length():
    text = some_pairs(800)
    objective = PairObjective(small_model(), text, 16, seed=0)
    batches = [objective._buckets.indices(Place(0, window)) for window in range(objective.steps)]
    assert np.mean([np.ptp(text.sources.lengths[batch]) for batch in batches]) < 0.5


def test_a_part_is_the_first_pairs():
    text, model = some_pairs(200), small_model()
    part = HeldOutPairs(text).first(300)
    assert 290 <= part.size <= 300
    assert HeldOutPairs(text).first(1).size == text.targets.lengths[0] + 1
    assert HeldOutPairs(text).first(10_000).size == text.predictions
    few = np.arange(len(part.text))
    alone = PairText(text.sources.take(few), text.targets.take(few), BOUNDARY)
    assert part.measure(model) == HeldOutPairs(alone).measure(model)


SIZE = PairSize(pairs=29_000, sources=400_000, targets=430_000, vocabs=(8000, 8000), longest=50)


def at(operations: float) -> Any:
    return lambda *_: Speed(operations, 2, "as this test says")


def test_more_time_makes_it_wider_up_to_what_the_pairs_bear():
    widths = [
        plan_translator(SIZE, {"minutes": minutes, "shared": True}, at(1e11)).model.decoder.hidden[0]
        for minutes in (1.0, 5.0, 20.0, 60.0, 600.0)
    ]
    assert widths == sorted(widths)
    assert widths[0] < 256 <= widths[-1]
    few = PairSize(pairs=500, sources=5000, targets=5000, vocabs=(300, 300), longest=20)
    assert plan_translator(few, {"minutes": 60.0, "shared": True}, at(1e11)).model.decoder.hidden[0] <= 96


def test_what_is_given_is_kept_and_everything_else_has_a_reason():
    given = {
        "steps": 100, "shared": False, "hidden": (48, 32), "layers": 2, "embed": 20, "cell": "gru",
        "attention": "additive", "input_feeding": True, "tied": False, "dropout_output": 0.25, "lr": 0.5, "batch": 7,
    }  # fmt: skip
    found = plan_translator(SIZE, given)
    assert found.model.decoder.hidden == (48, 32)
    assert found.model.encoder.hidden == (24, 16)
    assert (found.model.attention, found.model.input_feeding, found.model.tied, found.model.shared) == (
        "additive", True, False, False,
    )  # fmt: skip
    assert (found.training.lr, found.training.batch, found.regularisers.dropout_output) == (0.5, 7, 0.25)
    assert not set(found.reasons) & set(given)
    chosen = set(found.values) - set(given)
    assert chosen <= set(found.reasons)
    assert plan_translator(SIZE, given) == found  # nothing of it depends on the machine


def test_dot_products_are_planned_with_equal_widths_or_refused():
    assert plan_translator(SIZE, {"steps": 10, "shared": True, "attention": "dot"}).model.attention == "dot"
    with pytest.raises(ConfigError, match="both directions of the encoder"):
        plan_translator(SIZE, {"steps": 10, "shared": True, "attention": "dot", "hidden": (33,)})
