"""N-gram models in ARPA files, as SRILM and KenLM write and read them: reading, and scoring with back-off."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import TextError
from ostinato.score.scorer import LogProbs
from ostinato.text.corpus import lines, read_chunks
from ostinato.types import Ids

Logs = NDArray[np.float32]
LN10 = log(10)
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
OTHER_UNKNOWN = "<UNK>"
"""As some programs write it; KenLM takes both for the unknown word."""
MISSING_UNKNOWN = -100.0
"""log10 p of what the model does not know, where its file has no ``<unk>``; KenLM's."""
MOST = 10
"""The longest grams that are read."""
_HEADER = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)$")
_KENLM = b"mmap lm http://kheafield.com/code"
_WORD_BYTES, _GRAM_BYTES = 300, 90
"""Memory that reading takes for each word and for each longer gram: 275, and 68 to 81, were measured (docs/log.md)."""

_COLUMN = re.compile(r"[^ \t\n\r\v\f]+")


def columns(line: str) -> list[str]:
    """The words of a line, which only blanks of ASCII part, as KenLM has it: a no-break space is part of a word."""
    return line.split() if line.isascii() else _COLUMN.findall(line)


Place = tuple[int, ...]
"""The codes of the last word, the last two, ..., at their levels; -1 for what the model has no use for. Cut after the
last that it has: equal places score alike."""


@dataclass(frozen=True)
class Grams:
    """The grams of one length. A gram's code is its place; its key ``(code of all words but the last) * V + last``."""

    keys: Ids
    """Sorted, ``(M,)``."""
    logprob: Logs
    """log10, ``(M,)``."""
    backoff: Logs
    """log10, ``(M,)``."""
    extends: NDArray[np.bool_]
    """Whether it is a context that matters: longer grams begin with it, or its back-off is not 1."""

    def find(self, contexts: Ids, words: Ids, vocab: int) -> Ids:
        """The codes of the grams ``(context, word)``; -1 where there is none."""
        if not len(self.keys):
            return np.full_like(contexts, -1)
        wanted = contexts * vocab + words
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((contexts >= 0) & (self.keys[places] == wanted), places, -1)


class ArpaModel:
    """A back-off model. Implements ``Scorer[Place]``; ``log10`` and ``codes`` are its arithmetic for many states."""

    def __init__(self, words: Sequence[str], levels: Sequence[Grams]) -> None:
        """``words``: the vocabulary in the order of the unigrams, ``<unk>``, ``<s>`` and ``</s>`` among them."""
        self.words = tuple(words)
        self.ids = {word: index for index, word in enumerate(self.words)}
        self.levels = tuple(levels)
        self.unknown_id = self.ids[UNKNOWN]

    @property
    def order(self) -> int:
        """Words of the longest grams."""
        return len(self.levels)

    # Scorer

    def begin(self) -> Place:
        """The state at the beginning of a sentence: ``<s>``."""
        return self.after((), BEGIN)

    def after(self, state: Place, word: str) -> Place:
        """The state after one more word."""
        return self.extend([state], [word])[1][0]

    def extend(self, states: Sequence[Place], words: Sequence[str]) -> tuple[LogProbs, list[Place]]:
        """``log p(words[n] | states[n])``, ``(N,)``, and the states after those words."""
        ids = self.encode(words)
        logs, _, codes = self.log10(self.pack(states), ids)
        return logs * LN10, self.unpack(codes)

    def end(self, states: Sequence[Place]) -> LogProbs:
        """``log p`` of ``</s>`` after each state, ``(N,)``."""
        logs, _, _ = self.log10(self.pack(states), np.full(len(states), self.ids[END]))
        ends: LogProbs = logs * LN10
        return ends

    def __contains__(self, word: str) -> bool:
        """Whether the vocabulary has the word; ``<unk>`` is none."""
        return self.ids.get(word, self.unknown_id) != self.unknown_id

    # Arithmetic

    def encode(self, words: Sequence[str]) -> Ids:
        """The ids ``(N,)``, of unknown words that of ``<unk>``."""
        return np.array([self.ids.get(word, self.unknown_id) for word in words], np.int64)

    def pack(self, states: Sequence[Place]) -> Ids:
        """States as an array ``(N, order - 1)``, filled up with -1."""
        packed = np.full((len(states), self.order - 1), -1, np.int64)
        for row, state in zip(packed, states, strict=True):
            row[: len(state)] = state
        return packed

    def unpack(self, codes: Ids) -> list[Place]:
        """The states of an array ``(N, order - 1)``."""
        lengths = [int(row.nonzero()[0][-1]) + 1 if row.any() else 0 for row in codes >= 0]
        return [tuple(row[:length]) for row, length in zip(codes.tolist(), lengths, strict=True)]

    def log10(self, contexts: Ids, ids: Ids) -> tuple[LogProbs, Ids, Ids]:
        """Of each word ``ids (N,)`` after ``contexts (N, order - 1)``: log10 p, words of the gram that gave it, and
        the context after it, ``(N, order - 1)``.
        """
        V = len(self.words)
        codes = ids
        logs = self.levels[0].logprob[ids].astype(np.float64)
        length = np.ones(len(ids), np.int64)
        after = np.full_like(contexts, -1)
        for n, level in enumerate(self.levels):
            if n > 0:
                context = contexts[:, n - 1]
                codes = level.find(context, ids, V)
                found = codes >= 0
                backoff = np.where(context >= 0, self.levels[n - 1].backoff[context], 0.0)
                logs = np.where(found, level.logprob[codes], logs + backoff)
                length[found] = n + 1
            if n < self.order - 1:
                after[:, n] = np.where((codes >= 0) & level.extends[codes], codes, -1)
        return logs, length, after


def read_arpa(path: str | Path) -> ArpaModel:
    """The model in an ARPA file, plain or .gz.

    Raises TextError, naming file and line, when something is not as the format or the file's own counts say: memory
    grows with what is read, never by what the file claims.
    """
    if _begins_with(path, _KENLM):
        raise TextError(
            f"{path} is in KenLM's binary format, which only KenLM reads; give the ARPA file it was made of"
        )
    return _Reader(str(path)).model()


def _begins_with(path: str | Path, mark: bytes) -> bool:
    """Of a file; a pipe is left alone, since what was read of it is gone."""
    if not Path(path).is_file():
        return False
    try:
        with Path(path).open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError:  # which reading will say better
        return False


class _Reader:
    """Reads one file line by line."""

    def __init__(self, name: str) -> None:
        self._name, self._number, self._line = name, 0, ""
        self._lines = lines(read_chunks([name]))
        self._words: list[str] = []
        self._ids: dict[str, int] = {}
        self._grams: list[Grams] = []

    def model(self) -> ArpaModel:
        counts = self._counts()
        self._check_memory(counts)
        for n, count in enumerate(counts, 1):
            self._section(n, count, last=n == len(counts))
        if self._line != "\\end\\":
            raise self._wrong(f"{self._line!r}", "\\end\\ after the last gram")
        for word in (BEGIN, END):
            if word not in self._ids:
                raise TextError(
                    f"{self._name} has no unigram {word}; expected a model of sentences, with {BEGIN} and {END}"
                )
        return ArpaModel(self._words, list(self._finished()))

    def _next(self) -> str:
        """The next line that is not blank."""
        for line in self._lines:
            self._number += 1
            self._line = line.strip(" \t\n\r\v\f")
            if self._line:
                return self._line
        self._number += 1
        raise self._wrong("the end of the file", "more of it: it is cut off, get it again")

    def _wrong(self, found: str, expected: str) -> TextError:
        shown = found if len(found) <= 80 else f"{found[:80]}..."
        return TextError(f"{self._name}, line {self._number}: found {shown}; expected {expected}")

    def _counts(self) -> list[int]:
        for _ in range(1000):  # what stands before \data\ is a comment
            if self._next() == "\\data\\":
                break
        else:
            raise TextError(f"{self._name} has no line \\data\\ in its first 1,000; expected an ARPA file")
        counts: list[int] = []
        while (match := _HEADER.match(self._next())) is not None:
            if int(match[1]) != len(counts) + 1:
                raise self._wrong(repr(self._line), f"ngram {len(counts) + 1}=...")
            counts.append(int(match[2]))
        if not 1 <= len(counts) <= MOST:
            raise self._wrong(f"{len(counts)} counts above it", f"the counts of 1 to {MOST} lengths of grams")
        return counts

    def _check_memory(self, counts: Sequence[int]) -> None:
        """What the file says it holds must fit, before hours are spent on reading it."""
        free = _free_memory()
        needed = counts[0] * _WORD_BYTES + sum(counts[1:]) * _GRAM_BYTES
        if free is not None and needed > free:
            raise TextError(
                f"{self._name} says it has {sum(counts):,} grams, for which about {needed / 1e9:.1f} GB are needed; "
                f"{free / 1e9:.1f} GB are free: use a smaller or pruned model"
            )

    def _section(self, n: int, count: int, *, last: bool) -> None:
        """The grams of ``n`` words."""
        if self._line != f"\\{n}-grams:":
            raise self._wrong(repr(self._line), f"\\{n}-grams:")
        rows, logs, numbers = array("i"), array("f"), array("q")
        while not (line := self._next()).startswith("\\"):
            fields = columns(line)
            if len(numbers) == count:
                raise self._wrong(f"one more gram of {n}", f"{count:,}, as the header says, or \\end\\")
            logs.extend(self._logs(fields, n, last))
            rows.extend(self._gram(fields[1 : n + 1], n))
            numbers.append(self._number)
        if len(numbers) != count:
            raise self._wrong(f"the end of {len(numbers):,} grams of {n}", f"{count:,}, as the header says")
        if n == 1 and UNKNOWN not in self._ids:
            rows.extend(self._gram([UNKNOWN], 1))
            logs.extend((MISSING_UNKNOWN, 0.0))
            numbers.append(0)
        self._add(np.frombuffer(rows, np.int32).reshape(-1, n), np.frombuffer(logs, np.float32).reshape(-1, 2), numbers)

    def _logs(self, fields: list[str], n: int, last: bool) -> tuple[float, float]:
        if not n + 1 <= len(fields) <= (n + 1 if last else n + 2):
            raise self._wrong(repr(self._line), f"log10 p, {n} words{'' if last else ' and at most a back-off'}")
        try:
            logprob, backoff = float(fields[0]), float(fields[n + 1]) if len(fields) > n + 1 else 0.0
        except ValueError:
            raise self._wrong(repr(self._line), "a number before the words and after them") from None
        if not logprob <= 0:
            raise self._wrong(f"log10 p of {fields[0]}", "0 or less")
        if not abs(backoff) < np.inf:
            raise self._wrong(f"a back-off of {fields[n + 1]}", "a finite number")
        return max(logprob, MISSING_UNKNOWN), backoff

    def _gram(self, words: list[str], n: int) -> list[int]:
        if n == 1:
            word = UNKNOWN if words[0] == OTHER_UNKNOWN else words[0]
            if word in self._ids:
                raise self._wrong(f"{word!r} again", "each unigram once")
            self._ids[word] = self._ids[words[0]] = len(self._words)
            self._words.append(word)
        try:
            return [self._ids[word] for word in words]
        except KeyError as error:
            raise self._wrong(f"{error.args[0]!r}", "a word of the unigrams") from None

    def _add(self, rows: NDArray[np.int32], logs: Logs, numbers: Sequence[int]) -> None:
        """Sort the grams ``rows (M, n)`` in, contexts by their codes."""
        V = len(self._words)
        codes = rows[:, 0].astype(np.int64)
        for k, level in enumerate(self._grams[1:], 1):
            codes = level.find(codes, rows[:, k].astype(np.int64), V)
        if len(self._grams) > 0:
            if (codes < 0).any():
                lost = int(np.flatnonzero(codes < 0)[0])
                shown = " ".join(self._words[word] for word in rows[lost, :-1])
                self._number = numbers[lost]
                raise self._wrong(f"a gram that begins with {shown!r}", "one whose beginning is a gram too")
            codes = codes * V + rows[:, -1]
        order = np.argsort(codes, kind="stable")
        keys = codes[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            again = int(order[twice[0] + 1])
            self._number = numbers[again]
            raise self._wrong(repr(" ".join(self._words[word] for word in rows[again])) + " again", "each gram once")
        self._grams.append(Grams(keys, logs[order, 0], logs[order, 1], np.zeros(len(keys), bool)))

    def _finished(self) -> Iterator[Grams]:
        V = len(self._words)
        for n, level in enumerate(self._grams):
            if not len(level.keys):
                return
            extends = level.backoff != 0
            if n + 1 < len(self._grams):
                extends[self._grams[n + 1].keys // V] = True
            yield Grams(level.keys, level.logprob, level.backoff, extends)


def _free_memory() -> int | None:
    """Bytes that can be had, what the system keeps of files among them; None where it does not say."""
    try:
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
