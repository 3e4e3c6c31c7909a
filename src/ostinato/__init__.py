"""Ostinato: the toolkit for recurrent language models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ostinato.classifier import Classified as Classified
    from ostinato.classifier import Classifier as Classifier
    from ostinato.dialogue import Conversation as Conversation
    from ostinato.errors import OstinatoError as OstinatoError
    from ostinato.language_model import LanguageModel as LanguageModel
    from ostinato.loading import load as load
    from ostinato.pipeline import train as train
    from ostinato.pipeline.export import export as export
    from ostinato.score.report import Scored as Scored
    from ostinato.translator import Translation as Translation
    from ostinato.translator import Translator as Translator
    from ostinato.types import State as State
    from ostinato.types import Tokenizer as Tokenizer

# Imported on first use, so that `import ostinato` and `ostinato --help` cost next to nothing.
_HOMES = {
    "Conversation": "ostinato.dialogue",
    "Classified": "ostinato.classifier",
    "Classifier": "ostinato.classifier",
    "LanguageModel": "ostinato.language_model",
    "OstinatoError": "ostinato.errors",
    "Scored": "ostinato.score.report",
    "State": "ostinato.types",
    "Tokenizer": "ostinato.types",
    "Translation": "ostinato.translator",
    "Translator": "ostinato.translator",
    "export": "ostinato.pipeline.export",
    "load": "ostinato.loading",
    "train": "ostinato.pipeline",
}

__all__ = [
    "Classified",
    "Classifier",
    "Conversation",
    "LanguageModel",
    "OstinatoError",
    "Scored",
    "State",
    "Tokenizer",
    "Translation",
    "Translator",
    "__version__",
    "export",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ostinato' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
