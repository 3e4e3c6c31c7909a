"""A trained captioner in Python, without torch: caption, score and retrieve images."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures import CaptionerConfig
from ostinato.bundle import Bundle, check_vocabulary, load_kind
from ostinato.data.pixels import lay_on
from ostinato.data.ragged import Ragged
from ostinato.decode.beam import beam_search
from ostinato.decode.generate import generate, stream_rng
from ostinato.decode.sampling import check_sampling, log_softmax
from ostinato.engine.captioner import CaptionEngine
from ostinato.errors import ConfigError, TextError
from ostinato.images import from_array, read_image
from ostinato.text import tokenizer as tokenizers
from ostinato.types import Floats, Ids, Sampling, State, Tokenizer

Image = str | Path | NDArray[np.uint8]
"""A file, or ``(height, width, 3 or 4)`` in uint8; ``(height, width)`` is grey."""

MOST_TOKENS = 200
"""Of a caption: one that has not ended by then is given as it is."""
_ROWS = 64  # captions scored at once
_IMAGES = 64  # images looked at once


@dataclass(frozen=True)
class Caption:
    """A caption that a model made."""

    text: str
    logprob: float
    """Of the whole caption and its end, in nats, under the model's own distribution."""
    ended: bool
    """Whether the model ended it; else it ran into the limit of tokens."""


class Captioner:
    """A captioner and its tokenizer."""

    def __init__(
        self,
        model: CaptionerConfig,
        tensors: Mapping[str, Floats],
        tokenizer: Tokenizer,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """``tensors`` as in a bundle. Raises BundleError when the tokenizer does not match the weights."""
        check_vocabulary(tokenizer.vocab_size, model.decoder.vocab)
        self.engine = CaptionEngine(model, tensors, tokenizer.boundary_id)
        self.model, self.tokenizer = model, tokenizer
        self.training: dict[str, Any] = dict(training or {})

    # Writing

    def caption(
        self,
        image: Image,
        *,
        count: int = 1,
        temperature: float = 0.0,
        beam: int = 5,
        seed: int | None = None,
        tokens: int = MOST_TOKENS,
    ) -> list[Caption]:
        """Captions of an image, the likeliest first.

        ``temperature`` 0 searches with so wide a ``beam`` for up to ``count`` captions; more draws ``count``, the same
        ones for the same ``seed``. Raises ImageError when the image cannot be read, ConfigError on a setting out of
        range.
        """
        how = check_sampling(Sampling(temperature))
        for name, value in (("count", count), ("tokens", tokens), ("beam", beam)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; expected 1 or more")
        state = self.engine.start(self.see([image]))
        if temperature == 0.0:
            return self._search(state, count, beam, tokens)
        seed = secrets.randbits(32) if seed is None else seed
        drawn = [self._write(state, how, stream_rng(seed, index), tokens) for index in range(count)]
        return sorted(drawn, key=lambda caption: -caption.logprob)

    def _search(self, state: State, count: int, beam: int, tokens: int) -> list[Caption]:
        """What beam search finds, by the mean log-probability of a token."""
        if count > beam:
            raise ConfigError(f"count is {count}, more than the beam of {beam}; give a wider one, or a temperature")
        end, unknown = self.tokenizer.boundary_id, self.tokenizer.unk_id
        banned = () if unknown is None else (unknown,)
        (found,) = beam_search(self.engine, state, end=end, width=beam, most=tokens, least=1, banned=banned)
        decode = self.tokenizer.decode
        return [Caption(decode(one.ids).strip(), one.logprob, one.finished) for one in found[:count]]

    def _write(self, state: State, how: Sampling, rng: np.random.Generator, tokens: int) -> Caption:
        boundary, unknown = self.tokenizer.boundary_id, self.tokenizer.unk_id
        made = list(
            generate(
                self.engine,
                self.tokenizer,
                state,
                how=how,
                rng=rng,
                tokens=tokens,
                stop=["\n"],
                banned=() if unknown is None else (unknown,),
                banned_first=(boundary,),
            )
        )
        text = "".join(token.text for token in made).strip()
        return Caption(text, sum(token.logprob for token in made), made[-1].id == boundary)

    # Scoring

    def see(self, images: Sequence[Image]) -> Floats:
        """What the model sees of ``images``, ``(n, S, M)``: read once, to be scored with many captions."""
        seen = [
            self.engine.see(lay_on(np.stack([self._pixels(image) for image in images[first : first + _IMAGES]])))
            for first in range(0, len(images), _IMAGES)
        ]
        return np.concatenate([np.zeros((0, self.model.regions, self.model.memory), np.float32), *seen])

    def score(self, image: Image, caption: str) -> float:
        """Bits per character of a caption of an image; the end of the caption counts as one character more.

        Raises ImageError when the image cannot be read, TextError on an empty caption or one of several lines.
        """
        (caption,) = self._checked([caption])
        nats = -float(self.retrieve([image], [caption])[0, 0])
        return nats / math.log(2.0) / (len(caption) + 1)

    def retrieve(self, images: Sequence[Image], captions: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities of captions given images, ``(images, captions)``, in nats, ends included.

        To find the caption of an image among several, subtract what a model trained with ``blind`` says of them:
        else what is said often wins. Raises as ``score`` does.
        """
        ids = [self.tokenizer.encode(caption) for caption in self._checked(captions)]
        memory = self.see(images)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        table = np.zeros((len(memory), len(ids)))
        for row in range(len(memory)):
            if row and self.model.blind:  # all images are the same to it
                table[row] = table[0]
                continue
            state = self.engine.start(memory[row : row + 1])
            for some in _pieces(order, _ROWS):
                table[row, some] = self._log_probabilities(state, [ids[index] for index in some])
        return table

    def _checked(self, captions: Sequence[str]) -> list[str]:
        plain = [caption.strip() for caption in captions]
        for caption in plain:
            if not caption or "\n" in caption:
                raise TextError(f"the caption {caption[:40]!r} has no or several lines; expected one line of text")
        return plain

    def _log_probabilities(self, state: State, captions: Sequence[Ids]) -> NDArray[np.float64]:
        """Of each of ``captions``, its end included, from the state of one image: ``(B,)``."""
        ids, lengths = Ragged.of(list(captions)).padded(self.tokenizer.boundary_id)
        T, B = ids.shape
        state = state.rows([0] * B)
        logits = np.concatenate([self.engine.logits(state)[None], self.engine.run(ids, state)[0]])
        targets = np.concatenate([ids, np.full((1, B), self.tokenizer.boundary_id)])
        each = np.take_along_axis(log_softmax(logits), targets[:, :, None], axis=-1)[:, :, 0]
        summed: NDArray[np.float64] = np.where(np.arange(T + 1)[:, None] <= lengths, each, 0.0).sum(axis=0)
        return summed

    def _pixels(self, image: Image) -> NDArray[np.uint8]:
        read = read_image if isinstance(image, str | Path) else from_array
        return read(image, self.model.size)  # type: ignore[arg-type]


def _pieces(order: Sequence[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(order), size):
        yield list(order[first : first + size])


def load(folder: str | Path) -> Captioner:
    """The captioner in a folder that ``train`` made.

    Raises BundleError when it is missing, damaged or foreign, or a model for another task.
    """
    return captioner(load_kind(folder, CaptionerConfig))


def captioner(found: Bundle[CaptionerConfig]) -> Captioner:
    """The model of a folder as read."""
    return Captioner(found.model, found.tensors, tokenizers.load(found.tokenizer_paths[0]), found.training)
