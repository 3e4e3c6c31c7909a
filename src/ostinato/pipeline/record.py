"""What a run notes down in its folder: which texts and settings it began with, so that it can go on with them.

``training/run.toml`` holds every setting with its reason and is never changed; ``training/run.json`` is the run's own
note, replaced atomically. A folder with a note is a run that can be resumed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ostinato import bundle
from ostinato.errors import BundleError, ConfigError, OstinatoError, TrainingError
from ostinato.pipeline import settings as names

Note = dict[str, Any]
"""``texts``, ``fingerprint``, ``given`` (settings as the user gave them), ``budget``; once known ``seconds`` and
``held_out``, of training that comes before ``seconds_before`` and what it took, ``before``; ``begun`` when there is a
checkpoint, ``done`` when there is nothing left to do."""


def default_folder(texts: Sequence[str | Path]) -> Path:
    """A folder named after the first text."""
    name = Path(texts[0]).name if texts else ""
    stem = name.lstrip(".").split(".")[0]
    return Path(f"{'text' if stem in ('', '-') else stem}-model")


def check_room(folder: Path, force: bool, *, resumable: bool = False) -> None:
    """Raise BundleError when ``folder`` holds something; with ``force`` only when it is not a folder.

    ``resumable`` says that going on with a run that is there is another way out.
    """
    kind = bundle.inspect_folder(folder)
    if kind == "empty":
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is a file; give -o the name of a folder")
    if not force:
        found = {"model": "holds a model", "partial": "holds an unfinished run", "other": "holds something else"}[kind]
        begun = kind != "other" and (folder / bundle.TRAINING).is_dir()
        hint = ", or --resume to go on" if resumable and begun else ""
        raise BundleError(f"{folder} {found}; use another -o, --force to replace it{hint}")


def begin(folder: Path, note: Note, values: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Clear away an earlier run in ``folder`` and note down a new one. Raises OstinatoError when that fails."""
    training = folder / "training"
    try:
        if training.is_dir():
            shutil.rmtree(training)
        training.mkdir(parents=True)
        (training / "run.toml").write_text(names.to_toml(values, reasons), "utf-8")
    except OSError as error:
        raise OstinatoError(f"cannot write to {folder}: {error.strerror}; give another folder with -o") from None
    write_note(folder, note)


def read_note(folder: Path) -> Note:
    """The note of the run in ``folder``. Raises TrainingError when there is none."""
    path = folder / "training" / "run.json"
    try:
        note = json.loads(path.read_text("utf-8"))
        known = {"texts": list(note["texts"]), "given": dict(note["given"]), "budget": dict(note["budget"])}
        if not known["budget"] or ("minutes" in note) != ("seconds" in note):
            raise ValueError
        return {**note, **known, "fingerprint": str(note["fingerprint"])}
    except OSError:
        if bundle.holds_eight_bits(folder):
            message = f"{folder} is a copy in eight bits, which cannot be trained on; resume the original"
            raise TrainingError(message) from None
        raise TrainingError(f"{folder} holds no run to resume; train without --resume") from None
    except (ValueError, KeyError, TypeError):
        raise TrainingError(f"{path} is damaged, so the run cannot be resumed; train anew with --force") from None


def write_note(folder: Path, note: Note) -> None:
    """Replace the note atomically. Raises OstinatoError when it cannot be written."""
    path = folder / "training" / "run.json"
    building = path.with_name(path.name + ".new")
    try:
        with building.open("w", encoding="utf-8") as file:
            file.write(json.dumps(note))
            file.flush()
            os.fsync(file.fileno())
        building.replace(path)
    except OSError as error:
        raise OstinatoError(f"{path}: cannot write: {error.strerror}; make room, then go on with --resume") from None


def recall(note: Note, folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run in ``folder``; of those ``given`` anew, only the budget and threads may differ.

    Raises ConfigError when another one does.
    """
    saved = names.gather({}, {}, folder / "training" / "run.toml")
    for name, value in given.items():
        same = (_plain(saved.get(name)), note["given"].get(name))
        if name not in (*names.BUDGETS, "threads") and _plain(value) not in same:
            before = saved.get(name, "its default")
            raise ConfigError(f"--resume goes on with {name} = {before}; to use {value}, train anew with --force")
    budget = {name: given[name] for name in names.BUDGETS if name in given} or note["budget"]
    if ("minutes" in budget) != ("minutes" in note["budget"]):
        before = next(iter(note["budget"]))
        raise ConfigError(
            f"the run was given in {before}; to go on, give a larger --{before}, or train anew with --force"
        )
    kept = {name: value for name, value in saved.items() if name not in names.BUDGETS}
    threads = {"threads": given["threads"]} if "threads" in given else {}
    return {**kept, **budget, **threads}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from JSON."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
