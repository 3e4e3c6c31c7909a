"""Words as a recogniser writes them and as they are compared: clitics split off, or joined."""

from __future__ import annotations

import re

_SPLIT = re.compile(r"(?<=\S)\s+(?=(?:n't|'(?:s|t|re|ve|m|ll|d|em)?)(?:\s|$))", re.IGNORECASE)
_JOINED = re.compile(r"(?<=[^\W\d_])(?=(?:n't|'(?:s|re|ve|m|ll|d)?)(?:\s|$))|(?<=[sS])(?='(?:\s|$))", re.IGNORECASE)


def join_clitics(text: str) -> str:
    """The words with their clitics joined, one blank between: ``was n't`` becomes ``wasn't``, ``banks ' `` ``banks'``."""
    return " ".join(_SPLIT.sub("", text).split())


def split_clitics(text: str) -> str:
    """The words with their clitics split off, in the Penn Treebank's way: ``wasn't`` becomes ``was n't``."""
    return " ".join(_JOINED.sub(" ", text).split())
