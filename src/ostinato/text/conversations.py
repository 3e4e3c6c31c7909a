"""Conversations: files with one turn a line, and the text that a language model learns to answer from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path

from ostinato.errors import ConfigError, TextError
from ostinato.text.corpus import Corpus, lines
from ostinato.text.decoding import LINE_END

HEADING = "# "
"""What a line with a topic begins with."""


@dataclass(frozen=True)
class Transcript:
    """One conversation as it was written down."""

    turns: tuple[str, ...]
    """What was said, the speakers alternating: each a line, normalised, never empty."""
    topic: str = ""
    """The heading it stands under; empty where there is none."""

    @property
    def text(self) -> str:
        """A line for each turn, then an empty one: a line end closes a turn, an empty line the conversation."""
        return "".join(turn + LINE_END for turn in self.turns) + LINE_END


def normalise(line: str) -> str:
    """``line`` with one blank for any number and kind of them, none at its ends: what a turn looks like."""
    return " ".join(line.split())


class Conversations:
    """The conversations of some files: like a ``Corpus`` read in a stream, any number of times.

    One turn a line, speakers alternating, an empty line between conversations; a file's end closes one too. A line that
    begins with ``# `` is a heading, the topic of what follows up to the next one. Headings stay out of the text: nobody
    says them, so a model that had read one before every conversation would miss it in every chat. ``split`` uses them.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        """``paths`` are taken, and refused, as by ``Corpus``."""
        if not paths:
            raise TextError("no text was named; expected one or more files of conversations, or - for standard input")
        self._names = [str(path) for path in paths]
        self._files = {name: Corpus([name]) for name in dict.fromkeys(self._names)}
        self._chosen: list[bool] | None = None

    def __iter__(self) -> Iterator[Transcript]:
        """Raises TextError (naming file and line) on a heading without turns or among them, when no conversation has
        two turns, and as ``Corpus.chunks`` does."""
        everything = self._everything()
        return everything if self._chosen is None else compress(everything, self._chosen)

    def _everything(self) -> Iterator[Transcript]:
        answered = False
        for name in self._names:
            for transcript in _transcripts(self._files[name], name):
                answered = answered or len(transcript.turns) > 1
                yield transcript
        if not answered:
            raise TextError(
                f"{', '.join(self._names)}: no conversation has two turns, so there is nothing to learn to answer; "
                "expected one turn a line and an empty line between conversations"
            )

    def chunks(self) -> Iterator[str]:
        """The text from its beginning, a conversation a piece. Raises TextError as going through them does."""
        return (transcript.text for transcript in self)

    @cached_property
    def _totals(self) -> tuple[int, str]:
        digest = hashlib.blake2b(digest_size=16)
        chars = 0
        for chunk in self.chunks():
            digest.update(chunk.encode())
            chars += len(chunk)
        return chars, digest.hexdigest()

    @property
    def chars(self) -> int:
        """Length of the text in characters; reads all of it the first time."""
        return self._totals[0]

    def fingerprint(self) -> str:
        """A digest of the text, whatever its files, headings and blanks; reads it all the first time."""
        return self._totals[1]

    def split(self, share: float) -> tuple[Conversations, Conversations]:
        """Those to learn from, and a ``share`` of them, by number, to hold out: none is cut, each is in one of the two.

        The last ones of every topic are held out, as many of each as its part of the whole: such files are often
        sorted by topic, and the end of the file would then be of topics never learnt from. Without headings it is the
        end of the text. Raises ConfigError on a share that is not between 0 and 1, TextError on one conversation only.
        """
        if not 0 < share < 1:
            raise ConfigError(f"share is {share}; expected more than 0 and less than 1")
        topics = [transcript.topic for transcript in self]
        if len(topics) < 2:
            raise TextError(
                f"{', '.join(self._names)}: one conversation, so none can be held out; give more, with an empty line "
                "between conversations, or hold out a file of its own"
            )
        held_out = _last_of_each(topics, min(max(round(share * len(topics)), 1), len(topics) - 1))
        return self._part([not held for held in held_out]), self._part(held_out)

    def _part(self, chosen: list[bool]) -> Conversations:
        """Some of them; the files are shared, so that standard input is kept once."""
        part = copy(self)
        part.__dict__.pop("_totals", None)
        if self._chosen is not None:
            flags = iter(chosen)
            chosen = [mine and next(flags) for mine in self._chosen]
        part._chosen = chosen
        return part


def _last_of_each(topics: Sequence[str], total: int) -> list[bool]:
    """Which to hold out, ``total`` in all: the topics' parts of it come from rounding their running sum."""
    kept, before = {}, 0
    for topic, size in Counter(topics).items():  # in the order of their first conversations
        until = before + size
        kept[topic] = size - (total * until // len(topics) - total * before // len(topics))
        before = until
    seen: Counter[str] = Counter()
    result = []
    for topic in topics:
        result.append(seen[topic] >= kept[topic])
        seen[topic] += 1
    return result


def _transcripts(file: Corpus, name: str) -> Iterator[Transcript]:
    topic, bare = "", 0  # the line of a heading that nothing stands under yet; 0 for none
    turns: list[str] = []
    for number, line in enumerate(lines(file.chunks()), start=1):
        turn = normalise(line)
        if turn.startswith(HEADING):
            if turns:
                raise TextError(f"{name}, line {number}: a heading among turns; put an empty line before it")
            _refuse_bare(name, bare)
            topic, bare = turn.removeprefix(HEADING), number
        elif turn:
            turns.append(turn)
            bare = 0
        elif turns:
            yield Transcript(tuple(turns), topic)
            turns = []
    _refuse_bare(name, bare)
    if turns:
        yield Transcript(tuple(turns), topic)


def _refuse_bare(name: str, line: int) -> None:
    if line:
        raise TextError(f"{name}, line {line}: a heading with nothing under it; expected turns, one a line")
