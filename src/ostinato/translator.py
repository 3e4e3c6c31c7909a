"""A trained translator in Python, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import bundle
from ostinato.architectures import TranslatorConfig
from ostinato.bundle import Bundle
from ostinato.decode.beam import Hypothesis, beam_search
from ostinato.decode.sampling import log_softmax
from ostinato.engine.translator import TranslatorEngine
from ostinato.errors import BundleError, ConfigError
from ostinato.text import tokenizer as tokenizers
from ostinato.types import Floats, Ids, Tokenizer

TOGETHER = 32
"""Pieces that are translated at once."""
WINDOW = 512
"""Lines that are read ahead, so that those of a length can be translated together."""
LONGEST = 250
"""Tokens that are translated as a whole; a longer line goes in pieces, cut at the end of a sentence where there is one:
memory is bounded, and no model has learned from lines of any length."""


@dataclass(frozen=True)
class Translation:
    """A line in the other language."""

    text: str
    logprob: float
    """Nats under the model, of all its tokens and its end."""
    score: float
    """What translations of a line are ranked by: the log-probability over the length, see ``beam_search``."""


@dataclass(frozen=True)
class Alignment:
    """What the model looked at while it wrote a line."""

    source: list[str]
    """Tokens ``(S,)``."""
    target: list[str]
    """Tokens ``(T,)``, the end among them."""
    weights: Floats
    """``(T, S)``: each row sums to 1."""


class Translator:
    """A translator and its tokenizers."""

    def __init__(
        self,
        model: TranslatorConfig,
        tensors: Mapping[str, Floats],
        target: Tokenizer,
        source: Tokenizer | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """``tensors`` as in a bundle. Raises BundleError when a tokenizer does not match the weights."""
        self.source, self.target = source or target, target
        for side, tokenizer, size in (
            ("source", self.source, model.encoder.vocab),
            ("target", self.target, model.decoder.vocab),
        ):
            if tokenizer.vocab_size != size:
                raise BundleError(
                    f"the {side}'s tokenizer has {tokenizer.vocab_size:,} tokens, the weights are for {size:,}; "
                    "put back the file that the model was trained with"
                )
        self.model, self.training = model, dict(training or {})
        self.engine = TranslatorEngine(model, tensors, target.boundary_id)

    def translate(self, text: str, **options: Any) -> str:
        """The best translation of a line, or of each line of a text; ``options`` are those of ``translate_lines``."""
        lines = text.split("\n")
        return "\n".join(found[0].text for found in self.translate_lines(lines, **options))

    def translate_lines(
        self, lines: Iterable[str], *, beam: int = 5, n_best: int = 1, length_penalty: float = 1.0
    ) -> Iterator[list[Translation]]:
        """The ``n_best`` translations of each line, the best first, in their order, in bounded memory.

        Unknown words of a word-level model are copied from the source: the word that attention looked at most. An empty
        line stays empty. A line of more than LONGEST tokens goes in pieces, each by its best translation. Raises
        ConfigError on a setting out of range.
        """
        if beam < 1:
            raise ConfigError(f"beam is {beam}; expected 1 (greedy) or more")
        if not 1 <= n_best <= beam:
            raise ConfigError(f"n_best is {n_best}; expected 1 to the beam's width, {beam}")
        waiting = iter(lines)
        while window := list(islice(waiting, WINDOW)):
            pieces = [self._pieces(line) for line in window]
            flat = [piece for each in pieces for piece in each]
            found = iter(self._translate(flat, beam, length_penalty))
            for each in pieces:
                yield _join([next(found) for _ in each])[:n_best]

    def score(self, source: str, target: str) -> float:
        """Log-probability of ``target`` as the translation of ``source``, in nats, its end included."""
        reading = self.engine.read([self._encode(source)])
        ids = self.target.encode(target)
        state = reading.start()
        logits, _ = reading.run(ids[:, None], state)
        scores = log_softmax(np.concatenate([reading.logits(state), logits[:, 0]]))
        return float(scores[np.arange(len(ids) + 1), [*ids, self.target.boundary_id]].sum())

    def align(self, source: str, target: str) -> Alignment:
        """The attention while ``target`` is written. Raises ConfigError for a model without."""
        if self.model.attention == "none":
            raise ConfigError("this model reads its source as one vector: it has no attention to show")
        there, here = self._encode(source), self.target.encode(target)
        labels = [self.target.label(int(token)) for token in here]
        return Alignment([self.source.label(int(token)) for token in there], [*labels, "</s>"], self._look(there, here))

    def _look(self, source: Ids, target: Ids) -> Floats:
        """Attention ``(T + 1, S)`` before each token of ``target (T,)`` and before its end."""
        reading = self.engine.read([source])
        state = reading.start()
        rows = [reading.weights(state)]
        for token in target:
            _, state = reading.step(np.array([token]), state)
            rows.append(reading.weights(state))
        return np.concatenate(rows)

    def _encode(self, text: str) -> Ids:
        """The ids of a source; of one without a token, the boundary."""
        ids = self.source.encode(text)
        return ids if len(ids) else np.array([self.source.boundary_id])

    def _pieces(self, line: str) -> list[str]:
        """``line`` in pieces of about LONGEST tokens at most."""
        spans = self.source.encode_with_spans(line)[1]
        pieces, token, start = [], 0, 0
        while len(spans) - token > LONGEST:
            cut = _cut(line, start, int(spans[token + LONGEST - 1, 1]))
            pieces.append(line[start:cut].rstrip())
            token, start = int(np.searchsorted(spans[:, 0], cut)), cut
        return [*pieces, line[start:]]

    def _translate(self, lines: Sequence[str], beam: int, length_penalty: float) -> list[list[Translation]]:
        """Lines of about the same length together."""
        sources = [self._encode(line) for line in lines]
        order = sorted((i for i, line in enumerate(lines) if line.strip()), key=lambda i: len(sources[i]))
        found = [[Translation("", 0.0, 0.0)] for _ in lines]
        for first in range(0, len(order), TOGETHER):
            batch = order[first : first + TOGETHER]
            reading = self.engine.read([sources[i] for i in batch])
            most = [2 * len(sources[i]) + 20 for i in batch]
            searches = beam_search(
                reading,
                reading.start(),
                end=self.target.boundary_id,
                width=beam,
                most=most,
                length_penalty=length_penalty,
            )
            for i, hypotheses in zip(batch, searches, strict=True):
                found[i] = [self._translation(lines[i], sources[i], one) for one in hypotheses]
        return found

    def _translation(self, line: str, source: Ids, found: Hypothesis) -> Translation:
        unknown = self.target.unk_id
        if unknown in found.ids and self.target.level == "word" and self.model.attention != "none":
            text = self._copied(line, source, found)
        else:
            text = self.target.decode(found.ids)
        return Translation(text.strip("\n"), found.logprob, found.score)

    def _copied(self, line: str, source: Ids, found: Hypothesis) -> str:
        """The words of a hypothesis, the unknown ones those of the source they are aligned to (Jean et al. 2015)."""
        spans = self.source.encode_with_spans(line)[1]
        looked = self._look(source, np.array(found.ids))
        decoder, words = self.target.decoder(), []
        for token, weights in zip(found.ids, looked, strict=False):
            shown = decoder.push(token)
            if token == self.target.unk_id:
                start, end = spans[int(weights.argmax())]
                shown = shown[: len(shown) - len(shown.lstrip())] + line[start:end]
            words.append(shown)
        return "".join(words) + decoder.finish()


def _cut(line: str, start: int, reach: int) -> int:
    """Where to cut the piece from ``start`` that may go to ``reach``: after a sentence, else after a word."""
    sentence = max(line.rfind(mark, start, reach) + 2 for mark in (". ", "! ", "? "))
    if sentence > start + (reach - start) // 4:
        return sentence
    word = line.rfind(" ", start, reach) + 1
    return word if word > start else reach


def _join(pieces: list[list[Translation]]) -> list[Translation]:
    """Of a line in one piece all its translations; of one in several the best of each, side by side."""
    if len(pieces) == 1:
        return pieces[0]
    best = [found[0] for found in pieces if found[0].text]
    logprob = sum(one.logprob for one in best)
    return [
        Translation(" ".join(one.text for one in best), logprob, sum(one.score for one in best) / max(1, len(best)))
    ]


def load(folder: str | Path) -> Translator:
    """The translator in a folder. Raises BundleError when it is missing, damaged, foreign or for another task."""
    return translator(bundle.load_kind(folder, TranslatorConfig))


def translator(found: Bundle[TranslatorConfig]) -> Translator:
    """The translator of a folder as read."""
    target, *source = (tokenizers.load(path) for path in found.tokenizer_paths)
    return Translator(found.model, found.tensors, target, source[0] if source else None, found.training)
