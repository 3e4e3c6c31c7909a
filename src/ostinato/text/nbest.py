"""N-best lists: JSON Lines, or text tables in Kaldi's way. Bad lists are named and left out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ostinato.errors import ConfigError, TextError
from ostinato.text.corpus import Corpus

TEXT, TOTAL = "text", "total"
"""What a hypothesis has beside its scores: its words, and the sum that ``ostinato rescore`` ranks by."""


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance."""

    text: str
    scores: Mapping[str, float]
    """By name; a list of a word's scores each is their sum."""


@dataclass(frozen=True)
class NBest:
    """The hypotheses of one utterance, in the order they came in."""

    id: str
    hypotheses: tuple[Hypothesis, ...]
    reference: str | None
    where: str
    """File and line."""


@dataclass
class Lists:
    """What files hold, and what is wrong with the rest of them."""

    lists: list[NBest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """One line each: file, line, what came and what was expected."""

    @property
    def names(self) -> list[str]:
        """Of the scores, which are those of every hypothesis."""
        return list(self.lists[0].hypotheses[0].scores) if self.lists else []


Tables = Mapping[str, Mapping[str, tuple[str, str]]]


def read_lists(
    paths: Sequence[str | Path], *, references: str | Path | None = None, scores: Mapping[str, str | Path] | None = None
) -> Lists:
    """The lists of files, plain or .gz; ``-`` is standard input.

    JSON Lines, a list a line: ``{"id", "ref", "hyps": [{"text", NAME: number or one for each word}]}``, or only the
    hypotheses, ``[{"text", "score"}]``; ids are then the line numbers, after the file's name where there are several
    files. Kaldi's tables: ``utterance-N words``, scores in tables of their own, ``utterance-N number``, by name in
    ``scores``. ``references``, ``utterance words``, come before those of the lists. A score called ``total`` is left
    out: ``ostinato rescore`` writes it, by weights tuned on the references. All lists have the scores that most of them
    have. What is wrong with a list stands in ``problems``; raises TextError when no list is left, or a table of scores
    or references cannot be read, ConfigError on tables that are not asked, or with names that are taken.
    """
    for name in {TEXT, TOTAL} & {*(scores or {})}:
        raise ConfigError(f"no score can be called {name}; give it another name")
    reader = _Reader(
        {name: _table(path) for name, path in (scores or {}).items()},
        _table(references) if references else {},
        several=len(paths) > 1,
    )
    for path in map(str, paths):
        try:
            reader.read(path)
        except TextError as error:
            reader.found.problems.append(str(error))
    found = reader.matched()
    if not found.lists:
        raise TextError(found.problems[0] if found.problems else "there is no list; expected one a line")
    if references and all(one.reference is None for one in found.lists):
        raise TextError(f"{references} has no line for {found.lists[0].id!r}, nor for any other list; look at the ids")
    return found


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = line[error.start]
        raise TextError(f"{where}: byte {error.start + 1} is 0x{bad:02x}, not UTF-8; expected UTF-8 text") from None


def _table(path: str | Path) -> dict[str, tuple[str, str]]:
    """``key rest`` lines of a file: the rest and the place, by key. Raises TextError on a key that comes twice."""
    table: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(Corpus([path]).byte_lines(), 1):
        where = f"{path}, line {number}"
        key, rest = _parted(_decoded(line, where))
        if key in table:
            raise TextError(f"{where}: {key!r} comes again; expected every utterance once")
        if key:
            table[key] = (rest, where)
    return table


def _parted(line: str) -> tuple[str, str]:
    """The first word of a line, and the others."""
    key, *rest = line.split(maxsplit=1)[:2] or [""]
    return key, "".join(rest).strip()


class _Reader:
    def __init__(self, scores: Tables, references: Mapping[str, tuple[str, str]], *, several: bool) -> None:
        self.found = Lists()
        self._tables, self._several = 0, several
        self._scores, self._references = scores, references
        self._ids: dict[str, str] = {}

    def read(self, path: str) -> None:
        """The lists of one file; its first letter says which kind it is."""
        before, lines = len(self.found.lists) + len(self.found.problems), Corpus([path]).byte_lines()
        table: dict[str, list[Hypothesis]] = {}
        for number, line in enumerate(lines, 1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                text = _decoded(line, where)
                if text.lstrip()[0] in "{[":
                    self._add(self._from_json(text, f"{path}:{number}" if self._several else str(number), where))
                else:
                    self._add_line(text, where, table)
            except TextError as error:
                self.found.problems.append(str(error))
        self._tables += len(table)
        for key, hypotheses in table.items():
            self._try(NBest(key, tuple(hypotheses), None, f"{path}, utterance {key}"))
        if len(self.found.lists) + len(self.found.problems) == before:
            raise TextError(f"{path} is empty; expected n-best lists, one a line")

    def _try(self, one: NBest) -> None:
        try:
            self._add(one)
        except TextError as error:
            self.found.problems.append(str(error))

    def _add(self, one: NBest) -> None:
        """Keep a list whose id is new."""
        if one.id in self._ids:
            raise TextError(f"{one.where}: id {one.id!r} comes again, first in {self._ids[one.id]}; expected it once")
        self._ids[one.id] = one.where
        self.found.lists.append(replace(one, reference=self._references.get(one.id, (one.reference,))[0]))

    def matched(self) -> Lists:
        """The lists that have the scores of most of them, in one order; of as many, those that came first."""
        if self._scores and self.found.lists and not self._tables:
            raise ConfigError("scores are given in tables, which lists in JSON do not read: they bring their own")
        names = Counter(tuple(sorted(one.hypotheses[0].scores)) for one in self.found.lists)
        usual = names.most_common(1)[0][0] if names else ()
        wanted = next(
            (list(h.scores) for one in self.found.lists for h in one.hypotheses if {*h.scores} == {*usual}), []
        )
        lists, self.found.lists = self.found.lists, []
        for one in lists:
            odd = [(n, h.scores) for n, h in enumerate(one.hypotheses, 1) if {*h.scores} != {*wanted}]
            if odd:
                number, shown = odd[0][0], ", ".join(odd[0][1]) or "none"
                expected = ", ".join(wanted) or "none, as most lists"
                self.found.problems.append(
                    f"{one.where}: hypothesis {number} has the scores {shown}; expected {expected}"
                )
                continue
            ordered = tuple(Hypothesis(h.text, {name: h.scores[name] for name in wanted}) for h in one.hypotheses)
            self.found.lists.append(replace(one, hypotheses=ordered))
        return self.found

    def _from_json(self, line: str, place: str, where: str) -> NBest:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TextError(f"{where} is not JSON: {error}; expected one list a line") from None
        record = {"hyps": record} if isinstance(record, list) else record
        name, reference, hypotheses = str(record.get("id", place)), record.get("ref"), record.get("hyps")
        if not isinstance(hypotheses, list) or not hypotheses:
            found = "an empty list" if hypotheses == [] else f"{hypotheses!r:.40}"
            raise TextError(f"{where}: hyps is {found}; expected one hypothesis or more")
        if not isinstance(reference, str | None):
            raise TextError(f"{where}: ref is {reference!r:.40}; expected a string")
        for key, value in (("id", name), ("ref", reference or "")):
            _check_unicode(value, f"{where}: {key}")
        read = tuple(_hypothesis(one, f"{where}, hypothesis {n}") for n, one in enumerate(hypotheses, 1))
        return NBest(name, read, reference, where)

    def _add_line(self, line: str, where: str, table: dict[str, list[Hypothesis]]) -> None:
        """A line of Kaldi's table."""
        key, text = _parted(line)
        name, dash, rank = key.rpartition("-")
        if not dash or not rank.isdecimal():
            raise TextError(f"{where}: {key[:40]!r} is no hypothesis; expected JSON, or utterance-N and its words")
        scores = {}
        for score, values in self._scores.items():
            value, place = values.get(key, ("", where))
            scores[score] = _number(value, f"{place}, {key}, score {score}") if value else math.nan
            if not value:
                raise TextError(f"{where}: {key} has no score {score}; expected one in its table")
        table.setdefault(name, []).append(Hypothesis(" ".join(text.split()), scores))


def _hypothesis(record: Any, where: str) -> Hypothesis:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise TextError(f"{where} is {record!r:.60}; expected an object with text and scores")
    _check_unicode(record["text"], f"{where}: text")
    text = " ".join(record["text"].split())
    words = len(text.split())
    scores = {
        name: _sum(value, words, f"{where}, score {name}")
        for name, value in record.items()
        if name not in (TEXT, TOTAL)
    }
    return Hypothesis(text, scores)


def _check_unicode(text: str, where: str) -> None:
    """JSON can name half a character, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{where} holds the lone surrogate U+{ord(text[error.start]):04X}; expected Unicode text"
        ) from None


def _sum(value: Any, words: int, where: str) -> float:
    """A score, or the sum of one for each word and, it may be, one for the end."""
    if not isinstance(value, list):
        return _number(value, where)
    if len(value) not in (words, words + 1):
        raise TextError(
            f"{where} has {len(value)} numbers for {words} words; expected {words}, or one more for the end"
        )
    return math.fsum(_number(part, where) for part in value)


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise TextError(f"{where} is {value!r:.40}; expected a finite number")
    return number
