"""The bidirectional language model: each token from all before it and all after it, never from itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.config import ModelConfig, Regularisers
from ostinato.kernels.autograd import Input
from ostinato.models.tokens import TokenModel
from ostinato.nn.recurrent import Stack, States, read_together

LOOKAHEAD = 16
"""Tokens to the right of a training window. The backward state cannot be carried from window to window (its past is
the future), so it starts cold: this many tokens warm it up before the last prediction counts. More would cost their
share of every window's time, less would teach the backward stack that it rarely knows anything."""


class BidirectionalLanguageModel(TokenModel):
    """Two independent stacks, one for each direction of reading, that share the embedding and the output layer.

    The token at position t is predicted from ``[forward state after x_{<t} ; backward state after x_{>t}]``. No layer
    sees both directions (an ``Encoder`` would), so x_t cannot leak into its own prediction (Mousa and Schuller 2017).
    What its scores multiply to is a *pseudo*-probability: it fills gaps, it does not write on.
    """

    def __init__(self, config: ModelConfig, regularisers: Regularisers) -> None:
        super().__init__(config, regularisers)
        self.forward_stack = Stack(config, regularisers)
        self.backward_stack = Stack(config, regularisers)

    @property
    def lookahead(self) -> int:
        """LOOKAHEAD."""
        return LOOKAHEAD

    def initial_state(self, batch: int) -> States:
        """Zeros for the forward stack, the only one whose state is carried."""
        return self.forward_stack.initial_state(batch)

    def state_names(self) -> tuple[str, ...]:
        """``forward_stack.layers.0.h``, ..."""
        return tuple(f"forward_stack.{name}" for name in self.forward_stack.state_names())

    def read_window(self, x: Input, state: States) -> tuple[Tensor, States]:
        """Read ``x (T+1+A, B, E)``; see ``TokenModel``.

        The forward stack goes on from ``state`` with ``x[: T]``; the backward stack starts from zeros at the last id
        and reads down to ``x[2]``. The token ``ids[j]`` lies between ``x[: j]`` and ``x[j+1 :]``.
        """
        T = x.shape[0] - 1 - self.lookahead
        return self._read(x[:T], x[2:], state)

    def beside(self, ahead: Tensor, ids: Tensor) -> Tensor:
        """Readout ``(T, B, R)`` of a window ``ids (T+1+A, B)`` whose forward half ``ahead (T, B, R/2)`` is known."""
        x = self.embed(ids[2:])
        zeros = self.backward_stack.initial_state(ids.shape[1])
        ((back, _),) = read_together([self.backward_stack], [x], [zeros], reversed=[True])
        return torch.cat([ahead, back[: len(ahead)]], dim=-1)

    def gap_logits(self, ids: Tensor, boundary: int, lengths: Tensor | None = None) -> Tensor:
        """Scores ``(T, B, V)`` of every position of the complete texts ``ids (T, B)``, each from all the others.

        A text begins after a line end and ends with one. With ``n`` its length (``lengths (B,)``, at least 1
        each, or T)::

            y = [boundary, ids_0, ..., ids_{n-1}, boundary]
            ahead_t = forward stack, from zeros, after y_0 ... y_t             (the boundary and ids_{<t})
            back_t  = backward stack, from zeros, after y_{n+1} ... y_{t+2}    (the boundary and ids_{>t})
            logits_t = [ahead_t ; back_t] weight^T + bias

        Scores beyond a row's length mean nothing.
        """
        T, B = ids.shape
        ends = ids.new_full((B,), T) if lengths is None else lengths
        y = torch.cat([ids.new_full((1, B), boundary), ids, ids.new_full((1, B), boundary)])
        y[ends + 1, torch.arange(B, device=ids.device)] = boundary
        x = self.embed(y)
        readout, _ = self._read(x[:T], x[2:], self.forward_stack.initial_state(B), lengths)
        return self.logits(readout)

    def last_layer(self, readout: Tensor) -> Tensor:
        """The part ``(T, B, 2H)`` of a readout that the last layers of both stacks gave."""
        width = self.forward_stack.last_width
        ahead, back = readout.chunk(2, dim=-1)
        return torch.cat([ahead[..., -width:], back[..., -width:]], dim=-1)

    def _read(self, ahead: Input, back: Input, state: States, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """Readout ``(T, B, R)`` and last state of the forward stack.

        It reads ``ahead (T, B, E)`` from ``state``, the backward stack ``back (T+A-1, B, E)`` from its end down.
        """
        stacks, zeros = [self.forward_stack, self.backward_stack], self.backward_stack.initial_state(ahead.shape[1])
        (there, last), (here, _) = read_together(stacks, [ahead, back], [state, zeros], lengths, reversed=[False, True])
        return torch.cat([there, here[: len(there)]], dim=-1), last
