"""Models with random weights, and folders of them, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ostinato import bundle
from ostinato.architectures import Architecture, CaptionerConfig, ComposerConfig, expected_tensors
from ostinato.architectures.classifier import ClassifierConfig
from ostinato.bundle import Weights
from ostinato.config import ModelConfig
from ostinato.text.tokenizer import TokenizerOptions, build, to_json
from ostinato.types import Floats, Tokenizer

TEXT = "to be or not to be, that is the question:\nwhether 'tis nobler in the mind to suffer\n\nnaïve café\n" * 8


def config(**changes: Any) -> ModelConfig:
    """An odd-sized two-layer LSTM, with changes."""
    return ModelConfig(**{"vocab": 11, "embed": 6, "hidden": (5, 7), **changes})


def weights(model: Architecture, seed: int = 0, scale: float = 0.5) -> dict[str, Floats]:
    """Normal numbers for every tensor: no gate, unit or bias is like another."""
    rng = np.random.default_rng(seed)
    shapes = expected_tensors(model)
    return {name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()}


def tokenizer(level: str = "char", text: str = TEXT, **options: Any) -> Tokenizer:
    """A tokenizer made from ``text``."""
    return build(TokenizerOptions(level=level, **options), lambda: iter([text]))


def write_folder(
    folder: Path, level: str = "char", *, seed: int = 0, scale: float = 0.5, stored: Weights = "float32", **changes: Any
) -> Path:
    """A model folder with random weights, ``stored`` so."""
    tokens = tokenizer(level)
    model = config(vocab=tokens.vocab_size, **changes)
    bundle.save(
        folder,
        model=model,
        tensors=weights(model, seed, scale),
        tokenizer_json=to_json(tokens),
        training={"minutes": 5, "bits_per_char": 1.5},
        card="# A model\n",
        weights=stored,
    )
    return folder


def write_classifier(folder: Path, level: str = "char", *, seed: int = 0, **changes: Any) -> Path:
    """A folder of a classifier with random weights and the labels a, b and c."""
    tokens = tokenizer(level)
    model = ClassifierConfig(config(vocab=tokens.vocab_size), ("a", "b", "c"), **changes)
    bundle.save(
        folder, model=model, tensors=weights(model, seed), tokenizer_json=to_json(tokens), training={}, card="#"
    )
    return folder


def write_captioner(folder: Path) -> Path:
    """The folder of a captioner with random weights, of images of nine by nine pixels."""
    tokens = tokenizer("char")
    model = CaptionerConfig(config(vocab=tokens.vocab_size), (4, 3, 5), (1, 2, 2), size=9)
    bundle.save(
        folder, model=model, tensors=weights(model), tokenizer_json=to_json(tokens), training={}, card="# A captioner\n"
    )
    return folder


def write_composer(folder: Path, **changes: Any) -> Path:
    """The folder of a composer with random weights, of so many keys that a few sound at once."""
    model = ComposerConfig(config(vocab=88), **{"chain": 9, **changes})
    tensors = weights(model)
    tensors["output.bias"] -= 4.0
    bundle.save(folder, model=model, tensors=tensors, tokenizer_json=[], training={}, card="# A composer\n")
    return folder
