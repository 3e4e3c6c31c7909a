"""A model folder of any kind to the Python face of such a model, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ostinato import bundle
from ostinato.architectures import (
    CaptionerConfig,
    ClassifierConfig,
    ComposerConfig,
    RecogniserConfig,
    TranslatorConfig,
)
from ostinato.bundle import Bundle
from ostinato.captioner import Captioner, captioner
from ostinato.classifier import Classifier, classifier
from ostinato.composer import Composer, composer
from ostinato.config import ModelConfig
from ostinato.language_model import LanguageModel, language_model
from ostinato.recogniser import Recogniser, recogniser
from ostinato.translator import Translator, translator

_FACES: Mapping[type[Any], Callable[[Any], Any]] = {
    ModelConfig: language_model,
    TranslatorConfig: translator,
    ClassifierConfig: classifier,
    CaptionerConfig: captioner,
    RecogniserConfig: recogniser,
    ComposerConfig: composer,
}
Face = LanguageModel | Translator | Classifier | Captioner | Recogniser | Composer


def load(folder: str | Path) -> Face:
    """The model in a folder that ``train`` or ``export`` made: a LanguageModel, or what else its task asks for.

    Raises BundleError when it is missing, damaged or foreign.
    """
    return face_of(bundle.load(folder))


def face_of(found: Bundle[Any]) -> Face:
    """The Python face of a model folder as read. Raises BundleError when its files do not belong together."""
    face: Face = _FACES[type(found.model)](found)
    return face
