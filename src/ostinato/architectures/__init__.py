"""The kinds of models there are: what each is made of, and the tensors that takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ostinato.architectures import language
from ostinato.architectures.captioner import CaptionerConfig as CaptionerConfig
from ostinato.architectures.captioner import captioner_tensors
from ostinato.architectures.classifier import ClassifierConfig as ClassifierConfig
from ostinato.architectures.classifier import classifier_tensors
from ostinato.architectures.composer import ComposerConfig as ComposerConfig
from ostinato.architectures.composer import composer_tensors
from ostinato.architectures.recogniser import RecogniserConfig as RecogniserConfig
from ostinato.architectures.recogniser import recogniser_tensors
from ostinato.architectures.translator import TranslatorConfig as TranslatorConfig
from ostinato.architectures.translator import translator_tensors
from ostinato.config import ModelConfig
from ostinato.errors import ConfigError

Shapes = dict[str, tuple[int, ...]]
Architecture = ModelConfig | TranslatorConfig | ClassifierConfig | CaptionerConfig | RecogniserConfig | ComposerConfig
"""The description of a model of any kind. Its class also says what such models do (``purpose``, as in "a model that
..."), the ``task`` that makes them, and the ``verb`` that uses them."""


KINDS: Mapping[str, type[Architecture]] = {
    "recurrent_language_model": ModelConfig,
    "recurrent_translator": TranslatorConfig,
    "recurrent_classifier": ClassifierConfig,
    "recurrent_captioner": CaptionerConfig,
    "recurrent_recogniser": RecogniserConfig,
    "recurrent_composer": ComposerConfig,
}
"""By the name that a model folder has for it."""

_TENSORS: Mapping[type[Any], Any] = {
    ModelConfig: language.language_tensors,
    TranslatorConfig: translator_tensors,
    ClassifierConfig: classifier_tensors,
    CaptionerConfig: captioner_tensors,
    RecogniserConfig: recogniser_tensors,
    ComposerConfig: composer_tensors,
}


def name_of(model: Architecture) -> str:
    """The name of its kind in a model folder."""
    return next(name for name, kind in KINDS.items() if isinstance(model, kind))


def from_json(name: Any, values: Mapping[str, Any]) -> Architecture:
    """The reverse of ``to_json`` of a model of the kind ``name``. Raises ConfigError on what is no such model."""
    if name not in KINDS:
        raise ConfigError(f"unknown architecture {name!r}; expected one of {', '.join(KINDS)}")
    return KINDS[name].from_json(values)


def expected_tensors(model: Architecture) -> Shapes:
    """Name and shape of every tensor of a model."""
    return cast(Shapes, _TENSORS[type(model)](model))
