"""The bidirectional engine: every token of a complete text from all the others, in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ostinato.config import ModelConfig
from ostinato.engine.engine import Output, check_boundary
from ostinato.engine.stack import Stack, States, check_ids
from ostinato.errors import ConfigError
from ostinato.types import Floats, Ids

BLOCK = 1024
"""Tokens of a text that are held in full at once."""


class BidirectionalEngine:
    """Runs a bidirectional language model over complete texts. Implements ``ostinato.types.GapModel``.

    A text ``x`` stands between two boundary tokens. The scores at t come from the forward state after the boundary and
    ``x_{<t}`` and the backward state after the boundary at the right end and ``x_{>t}``; never from ``x_t``.
    """

    def __init__(self, model: ModelConfig, tensors: Mapping[str, Floats], boundary_id: int) -> None:
        """As ``Engine``. Raises ConfigError for a model that reads forward only."""
        if not model.bidirectional:
            raise ConfigError("the model reads forward only; expected one trained with --bidirectional")
        check_boundary(model, boundary_id)
        self.model = model
        self._boundary_id = boundary_id
        self._forward = Stack(model, tensors, "forward_stack.")
        self._backward = Stack(model, tensors, "backward_stack.")
        self._output = Output(tensors)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, V."""
        return self.model.vocab

    def gap_logits(self, ids: Ids, positions: Sequence[int] | NDArray[np.integer] | None = None) -> Floats:
        """Scores ``(P, V)`` of the tokens at ``positions`` of the text ``ids (T,)``; of all when None, ``(T, V)``."""
        wanted = np.arange(len(ids)) if positions is None else np.asarray(positions, np.intp)
        logits = np.empty((len(wanted), self.vocab_size), np.float32)
        for first, readout in self._readouts(ids):
            here = np.flatnonzero((wanted >= first) & (wanted < first + len(readout)))
            if len(here):
                logits[here] = self._output(readout[wanted[here] - first])
        return logits

    def gap_blocks(self, ids: Ids) -> Iterator[Floats]:
        """``gap_logits`` of a long text, block after block ``(T', V)`` in order.

        Exact in bounded memory: a first pass from the right end keeps the backward state at every block's border
        only; each block is then read backward again from there.
        """
        for _, readout in self._readouts(ids):
            yield self._output(readout)

    def _readouts(self, ids: Ids) -> Iterator[tuple[int, Floats]]:
        """The first position of each block and its readouts ``(T', R)``."""
        check_ids(ids, self.vocab_size)
        boundary = np.array([self._boundary_id], np.int64)
        starts = range(0, len(ids), BLOCK)
        borders = self._borders(ids, boundary)
        last, state = self._forward.step(boundary, self._forward.zero(1))
        for first in starts:
            block = ids[first : first + BLOCK]
            ahead, state = self._forward.run(block[:, None], state)
            at_end, border = borders.pop()
            # At the block's last position the backward stack has read what lies right of the block, and so on down.
            back, _ = self._backward.run(block[:0:-1, None], border)
            backward = np.concatenate([at_end[None], back])[::-1, 0]
            forward = np.concatenate([last[None], ahead[:-1]])[:, 0]
            last = ahead[-1]
            yield first, np.concatenate([forward, backward], axis=-1)

    def _borders(self, ids: Ids, boundary: Ids) -> list[tuple[Floats, States]]:
        """Readout and state of the backward stack right of each block, the rightmost block first."""
        border = self._backward.step(boundary, self._backward.zero(1))
        borders = [border]
        for first in reversed(range(BLOCK, len(ids), BLOCK)):
            readout, state = self._backward.run(ids[first : first + BLOCK][::-1, None], border[1])
            border = readout[-1], state
            borders.append(border)
        return borders
