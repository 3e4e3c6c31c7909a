"""Which words captions have, and a model that learns to see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captioning import draw_images, small
from torch.nn import functional

from ostinato.data.lanes import Place
from ostinato.data.pixels import Augmentation, lay_on
from ostinato.models.captioner import WordSpotter
from ostinato.training.spotting import HeldOutSpotted, Spotted, SpottingObjective, vocabulary, words_of

CAPTIONS = ["a red Ring", "a blue ring, large", "a disc: red", "a disc: blue!", "a hat"]
WORDS = ["blue", "disc", "red", "ring"]


def spotted(captions=CAPTIONS):
    """Images that are not in the order of their captions."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (len(captions), 9, 9, 4)).astype(np.uint8)
    return Spotted.of(images, rng.permutation(len(captions)), captions, WORDS)


def spotter(data, dropout=0.0):
    model = WordSpotter(small(), data.frequencies, dropout)
    with torch.no_grad():
        model.words.weight.copy_(torch.from_numpy(np.random.default_rng(4).normal(size=model.words.weight.shape)))
    return model


def test_words_stand_without_marks_and_in_lower_case():
    assert words_of("A disc: red, l'été") == {"a", "disc", "red", "l", "été"}
    assert words_of("...") == set()


def test_words_that_tell_captions_apart():
    """Not ``a``, which all have, nor what only one has; the commonest first, ties in the order of the alphabet."""
    assert vocabulary(CAPTIONS) == WORDS
    assert vocabulary([*CAPTIONS, "red"])[0] == "a"
    assert vocabulary(["one", "two"]) == []


def test_the_commonest_are_kept(monkeypatch):
    monkeypatch.setattr("ostinato.training.spotting.MOST", 2)
    assert vocabulary([*CAPTIONS, "the red ring"]) == ["a", "red"]


def test_each_caption_has_its_own_words():
    data = spotted()
    expected = [[0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(data.present, np.array(expected, bool))
    np.testing.assert_allclose(data.frequencies, [0.4, 0.4, 0.4, 0.4])


def test_before_it_has_learnt_it_says_how_frequent_words_are():
    frequencies = torch.tensor([0.9, 0.01, 0.5])
    model = WordSpotter(small(), frequencies, 0.0)
    with torch.no_grad():
        model.words.weight.zero_()
    images = torch.from_numpy(draw_images(2))
    present = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    chances = torch.tensor([[0.9, 0.99, 0.5], [0.1, 0.01, 0.5]])
    torch.testing.assert_close(model.loss(images, present), -chances.log().sum())


def test_making_one_leaves_the_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    spotter(spotted())
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_the_loss_is_of_each_image_and_its_words():
    """Images unchanged but for being laid on white; the batch holds the captions of an epoch once."""
    data = spotted()
    model = spotter(data)
    objective = SpottingObjective(model, data, 2, Augmentation(shift=0, background=0.0), seed=7)
    assert objective.steps == 3
    total, images = 0.0, 0
    for window in range(3):
        loss = objective.loss(Place(0, window), ())
        total, images = total + float(loss.nats.detach()), images + loss.tokens
    expected = 0.0
    for n in range(len(data)):
        seen = model.encoder(torch.from_numpy(lay_on(data.images[data.image[n]][None]))).mean(0)
        wanted = torch.from_numpy(data.present[n : n + 1]).float()
        nats = functional.binary_cross_entropy_with_logits(model.words(seen), wanted, reduction="sum")
        expected += float(nats.detach())
    assert images == len(data)
    assert total == pytest.approx(expected, rel=1e-5)
    assert HeldOutSpotted(data).measure(model)["nats"] == pytest.approx(expected / len(data), rel=1e-5)


def test_images_change_with_the_place_and_dropout_is_for_training():
    data = spotted()
    model = spotter(data, dropout=0.5)
    still = spotter(data)
    still.load_state_dict(model.state_dict())
    assert HeldOutSpotted(data).measure(model) == HeldOutSpotted(data).measure(still)
    assert model.training
    objective = SpottingObjective(still, data, len(data), Augmentation(shift=2), seed=7)
    first, again, later = (float(objective.loss(Place(epoch, 0), ()).nats.detach()) for epoch in (0, 0, 1))
    assert first == again != later


def test_held_out_images_are_measured_in_batches_of_any_size(monkeypatch):
    data = spotted()
    model = spotter(data)
    whole = HeldOutSpotted(data).measure(model)["nats"]
    monkeypatch.setattr("ostinato.training.spotting._BATCH", 2)
    assert HeldOutSpotted(data).measure(model)["nats"] == pytest.approx(whole, rel=1e-6)


def test_gradients_reach_every_weight():
    data = spotted()
    model = spotter(data)
    SpottingObjective(model, data, 5, Augmentation(), seed=1).loss(Place(), ()).nats.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
