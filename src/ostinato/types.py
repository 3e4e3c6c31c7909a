"""Axis letters and the value types that cross between parts.

One letter per axis, everywhere: ``T`` time, ``B`` batch (lanes), ``V`` vocabulary, ``E`` embedding, ``I`` input width
of a layer, ``H`` hidden, ``L`` layers, ``G`` gates, ``N`` = T*B. Sequence arrays are time-major, ``(T, B, ...)``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class State:
    """What a recurrent model remembers of everything it has read: an immutable value of constant size.

    ``arrays`` maps a name (``layers.0.h``, ``layers.0.c``, ...) to a read-only float32 array ``(B, H)``. One of them,
    ``readout``, is the vector the output layer reads, so that a state alone gives the distribution of the next token.
    A state can be copied (it never changes), compared, hashed, saved, loaded, and forked by ``rows``.
    """

    arrays: Mapping[str, Floats]

    def __post_init__(self) -> None:
        frozen = {name: np.array(array, dtype=np.float32, order="C") for name, array in self.arrays.items()}
        for array in frozen.values():
            array.setflags(write=False)
        object.__setattr__(self, "arrays", frozen)

    @property
    def batch(self) -> int:
        """Number of streams, ``B``."""
        return len(next(iter(self.arrays.values())))

    @property
    def nbytes(self) -> int:
        """Memory held by all streams, in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def rows(self, index: Sequence[int] | NDArray[np.integer]) -> State:
        """The streams at ``index``, in that order; an index may repeat (a beam forks) or be left out (a beam dies)."""
        picked = np.asarray(index, dtype=np.intp)
        return State({name: array[picked] for name, array in self.arrays.items()})

    @staticmethod
    def stack(states: Sequence[State]) -> State:
        """The streams of several states of one model as one batch, in order."""
        names = states[0].arrays.keys()
        return State({name: np.concatenate([state.arrays[name] for state in states]) for name in names})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return self.arrays.keys() == other.arrays.keys() and all(
            np.array_equal(array, other.arrays[name]) for name, array in self.arrays.items()
        )

    def __hash__(self) -> int:
        digest = hashlib.blake2b(digest_size=8)
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name}{array.shape}".encode())
            digest.update((array + np.float32(0.0)).tobytes())  # -0.0 equals 0.0, so it must hash alike
        return int.from_bytes(digest.digest(), "little")


class StepModel(Protocol):
    """A model is state -> score -> state. Sampling and beams need nothing else, wherever its states begin from."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        ...

    def logits(self, state: State) -> Floats:
        """Scores ``(B, V)`` of the next token, before the softmax."""
        ...

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per stream, ``ids (B,)``; give the scores ``(B, V)`` of the next and the new state."""
        ...


class RecurrentModel(StepModel, Protocol):
    """One whose texts begin from nothing. Scoring and serving need no more.

    Every text begins after a line end: ``start`` is the state that has read the tokenizer's boundary token.
    """

    def start(self, batch: int = 1) -> State:
        """The state at the beginning of a text, for ``batch`` streams."""
        ...

    def run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read ``ids (T, B)``; give the scores ``(T, B, V)`` of the token after each and the last state."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; see ``ostinato.decode.sampling.distribution``. As it is: the model's own way."""

    temperature: float = 1.0
    """0 takes the likeliest token, more flattens the distribution."""
    top_k: int | None = None
    """Only so many of the likeliest tokens."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    min_p: float = 0.0
    """Only tokens at least this many times as likely as the likeliest."""
    repetition_penalty: float = 1.0
    """More than 1 makes what was written lately less likely; 1 is off."""
    no_repeat_ngram: int = 0
    """No sequence of so many tokens comes twice in what was written lately; 0 is off."""

    @property
    def looks_back(self) -> bool:
        """Whether the next token depends on those before it by more than the model's state."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram > 0


@dataclass(frozen=True)
class Written:
    """Some tokens that streams wrote."""

    ids: Ids
    """``(steps, B)``."""
    logprobs: Floats
    """``(steps, B)``, nats under the model's own distribution."""
    state_after: Callable[[int], State]
    """The state after a step, the first is 0."""


@runtime_checkable
class WritingModel(Protocol):
    """A model that draws its tokens itself, many in one call."""

    def write(self, state: State, uniforms: NDArray[np.float64], how: Sampling, banned: Sequence[int] = ()) -> Written:
        """Go on from ``state`` for as many tokens as ``uniforms (steps, B)``, in [0, 1), has rows.

        ``how`` does not look back.
        """
        ...


@runtime_checkable
class GapModel(Protocol):
    """A bidirectional model: every token of a complete text from all the others. Scores pseudo, fills gaps."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        ...

    def gap_logits(self, ids: Ids, positions: Sequence[int] | NDArray[np.integer] | None = None) -> Floats:
        """Scores ``(P, V)`` of the tokens at ``positions`` of the text ``ids (T,)``; of all when None, ``(T, V)``."""
        ...

    def gap_blocks(self, ids: Ids) -> Iterator[Floats]:
        """``gap_logits`` of a long text, block after block ``(T', V)`` in order, in bounded memory."""
        ...


class Decoder(Protocol):
    """Ids back to text, one at a time, so that it can be shown while it is made."""

    def push(self, token: int) -> str:
        """The text that can be shown now that ``token`` has come; only complete characters."""
        ...

    def finish(self) -> str:
        """What is left at the end."""
        ...


class Tokenizer(Protocol):
    """Text to ids and back. See ``ostinato.text.tokenizer`` for the levels."""

    @property
    def level(self) -> str:
        """``char``, ``byte``, ``word``, ``bpe`` or ``unigram``."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of tokens, ``V``."""
        ...

    @property
    def unk_id(self) -> int | None:
        """The id of ``<unk>``; None at levels where every text has ids."""
        ...

    @property
    def boundary_id(self) -> int:
        """The line-end token, which every text begins after: ``<eos>`` at word level, a newline at the others."""
        ...

    def encode(self, text: str) -> Ids:
        """The ids ``(T,)`` of ``text``."""
        ...

    def encode_with_spans(self, text: str) -> tuple[Ids, NDArray[np.int64]]:
        """The ids ``(T,)`` and the span ``(T, 2)`` of each in ``text``: start and end in characters."""
        ...

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text of ``ids``."""
        ...

    def piece(self, token: int) -> bytes:
        """What one token adds to the text, as UTF-8 bytes (part of a character, at byte level and in BPE)."""
        ...

    def label(self, token: int) -> str:
        """A printable name of one token, for reports and pictures."""
        ...

    def decoder(self) -> Decoder:
        """A fresh decoder, at the beginning of a line."""
        ...

    def settle(self, text: str) -> tuple[str, str]:
        """Cut ``text`` in two: what can be encoded now, whatever follows, and the rest."""
        ...

    def document(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        ...
