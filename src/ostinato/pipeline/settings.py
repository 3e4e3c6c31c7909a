"""What a user may set for a training run: one flat set of names for flags, environment, run.toml and keyword arguments.

A name that is not set is chosen by the plan. The names and their meaning are the fields of the checked values they end
up in, so that each is described in one place.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ostinato.architectures.composer import MELODIES, OUTPUTS
from ostinato.architectures.translator import ATTENTIONS
from ostinato.config import ACTIVATIONS, CELLS, ModelConfig, Regularisers, check_choice, check_range, did_you_mean
from ostinato.errors import ConfigError
from ostinato.pipeline.task_settings import (
    CLASS_WEIGHTS,
    AttentionSettings,
    CaptionSettings,
    ClassifySettings,
    MusicSettings,
    SpeechSettings,
    TranslatorSettings,
)
from ostinato.training.settings import OPTIMISERS, SCHEDULES, TrainingConfig

TASKS = ("lm", "dialogue", "translate", "classify", "caption", "transcribe", "music")
LEVELS = ("auto", "char", "byte", "word", "bpe", "unigram")
DEVICES = ("auto", "cpu", "cuda")
BUDGETS = ("minutes", "epochs", "steps")
DEFAULT_MINUTES = 5.0
MINUTES = {"classify": 2.0}
"""Of the tasks that need other than DEFAULT_MINUTES."""
_PARTS_OF_DROPOUT = ("dropout_input", "dropout_hidden", "dropout_output")


@dataclass(frozen=True)
class TaskSettings:
    """What the model is for."""

    task: str = "lm"
    """One of TASKS."""

    def __post_init__(self) -> None:
        check_choice("task", self.task, TASKS)


@dataclass(frozen=True)
class TextSettings:
    """How text becomes tokens, and which part of it is held out."""

    level: str = "auto"
    """What a token is: one of LEVELS."""
    vocab: int | None = None
    """Number of tokens; the text must give so many."""
    min_count: int = 1
    """Word and char level: what is seen less often counts as unknown."""
    lower: bool = False
    """Word level: lower-case the text."""
    pretokenized: bool | None = None
    """Word level: split at blanks only, the Penn Treebank convention."""
    valid: str = "0.1"
    """What is held out: a file, or a share to take from the end of the text's characters, of a list's lines or of the
    pieces of music (classify: of each label's lines, drawn by the seed)."""
    test: str | None = None
    """A file that is scored once, when training is done."""

    def __post_init__(self) -> None:
        check_choice("level", self.level, LEVELS)
        if self.vocab is not None:
            check_range("vocab", self.vocab, 2, 1 << 24)
        check_range("min_count", self.min_count, 1, 1 << 40)
        if self.valid_share is not None:
            check_range("valid", self.valid_share, 1e-4, 0.5)

    @property
    def valid_share(self) -> float | None:
        """The share to hold out; None when ``valid`` names a file."""
        try:
            return float(self.valid)
        except ValueError:
            return None


@dataclass(frozen=True)
class ShapeSettings:
    """Short ways to say several things at once, and where to run."""

    layers: int | None = None
    """Number of recurrent layers."""
    dropout: float | None = None
    """Sets dropout_hidden, dropout_output and, for words, dropout_input (a third of it)."""
    threads: int | None = None
    """CPU threads; default: what torch chooses."""
    device: str = "auto"
    """One of DEVICES."""

    def __post_init__(self) -> None:
        if self.layers is not None:
            check_range("layers", self.layers, 1, 64)
        if self.dropout is not None:
            check_range("dropout", self.dropout, 0.0, 0.95)
        if self.threads is not None:
            check_range("threads", self.threads, 1, 1024)
        check_choice("device", self.device, DEVICES)


@dataclass(frozen=True)
class Setting:
    """One name that may be set."""

    name: str
    kind: type
    """bool, int, float or str."""
    text: str
    """What it means."""
    group: str


_GROUPS = {
    "Task": TaskSettings,
    "Classification": ClassifySettings,
    "Text": TextSettings,
    "Captions": CaptionSettings,
    "Speech": SpeechSettings,
    "Music": MusicSettings,
    "Model": ModelConfig,
    "Translation": TranslatorSettings,
    "Attention": AttentionSettings,
    "Shape": ShapeSettings,
    "Regularisation": Regularisers,
    "Training": TrainingConfig,
}

CHOICES = {
    "TASKS": TASKS,
    "CLASS_WEIGHTS": CLASS_WEIGHTS,
    "CELLS": CELLS,
    "ATTENTIONS": ATTENTIONS,
    "OUTPUTS": OUTPUTS,
    "MELODIES": MELODIES,
    "ACTIVATIONS": ACTIVATIONS,
    "OPTIMISERS": OPTIMISERS,
    "SCHEDULES": SCHEDULES,
    "LEVELS": LEVELS,
    "DEVICES": DEVICES,
}
_ONLY: Mapping[type, tuple[str, ...]] = {
    ClassifySettings: ("classify",),
    TranslatorSettings: ("translate",),
    CaptionSettings: ("caption",),
    SpeechSettings: ("transcribe",),
    MusicSettings: ("music",),
    AttentionSettings: ("translate", "caption"),
}
"""Groups that mean something to some tasks only."""
_CHOICES = re.compile("|".join(CHOICES))  # a text that says "one of CELLS" is shown with the names


@cache
def known_settings() -> dict[str, Setting]:
    """All names, in the order they are listed in."""
    found: dict[str, Setting] = {}
    for group, kind in _GROUPS.items():
        hints, texts = get_type_hints(kind), _field_texts(kind)
        for field in fields(kind):
            if kind is ModelConfig and field.name == "vocab":
                continue  # the text gives the exact number; the limit is TextSettings.vocab
            plain = str if field.name == "hidden" else _plain(hints[field.name])
            text = _CHOICES.sub(lambda name: ", ".join(CHOICES[name[0]]), texts[field.name])
            shown = field.default is not None and field.default is not False
            if kind in _ONLY and shown:  # of the others the plan chooses most
                text += f" Default: {field.default:g}." if plain is float else f" Default: {field.default}."
            found[field.name] = Setting(field.name, plain, text, "Model" if group == "Shape" else group)
    return found


def gather(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None) -> dict[str, Any]:
    """The values that are set: a flag beats ``OSTINATO_TRAIN_<NAME>`` beats a line of the TOML file.

    A budget of one kind replaces one of another kind that comes from further back; so do ``dropout`` its parts, and
    ``layers`` and ``hidden`` each other where they differ.
    """
    told = {
        key.removeprefix("OSTINATO_TRAIN_").lower(): text
        for key, text in environment.items()
        if key.startswith("OSTINATO_TRAIN_")
    }
    sources = (
        {name: _typed(name, value, f"{file}") for name, value in _read(file).items()} if file else {},
        {name: _from_text(_known(name, "the environment"), text) for name, text in told.items()},
        {name: _typed(name, value, "the call") for name, value in flags.items() if value is not None},
    )
    values: dict[str, Any] = {}
    for source in sources:
        values = _not_replaced(values, source) | source
    return values


def _not_replaced(values: Mapping[str, Any], nearer: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that still say something beside what comes from nearer."""
    gone = set(BUDGETS) if any(name in nearer for name in BUDGETS) else set()
    if "dropout" in nearer:
        gone |= set(_PARTS_OF_DROPOUT)
    if len(nearer.get("hidden", ())) > 1:
        gone.add("layers")
    kept = {name: value for name, value in values.items() if name not in gone}
    widths = set(kept.get("hidden", ()))
    if "layers" in nearer and len(widths) == 1:
        kept["hidden"] = tuple(widths)
    return kept


def defaults(task: str) -> dict[str, Any]:
    """What holds where neither the user nor the plan says anything; not ``valid``, which a named corpus may bring."""
    kinds = [kind for kind in _GROUPS.values() if kind not in _others(task)]
    every = (field for kind in kinds for field in fields(kind) if field.name != "valid")
    return {field.name: field.default for field in every if field.default not in (MISSING, None)}


def check(values: Mapping[str, Any]) -> None:
    """Raise ConfigError where values are out of range or contradict each other, before any text is read."""
    task = TaskSettings(**part(TaskSettings, values)).task
    _check_task(task, values)
    Regularisers(**part(Regularisers, values))
    TrainingConfig(**{"batch": 1, "bptt": 1, "lr": 1e-3, **part(TrainingConfig, values)})
    hidden, layers = values.get("hidden", ()), values.get("layers")
    if len(hidden) > 1 and layers not in (None, len(hidden)):
        raise ConfigError(f"layers is {layers}, but hidden gives {len(hidden)} widths; leave one of them out")
    model = part(ModelConfig, values)
    if "embed" in model:
        check_range("embed", model["embed"], 1, 1 << 24)
    model.setdefault("hidden", (model.get("embed", 64),))
    whole = ModelConfig(**{"vocab": 2, "embed": 1, **model, "tied": False})
    if model.get("tied") and "hidden" in values and task in ("lm", "dialogue"):
        ModelConfig(**{"vocab": 2, "embed": whole.readout, **model})


def _others(task: str) -> set[type]:
    """The groups of the other tasks."""
    return {kind for kind, tasks in _ONLY.items() if task not in tasks}


def _check_task(task: str, values: Mapping[str, Any]) -> None:
    for kind, tasks in _ONLY.items():
        given = part(kind, values)
        if task in tasks:
            kind(**given)
        elif given:
            raise ConfigError(
                f"{next(iter(given))} is for --task {' and '.join(tasks)}; leave it out: the task is {task}"
            )
    if values.get("label_smoothing") and task in ("lm", "dialogue", "music"):
        raise ConfigError(f"label_smoothing is for --task translate and classify; the task is {task}")


def part(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that are fields of the dataclass ``kind``."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def settled(options: Any) -> dict[str, Any]:
    """The settings of texts that a tokenizer was made with; not ``vocab``, which the same text gives again."""
    return {name: value for name, value in part(TextSettings, asdict(options)).items() if name != "vocab"}


def to_toml(values: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """``values`` as a TOML file that ``--config`` reads, each with its reason beside it."""
    lines = []
    for name, value in values.items():
        if value is None:
            continue
        reason = reasons.get(name)
        lines.append(f"{name} = {_toml(value)}" + (f"  # {reason}" if reason else ""))
    return "\n".join(lines) + "\n"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; --config wants a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{file}: not readable as TOML: {error}") from None


def _known(name: str, where: str) -> Setting:
    setting = known_settings().get(name)
    if setting is None:
        raise ConfigError(f"unknown key {name!r} in {where}{did_you_mean(name, known_settings())}")
    return setting


def _typed(name: str, value: Any, where: str) -> Any:
    """``value`` as the kind of the setting; numbers may come whole where a fraction is expected."""
    setting = _known(name, where)
    if name == "hidden":
        return _widths(value)
    if setting.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if setting.kind is str and isinstance(value, int | float | Path):
        return str(value)
    if not isinstance(value, setting.kind) or (isinstance(value, bool) and setting.kind is not bool):
        raise ConfigError(f"{name} in {where} is {value!r}; expected {_NAMES[setting.kind]}")
    return value


def _from_text(setting: Setting, text: str) -> Any:
    if setting.kind is bool and text.lower() in ("1", "true", "yes", "0", "false", "no"):
        return text.lower() in ("1", "true", "yes")
    try:
        return _typed(setting.name, setting.kind(text) if setting.kind is not bool else text, "the environment")
    except ValueError:
        raise ConfigError(f"{setting.name} in the environment is {text!r}; expected {_NAMES[setting.kind]}") from None


def _widths(value: Any) -> tuple[int, ...]:
    """``512``, ``"512,256"`` or ``[512, 256]``: one width for every layer, or one each."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        widths = tuple(int(str(width)) for width in parts)
    except ValueError:
        raise ConfigError(
            f"hidden is {value!r}; expected a width such as 256, or one for each layer: 512,256"
        ) from None
    for width in widths:
        check_range("hidden", width, 1, 1 << 20)
    return widths


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _plain(hint: Any) -> type:
    """The type behind ``X | None``."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    return hint if isinstance(hint, type) else str


def _field_texts(kind: type) -> dict[str, str]:
    """The string under each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            texts[field.target.id] = " ".join(str(after.value.value).split())
    return texts


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's escapes are those of JSON
    return repr(value)
