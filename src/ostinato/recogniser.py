"""A trained recogniser in Python, without torch: sounds to text with times, whole or while they come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures import RecogniserConfig
from ostinato.bundle import Bundle, check_vocabulary, load_kind
from ostinato.ctc import Fusion, GreedyPath, Labels, decode
from ostinato.ctc.greedy import Spelled
from ostinato.ctc.labels import log_probs
from ostinato.data.sounds import resample
from ostinato.engine.recogniser import RecogniserEngine
from ostinato.errors import SoundError
from ostinato.sound import RATES, check_samples, read_wav
from ostinato.text import tokenizer as tokenizers
from ostinato.types import Floats, Tokenizer

WIDTH = 16
"""Of the beam with a language model: texts of a few words have few rivals."""


@dataclass(frozen=True)
class Word:
    """A word that was heard, and when, in seconds from the beginning of the sound."""

    text: str
    start: float
    """Of the step in which its first character is heard; that lies in the word, not always at its beginning."""
    end: float
    """After the last step in which its last character is heard; the sound's end at most."""


@dataclass(frozen=True)
class Transcript:
    """What was heard in a sound."""

    text: str
    words: tuple[Word, ...]
    seconds: float
    """Of the sound."""
    logprob: float
    """In nats: of the likeliest path, or of the text over all its paths where a beam has searched for it."""


class Recogniser:
    """A recogniser and its characters."""

    def __init__(
        self,
        model: RecogniserConfig,
        tensors: Mapping[str, Floats],
        tokenizer: Tokenizer,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """``tensors`` as in a bundle. Raises BundleError when the tokenizer does not match the weights."""
        check_vocabulary(tokenizer.vocab_size, model.layers.vocab)
        self.engine = RecogniserEngine(model, tensors, tokenizer.boundary_id)
        self.model, self.tokenizer = model, tokenizer
        characters = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
        self.labels = Labels(tuple(characters), tokenizer.boundary_id)
        """What the columns of ``logits`` mean, for a search with models of the language."""
        self.training: dict[str, Any] = dict(training or {})

    def transcribe(
        self,
        sound: str | Path | NDArray[Any],
        rate: int | None = None,
        *,
        beam: int | None = None,
        fusions: Sequence[Fusion] = (),
    ) -> Transcript:
        """What is said in a WAV file, or in samples ``(n,)`` of which 1 is full scale, ``rate`` of them a second.

        Another rate than the model's is resampled, several channels are mixed down. The likeliest path is taken; with a
        ``beam`` of more, or with ``fusions`` (models of the language, over ``labels``), the best text is searched for,
        in a beam of WIDTH where none is given. Raises SoundError when the sound cannot be read, ConfigError on a
        setting out of range.
        """
        samples, spectrum = self._samples(sound, rate), self.engine.spectrum
        logits, seconds = self.engine.logits(spectrum.whole(samples)), len(samples) / spectrum.rate
        if beam in (None, 1) and not fusions:
            words = Words(self)
            found = words.hear(logits) + words.finish(seconds)
            return Transcript(" ".join(word.text for word in found), tuple(found), seconds, words.logprob)
        (best,) = decode(logits, self.labels, width=WIDTH if beam is None else beam, fusions=fusions)
        heard = tuple(self._word(span.text, span.start, span.end, seconds) for span in best.words)
        return Transcript(best.text, heard, seconds, best.acoustic)

    def _word(self, text: str, first: int, end: int, seconds: float) -> Word:
        """From step ``first`` up to, but without, step ``end``, in a sound of so many seconds."""
        at = self.engine.spectrum.seconds
        return Word(text, round(at(first), 3), min(round(at(end), 3), seconds))

    def logits(self, sound: str | Path | NDArray[Any], rate: int | None = None) -> Floats:
        """Scores ``(T, V)``, before the softmax, of ``labels`` in each step, for a search of one's own.

        Arguments and errors are those of ``transcribe``.
        """
        return self.engine.logits(self.engine.spectrum.whole(self._samples(sound, rate)))

    def listen(self) -> Listening:
        """Hear a sound while it comes. Raises ConfigError when the model reads in both directions."""
        return Listening(self)

    def _samples(self, sound: str | Path | NDArray[Any], rate: int | None) -> Floats:
        wanted = self.model.sample_rate
        if isinstance(sound, str | Path):
            return read_wav(sound, wanted)[0]
        samples = checked(sound)
        if rate is None or not RATES[0] <= rate <= RATES[1]:
            raise SoundError(f"rate is {rate}; say how many samples a second there are, {RATES[0]:,} to {RATES[1]:,}")
        return resample(samples, rate, wanted)


class Listening:
    """A sound that is transcribed while it comes, in memory that does not grow with it."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._engine = recogniser.engine
        self._state = self._engine.start()
        self._rest: Floats = np.zeros(0, np.float32)
        self._words = Words(recogniser)
        self._samples = 0

    @property
    def seconds(self) -> float:
        """Of the sound so far."""
        return self._samples / self._engine.spectrum.rate

    @property
    def partial(self) -> str:
        """The beginning of a word that has not ended yet."""
        return self._words.partial

    def hear(self, samples: NDArray[Any]) -> list[Word]:
        """Go on with samples ``(n,)`` at the model's rate; give the words that have ended. Raises SoundError."""
        samples = checked(samples)
        self._samples += len(samples)
        steps, self._rest = self._engine.spectrum.ready(np.concatenate([self._rest, samples]))
        return self._read(steps)

    def finish(self) -> list[Word]:
        """The words that are left at the end of the sound; nothing may follow."""
        left = self._engine.spectrum.whole(self._rest)
        self._rest = self._rest[:0]
        return self._read(left) + self._words.finish(self.seconds)

    def _read(self, steps: Floats) -> list[Word]:
        logits, self._state = self._engine.read(steps, self._state)
        return self._words.hear(logits)


class Words:
    """Scores of steps to words, block after block, by the likeliest path."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._word, self._decode, self._labels = recogniser._word, recogniser.tokenizer.decode, recogniser.labels
        self._path = GreedyPath(recogniser.engine.blank)
        self._begun: list[Spelled] = []

    @property
    def logprob(self) -> float:
        """Of the path so far, in nats."""
        return self._path.logprob

    @property
    def partial(self) -> str:
        """The beginning of a word that has not ended yet."""
        return self._decode([each.column for each in self._begun])

    def hear(self, logits: Floats) -> list[Word]:
        """Go on with ``logits (T, V)``; give the words that have ended."""
        found: list[Word] = []
        for spelled in self._path.push(log_probs(logits, self._labels)):
            if self._decode([spelled.column]).isspace():
                found += self._end(spelled.ended)
            else:
                self._begun.append(spelled)
        return found

    def finish(self, seconds: float) -> list[Word]:
        """The word that has begun, if any, at the end of a sound of so many seconds."""
        return self._end(self._path.ended, seconds)

    def _end(self, step: int, seconds: float = math.inf) -> list[Word]:
        """The word that has begun and ends before ``step``."""
        if not self._begun:
            return []
        text, first = self.partial, self._begun[0]
        self._begun = []
        return [self._word(text, first.start, step, seconds)]


def checked(samples: NDArray[Any]) -> Floats:
    """Samples of one channel as float32. Raises SoundError on another shape, type or scale, and what is not finite."""
    array = np.asarray(samples)
    if array.ndim != 1 or array.dtype.kind != "f":
        raise SoundError(
            f"the sound is an array of {array.dtype} of shape {array.shape}; expected floats (n,), 1 at full scale: "
            "divide whole numbers by theirs, take the mean of channels"
        )
    check_samples(array, "the sound")
    return array.astype(np.float32)


def load(folder: str | Path) -> Recogniser:
    """The recogniser in a folder that ``train`` made.

    Raises BundleError when it is missing, damaged or foreign, or a model for another task.
    """
    return recogniser(load_kind(folder, RecogniserConfig))


def recogniser(found: Bundle[RecogniserConfig]) -> Recogniser:
    """The model of a folder as read."""
    return Recogniser(found.model, found.tensors, tokenizers.load(found.tokenizer_paths[0]), found.training)
