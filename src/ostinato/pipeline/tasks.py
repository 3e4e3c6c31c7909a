"""From the name of a task to the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from ostinato.pipeline.task import Task

_HOMES = {
    "lm": ("ostinato.pipeline.language", "LanguageTask"),
    "dialogue": ("ostinato.pipeline.language", "LanguageTask"),
    "translate": ("ostinato.pipeline.translate", "TranslateTask"),
    "classify": ("ostinato.pipeline.classify", "ClassifyTask"),
    "caption": ("ostinato.pipeline.caption", "CaptionTask"),
    "transcribe": ("ostinato.pipeline.transcribe", "TranscribeTask"),
    "music": ("ostinato.pipeline.music", "MusicTask"),
}


def prepare_task(name: str, texts: Sequence[str], given: Mapping[str, Any]) -> Task:
    """The task ``name`` on ``texts``, with the settings ``given``. Raises TextError or ConfigError."""
    module, kind = _HOMES[name]
    task: Task = getattr(import_module(module), kind)(texts, given)
    return task
