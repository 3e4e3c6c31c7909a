"""A trained translator in numpy: sources are read once, targets are written step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.architectures import TranslatorConfig
from ostinato.engine.attention import Attention
from ostinato.engine.encoder import Encoder
from ostinato.engine.stack import Layers, check_ids, linear
from ostinato.errors import BundleError
from ostinato.types import Floats, Ids, State


class TranslatorEngine:
    """Runs an encoder-decoder; the equations are those of ``ostinato.models.translator.Translator``."""

    def __init__(self, model: TranslatorConfig, tensors: Mapping[str, Floats], boundary_id: int) -> None:
        """``tensors`` as in a bundle; ``boundary_id`` is the token that a target begins after and ends with.

        Raises BundleError when the boundary is not a token of the model.
        """
        if not 0 <= boundary_id < model.decoder.vocab:
            raise BundleError(f"the boundary is token {boundary_id}, but the model has {model.decoder.vocab} tokens")
        self.model, self.boundary_id, self.tensors = model, boundary_id, tensors
        self.embedding = tensors["embedding.weight"]
        self._sources = tensors.get("source_embedding.weight", self.embedding)
        self._encoder = Encoder(model.encoder, tensors)
        self.decoder = Layers(model.decoder, tensors, "decoder.")
        self.attention = Attention(model.attention, tensors)
        self.output = tensors.get("output.weight", self.embedding)

    def read(self, sources: Sequence[Ids]) -> Reading:
        """The model that writes the translations of ``sources``, ids ``(S,)`` each.

        Raises IndexError on an id that is no token, ValueError on a source without one.
        """
        lengths = np.array([len(ids) for ids in sources], np.int64)
        if len(lengths) == 0 or lengths.min() == 0:
            raise ValueError("a source has no token; expected at least one")
        padded = np.zeros((int(lengths.max()), len(sources)), np.int64)
        for b, ids in enumerate(sources):
            check_ids(ids, self.model.encoder.vocab)
            padded[: len(ids), b] = ids
        memory, summary = self._encoder.read(self._sources[padded], lengths)
        memory = np.ascontiguousarray(memory.transpose(1, 0, 2))
        there = (np.arange(len(padded)) < lengths[:, None]).astype(np.float32)
        return Reading(self, memory, self.attention.keys(memory), there, summary)


@dataclass(frozen=True, eq=False)
class Reading:
    """Some sources that were read, as a model of their targets. Implements ``ostinato.types.RecurrentModel``.

    A state says which source each of its streams translates, so that streams can be forked, left out and put together.
    """

    engine: TranslatorEngine
    memory: Floats
    """``(n, S, M)``."""
    keys: Floats
    """``(n, S, K)``."""
    there: Floats
    """``(n, S)``: 1 where a source has a token, 0 past its end."""
    summary: Floats
    """``(n, M)``."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, V."""
        return self.engine.model.decoder.vocab

    def start(self, batch: int = 1) -> State:
        """The state at the beginning of a target, ``batch`` streams for each source, those of a source side by side."""
        bridge = linear(self.summary, self.engine.tensors["bridge.weight"], self.engine.tensors["bridge.bias"])
        parts = np.split(np.tanh(bridge), np.cumsum(self.engine.decoder.state_widths())[:-1], axis=1)
        arrays = dict(zip(self.engine.decoder.state_names(), parts, strict=True))
        n, decoder = len(self.summary), self.engine.model.decoder
        arrays["readout"] = np.zeros((n, decoder.embed), np.float32)
        arrays["query"] = np.zeros((n, decoder.hidden[-1]), np.float32)
        arrays["source"] = np.arange(n, dtype=np.float32)[:, None]
        state = State(arrays).rows(np.repeat(np.arange(n), batch))
        return self._read(np.full(n * batch, self.engine.boundary_id, np.int64), state)

    def logits(self, state: State) -> Floats:
        """Scores ``(B, V)`` of the next token, before the softmax."""
        return linear(state.arrays["readout"], self.engine.output, self.engine.tensors["output.bias"])

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per stream, ``ids (B,)``; give the scores ``(B, V)`` of the next and the new state."""
        check_ids(ids, self.vocab_size)
        state = self._read(ids, state)
        return self.logits(state), state

    def run(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read ``ids (T, B)``; give the scores ``(T, B, V)`` of the token after each and the last state."""
        logits = np.empty((*ids.shape, self.vocab_size), np.float32)
        for t, row in enumerate(ids):
            logits[t], state = self.step(row, state)
        return logits, state

    def weights(self, state: State) -> Floats:
        """How much of each token of its source every stream looked at last ``(B, S)``."""
        groups, keys, there, _ = self._groups(state)
        query = state.arrays["query"]
        query = query.reshape(groups, -1, query.shape[1])
        return self.engine.attention.weights(query, keys, there).reshape(state.batch, -1)

    def _read(self, ids: Ids, state: State) -> State:
        engine, before = self.engine, state.arrays
        x = [engine.embedding[ids]]
        if engine.model.input_feeding:
            x.append(before["readout"])
        if engine.model.attention == "none":
            x.append(self.summary[self._source(state)])
        names = engine.decoder.state_names()
        h, after = engine.decoder.read(np.concatenate(x, axis=1)[None], tuple(before[name] for name in names))
        joined = np.concatenate([h[0], self._context(h[0], state)], axis=1)
        readout = np.tanh(linear(joined, engine.tensors["readout.weight"], engine.tensors["readout.bias"]))
        parts = dict(zip(names, after, strict=True))
        return State({**parts, "readout": readout, "query": h[0], "source": before["source"]})

    def _context(self, h: Floats, state: State) -> Floats:
        """``(B, M)``."""
        if self.engine.model.attention == "none":
            return self.summary[self._source(state)]
        groups, keys, there, memory = self._groups(state)
        weights = self.engine.attention.weights(h.reshape(groups, -1, h.shape[1]), keys, there)
        return (weights @ memory).reshape(len(h), -1)

    def _source(self, state: State) -> NDArray[np.intp]:
        return state.arrays["source"][:, 0].astype(np.intp)

    def _groups(self, state: State) -> tuple[int, Floats, Floats, Floats]:
        """Number of groups of streams of one source, of equal size, and the keys, places and memory of each.

        A beam has as many streams for each source: they are compared with its memory by one product.
        """
        source = self._source(state)
        firsts = np.flatnonzero(np.diff(source, prepend=-1))
        size = len(source) // len(firsts)
        if not np.array_equal(firsts, np.arange(0, len(source), size)):
            firsts = np.arange(len(source))
        each = source[firsts]
        return len(firsts), self.keys[each], self.there[each], self.memory[each]
