"""A model folder of any kind to the Python face of such a model, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ostinato import bundle
from ostinato.architectures import CaptionerConfig
from ostinato.captioner import captioner
from ostinato.config import ModelConfig
from ostinato.language_model import LanguageModel, language_model

_FACES: Mapping[type[Any], Callable[[Any], Any]] = {
    ModelConfig: language_model,
    CaptionerConfig: captioner,
}


def load(folder: str | Path) -> LanguageModel | Any:
    """The model in a folder that ``train`` or ``export`` made: a LanguageModel, or what else its task asks for.

    Raises BundleError when it is missing, damaged or foreign.
    """
    found = bundle.load(folder)
    return _FACES[type(found.model)](found)
