"""Files of a line each: which of them is for what part of a run."""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.errors import TextError
from ostinato.pipeline.settings import TextSettings
from ostinato.text.listed import Listed, Wording, read_listed

PARTS = {"train": "to train on", "valid": "held out", "test": "to test on"}
"""The parts of data, and what they are for."""


def divide(texts: Sequence[str], settings: TextSettings, wording: Wording, what: str) -> dict[str, list[Listed]]:
    """The lines of each part. A share is held out from the end: files in a random order are the user's to arrange.

    Raises TextError as ``read_listed`` does, and on a part without ``what``.
    """
    lines, share = read_listed(texts, wording), settings.valid_share
    if share is None:
        parts = {"train": lines, "valid": read_listed([settings.valid], wording)}
    else:
        cut = len(lines) - max(1, round(share * len(lines)))
        parts = {"train": lines[:cut], "valid": lines[cut:]}
    if settings.test is not None:
        parts["test"] = read_listed([settings.test], wording)
    for part, some in parts.items():
        if not some:
            raise TextError(
                f"there are no {what} {PARTS[part]}, of {len(lines)} in all; give more, or --valid FILE to hold out"
            )
    return parts
