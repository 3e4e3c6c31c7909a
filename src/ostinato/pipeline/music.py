"""The task of ``--task music``: polyphonic pieces, as steps of keys that sound."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ostinato.data.rolls import Roll
from ostinato.errors import MusicError
from ostinato.models.composer import RecurrentComposer
from ostinato.music import Piece, read_parts
from ostinato.pipeline import settings as names
from ostinato.pipeline.parts import PARTS
from ostinato.pipeline.task import Task
from ostinato.training.composing import HeldOutRolls, RollObjective
from ostinato.training.objective import Objective
from ostinato.training.plan_music import MusicSize, plan


class MusicTask(Task):
    """Pieces, and the plan for a composer of such."""

    reused = False
    unit = "steps"

    def __init__(self, texts: Sequence[str], given: Mapping[str, Any]) -> None:
        """Raises MusicError or ConfigError when the pieces cannot be used, or are too few."""
        text = names.TextSettings(**names.part(names.TextSettings, given))
        beats = given.get("beats") or 1.0
        pieces = _parts(texts, text, beats, "valid" in given)
        self._texts = [Path(name).name for name in texts]
        self._rolls: dict[str, list[Roll]] = {part: [piece.roll for piece in some] for part, some in pieces.items()}
        self.fingerprint = _fingerprint(self._rolls)
        self.plan = plan(measure(self._rolls["train"]), given)

    @property
    def data(self) -> str:
        """Pieces by part."""
        counts = [f"{len(rolls):,} {PARTS[part]}" for part, rolls in self._rolls.items()]
        size = measure(self._rolls["train"])
        return f"pieces of music: {', '.join(counts)}; {size.steps:,} steps and {size.notes:,} notes to train on"

    @property
    def tokenizer_json(self) -> list[str]:
        """None: keys have numbers already."""
        return []

    @property
    def settled(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def build(self) -> nn.Module:
        """A composer."""
        return RecurrentComposer(self.plan.model, self.plan.regularisers)

    def objective(self, model: Any) -> Objective:
        """The keys of each step, given those of all steps before."""
        training, transpose = self.plan.training, self.plan.values["transpose"]
        return RollObjective(model, self._rolls["train"], training.batch, training.bptt, transpose, training.seed)

    def held_out(self, part: str) -> HeldOutRolls | None:
        """A part of the pieces."""
        return HeldOutRolls(self._rolls[part]) if part in self._rolls else None

    def scores(self, part: str, measured: Mapping[str, float], size: int) -> dict[str, Any]:
        """Nats per step."""
        some = HeldOutRolls(self._rolls[part]).first(size)
        return {"pieces": len(some.rolls), "steps": size, "nats_per_step": measured["nats"]}

    def about(self) -> dict[str, Any]:
        """Sizes of the data."""
        size = measure(self._rolls["train"])
        counts = {"train_pieces": size.pieces, "train_steps": size.steps, "train_notes": size.notes}
        return {"texts": self._texts, **counts}


def measure(rolls: Sequence[Roll]) -> MusicSize:
    """What the plan has to know of pieces."""
    lengths = [len(roll) for roll in rolls]
    return MusicSize(len(rolls), sum(lengths), max(lengths), sum(int(roll.sum()) for roll in rolls))


def _parts(
    texts: Sequence[str], settings: names.TextSettings, beats: float, valid_given: bool
) -> dict[str, list[Piece]]:
    """The pieces of each part: those that a file names, or else of --valid and --test; a share is held out from the
    end."""
    found = read_parts(texts, beats)
    undivided = found.pop("", [])
    parts = {"train": found.pop("train", []) + undivided, **found}
    if settings.valid_share is None:
        parts["valid"] = _all(settings.valid, beats, "valid")
    elif "valid" not in parts or valid_given:
        pieces = parts["train"] + parts.get("valid", [])
        cut = len(pieces) - max(1, round(settings.valid_share * len(pieces)))
        parts["train"], parts["valid"] = pieces[:cut], pieces[cut:]
    if settings.test is not None:
        parts["test"] = _all(settings.test, beats, "test")
    for part in ("train", "valid", *(["test"] if "test" in parts else [])):
        if not parts[part]:
            total = sum(map(len, parts.values()))
            raise MusicError(
                f"there are no pieces {PARTS[part]}, of {total} in all; give more, or --valid FILE to hold out"
            )
    return {part: parts[part] for part in PARTS if part in parts}


def _all(path: str, beats: float, part: str) -> list[Piece]:
    """The pieces of a file that is given for one part: those that it has for it, or all of a file that does not say."""
    found = read_parts([path], beats)
    return found.get(part) or [piece for pieces in found.values() for piece in pieces]


def _fingerprint(rolls: Mapping[str, Sequence[Roll]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part, some in rolls.items():
        digest.update(part.encode())
        for roll in some:
            digest.update(f"{len(roll)},".encode())
            digest.update(roll.tobytes())
    return digest.hexdigest()
