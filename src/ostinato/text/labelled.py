"""Texts with a label each, one a line: ``label<TAB>text``, or ``label text`` where no line of a file has a tab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import TextError
from ostinato.text.corpus import Corpus, lines


@dataclass(frozen=True)
class Labelled:
    """Lines of one or more files, in their order."""

    labels: list[str]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)


def read_labelled(paths: Sequence[str | Path]) -> Labelled:
    """The lines of files, plain or .gz; ``-`` is standard input.

    Raises TextError as ``Corpus`` does, and on a line without a label or without text, which it names.
    """
    labels: list[str] = []
    texts: list[str] = []
    for path in paths:
        for label, text in _pairs(Corpus([path])):
            labels.append(label)
            texts.append(text)
    return Labelled(labels, texts)


def _pairs(corpus: Corpus) -> Iterator[tuple[str, str]]:
    name = "standard input" if corpus.names[0] == "-" else corpus.names[0]
    tabs = any("\t" in chunk for chunk in corpus.chunks())
    form = "label<TAB>text" if tabs else "label<TAB>text or label text"
    for number, line in enumerate(lines(corpus.chunks()), start=1):
        label, mark, text = line.partition("\t") if tabs else line.strip().partition(" ")
        label, text = label.strip(), text.strip()
        if label and mark and text:
            yield label, text
            continue
        lacks = "is empty" if not line.strip() else f"has no text: {_shown(line)}" if label else "has no label"
        raise TextError(f"{name}, line {number} {lacks}; expected {form}")


def _shown(line: str) -> str:
    return repr(line if len(line) <= 40 else line[:39] + "…")
