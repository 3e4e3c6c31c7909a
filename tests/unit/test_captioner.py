"""The Python face of a captioner, on random weights: written, scored, retrieved, saved and damaged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import shapes
from captioning import draw_images, words
from PIL import Image
from small_models import weights, write_folder

import ostinato
from ostinato import bundle
from ostinato.architectures import CaptionerConfig
from ostinato.captioner import Captioner, load
from ostinato.config import ModelConfig
from ostinato.decode.sampling import log_softmax
from ostinato.errors import BundleError, ConfigError, ImageError, TextError
from ostinato.text.tokenizer import to_json

TOKENIZER = words(shapes.KINDS)


def config(**changes) -> CaptionerConfig:
    decoder = ModelConfig(TOKENIZER.vocab_size, 6, (5, 7))
    return CaptionerConfig(**{"decoder": decoder, "channels": (4, 3, 5), "strides": (1, 2, 2), "size": 9, **changes})


def face(seed: int = 0, **changes) -> Captioner:
    model = config(**changes)
    return Captioner(model, weights(model, seed), TOKENIZER)


def save(folder: Path, **changes) -> Path:
    model = config(**changes)
    bundle.save(
        folder, model=model, tensors=weights(model), tokenizer_json=to_json(TOKENIZER), training={"x": 1}, card="# C\n"
    )
    return folder


IMAGES = list(draw_images(3, 9, 4))
CAPTIONS = ["red circle left", "blue", "green square", "red circle left blue pink", "orange"]


def by_hand(captioner: Captioner, image: np.ndarray, caption: str) -> float:
    """The log-probability of a caption, token by token."""
    state = captioner.engine.start(captioner.see([image]))
    logits, total = captioner.engine.logits(state), 0.0
    for token in [*captioner.tokenizer.encode(caption), captioner.tokenizer.boundary_id]:
        total += log_softmax(logits)[0, token]
        logits, state = captioner.engine.step(np.array([token]), state)
    return total


def test_retrieval_is_the_log_probability_of_every_pair(monkeypatch) -> None:
    captioner = face()
    expected = [[by_hand(captioner, image, caption) for caption in CAPTIONS] for image in IMAGES]
    np.testing.assert_allclose(captioner.retrieve(IMAGES, CAPTIONS), expected, atol=1e-4)
    monkeypatch.setattr("ostinato.captioner._ROWS", 2)
    monkeypatch.setattr("ostinato.captioner._IMAGES", 2)
    np.testing.assert_allclose(captioner.retrieve(IMAGES, CAPTIONS), expected, atol=1e-4)
    assert captioner.retrieve([], CAPTIONS).shape == (0, 5)
    assert captioner.retrieve(IMAGES, []).shape == (3, 0)


def test_a_score_is_in_bits_per_character_with_the_end() -> None:
    captioner = face()
    nats = -by_hand(captioner, IMAGES[0], "green square")
    assert captioner.score(IMAGES[0], " green square\n") == pytest.approx(nats / math.log(2) / 13, rel=1e-5)


def test_a_blind_model_says_the_same_of_every_image() -> None:
    captioner = face(blind=True)
    table = captioner.retrieve(IMAGES, CAPTIONS)
    np.testing.assert_allclose(table, [[by_hand(captioner, IMAGES[1], caption) for caption in CAPTIONS]] * 3, atol=1e-4)


@pytest.mark.parametrize("attention", ["none", "additive"])
def test_greedy_takes_the_likeliest_token_at_every_step(attention: str) -> None:
    captioner = face(attention=attention)
    for image in IMAGES:
        (caption,) = captioner.caption(image, tokens=6, beam=1)
        state = captioner.engine.start(captioner.see([image]))
        logits, made, total = captioner.engine.logits(state), [], 0.0
        while len(made) < 6 and (not made or made[-1] != TOKENIZER.boundary_id):
            allowed = logits[0].copy()
            allowed[TOKENIZER.unk_id] = -np.inf
            if not made:
                allowed[TOKENIZER.boundary_id] = -np.inf
            made.append(int(allowed.argmax()))
            total += log_softmax(logits)[0, made[-1]]
            logits, state = captioner.engine.step(np.array(made[-1:]), state)
        assert caption.text == TOKENIZER.decode(made).strip()
        assert caption.ended == (made[-1] == TOKENIZER.boundary_id)
        assert caption.logprob == pytest.approx(total, abs=1e-4)
        if caption.ended:
            assert caption.logprob == pytest.approx(by_hand(captioner, image, caption.text), abs=1e-4)


def test_a_beam_finds_several_captions() -> None:
    captioner = face()
    for image in IMAGES:
        found = captioner.caption(image, beam=8, count=8, tokens=5)
        assert len({one.text for one in found}) == len(found) > 1
        assert captioner.caption(image, beam=8, count=2, tokens=5) == found[:2]


def test_drawn_captions_depend_on_the_seed_and_come_likeliest_first() -> None:
    captioner = face()
    drawn = captioner.caption(IMAGES[0], count=8, temperature=1.0, seed=3)
    assert drawn == captioner.caption(IMAGES[0], count=8, temperature=1.0, seed=3)
    assert drawn != captioner.caption(IMAGES[0], count=8, temperature=1.0, seed=4)
    assert [one.logprob for one in drawn] == sorted((one.logprob for one in drawn), reverse=True)
    assert len({one.text for one in drawn}) > 1
    assert {one.text for one in captioner.caption(IMAGES[0], count=3, temperature=1.0, seed=3)} <= {
        one.text for one in drawn
    }
    assert all("<unk>" not in one.text and one.text for one in drawn)


def test_a_caption_is_never_empty_and_never_unknown() -> None:
    model = config()
    tensors = weights(model)
    for token, bias in ((TOKENIZER.boundary_id, 30.0), (TOKENIZER.unk_id, 40.0)):  # else what it would say always
        tensors["output.bias"][token] = bias
    captioner = Captioner(model, tensors, TOKENIZER)
    for options in ({}, {"temperature": 1.0, "seed": 0, "count": 5}):
        for caption in captioner.caption(IMAGES[0], **options):
            assert caption.text in " ".join(shapes.KINDS).split()
            assert caption.ended


def test_files_and_arrays_are_the_same_image(tmp_path: Path) -> None:
    captioner, path = face(), tmp_path / "a.png"
    Image.fromarray(IMAGES[0]).save(path)
    expected = captioner.retrieve([IMAGES[0]], CAPTIONS)
    assert np.array_equal(captioner.retrieve([path], CAPTIONS), expected)
    assert np.array_equal(captioner.retrieve([str(path)], CAPTIONS), expected)


def test_what_cannot_be_captioned_or_scored() -> None:
    captioner = face()
    with pytest.raises(ConfigError, match="count is 0; expected 1 or more"):
        captioner.caption(IMAGES[0], count=0)
    with pytest.raises(ConfigError, match="tokens is 0"):
        captioner.caption(IMAGES[0], tokens=0)
    with pytest.raises(ConfigError, match="count is 6, more than the beam of 5; give a wider one, or a temperature"):
        captioner.caption(IMAGES[0], count=6)
    with pytest.raises(ConfigError, match="temperature is -1"):
        captioner.caption(IMAGES[0], temperature=-1.0)
    with pytest.raises(ImageError, match="expected uint8"):
        captioner.caption(np.zeros((9, 9)))
    for caption in ("", " \n", "two\nlines"):
        with pytest.raises(TextError, match="no or several lines; expected one line of text"):
            captioner.score(IMAGES[0], caption)


# The model folder


@pytest.mark.parametrize("changes", [{}, {"attention": "none"}, {"tied": True, "blind": True}])
def test_a_folder_gives_the_model_back(tmp_path: Path, changes) -> None:
    folder = save(tmp_path / "model", **changes)
    for loaded in (load(folder), ostinato.load(folder)):
        assert loaded.model == config(**changes)
        assert np.array_equal(loaded.retrieve(IMAGES, CAPTIONS), face(**changes).retrieve(IMAGES, CAPTIONS))
        assert loaded.training == {"x": 1}


def test_models_of_other_tasks_are_refused_both_ways(tmp_path: Path) -> None:
    write_folder(tmp_path / "text")
    with pytest.raises(BundleError, match="wants a model that captions images: train one with --task caption"):
        load(tmp_path / "text")
    save(tmp_path / "model")
    with pytest.raises(BundleError, match=r"captions images \(ostinato caption\); this wants a model that writes"):
        ostinato.language_model.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_damaged_folders_are_one_stated_error(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "model") / name
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [whole[:length] for length in rng.integers(0, len(whole), 15)]
    for _ in range(30):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(BundleError) as caught:
            load(tmp_path / "model")
        assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_size_is_refused() -> None:
    model = config()
    with pytest.raises(BundleError, match="the tokenizer has 4 tokens, the weights are for 13"):
        Captioner(model, weights(model), words(["one two"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (4, 3)}, "channels has 2 numbers and strides 3; expected 1 to 16, as many"),
        ({"channels": (), "strides": ()}, "channels has 0 numbers"),
        ({"channels": (4, 0, 5)}, "channels is 0; expected a whole number from 1"),
        ({"strides": (1, 3, 2)}, "strides is 3; expected a whole number from 1 to 2"),
        ({"size": 3}, "size is 3; expected a whole number from 4 to 1024"),
        ({"attention": "hard"}, "attention is 'hard'; expected one of none, additive"),
        ({"decoder": ModelConfig(9, 7, (7,), tied=True)}, "the decoder of a captioner takes no tied of its own"),
        ({"decoder": ModelConfig(9, 7, (7,), bidirectional=True)}, "takes no bidirectional of its own"),
    ],
)
def test_descriptions_that_make_no_model(changes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    assert message in str(caught.value)


def test_a_description_comes_back_from_json() -> None:
    model = config(attention="none", tied=True)
    assert CaptionerConfig.from_json(model.to_json()) == model
    with pytest.raises(ConfigError, match="unknown key 'chanels' in model; did you mean 'channels'"):
        CaptionerConfig.from_json({**model.to_json(), "chanels": 1})
    with pytest.raises(ConfigError):
        CaptionerConfig.from_json({"decoder": model.decoder.to_json()})
    assert config().side == 3
    assert config(size=10).side == 3
    assert config(size=9, strides=(1, 1, 2)).regions == 25
