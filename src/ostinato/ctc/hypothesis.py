"""What decoding finds: a text, when each part of it was said, and how probable it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ostinato.ctc.labels import Labels


@dataclass(frozen=True)
class Span:
    """A label or a word, and its frames: from ``start`` up to, but without, ``end``.

    They are those of the likeliest single alignment. CTC models tend to peak in the middle of a sound, so a span is
    where the model saw it rather than how long it lasted.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Hypothesis:
    """A text that may have been said. All logarithms are natural."""

    text: str
    """Its words with a blank between them."""
    score: float
    """What hypotheses are ranked by: ``acoustic``, plus what each fusion adds."""
    acoustic: float
    """``log p(labels | frames)``, over all alignments (of ``greedy``: of the one alignment)."""
    language: float
    """``log p`` under the language models, without their weights; 0 without any."""
    labels: tuple[Span, ...]
    """In order, blanks between words among them."""

    @property
    def words(self) -> tuple[Span, ...]:
        """In order."""
        words: list[list[Span]] = []
        for span in self.labels:
            if span.text.startswith(" ") or not words:
                words.append([])
            if span.text != " ":
                words[-1].append(span)
        return tuple(
            Span("".join(part.text for part in parts).strip(), parts[0].start, parts[-1].end)
            for parts in words
            if parts
        )


def hypothesis(
    labels: Labels,
    found: Sequence[tuple[int, int, int]],
    *,
    acoustic: float,
    extra: float = 0.0,
    language: float = 0.0,
) -> Hypothesis:
    """Of the columns that were found, each with the first frame and that after the last."""
    texts = labels.texts
    spans = tuple(Span(texts[column], start, end) for column, start, end in found)
    text = "".join(span.text for span in spans)
    return Hypothesis(" ".join(filter(None, text.split(" "))), acoustic + extra, acoustic, language, spans)
