"""What both language models share: tokens in, scores of tokens out, and the loss between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ostinato.config import ModelConfig, Regularisers
from ostinato.kernels.autograd import Input, dense, linear, linear_cross_entropy, linear_nats
from ostinato.nn.dropout import activation_penalty, dropout
from ostinato.nn.embedding import look_up
from ostinato.nn.init import initialise_embedding
from ostinato.nn.output import Output
from ostinato.nn.recurrent import States

CrossEntropy = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Readout ``(N, R)``, weight ``(V, R)``, bias ``(V,)`` and targets ``(N,)`` to the sum of nats."""


class TokenModel(nn.Module, ABC):
    """One embedding and one output layer around whatever reads the text.

    In training, with the regularisers that are on::

        x = dropout_input(embedding dropout(embedding(ids)))
        readout = what the subclass makes of x
        logits = dropout_output(readout) weight^T + bias

    A window is ``ids (T+1+A, B)``: ``ids[1 : T+1]`` are predicted, the last ``A = lookahead`` are context only.
    ``state_dict`` keys are the tensor names of a model folder.
    """

    def __init__(self, config: ModelConfig, regularisers: Regularisers) -> None:
        super().__init__()
        self.config, self.regularisers = config, regularisers
        self.embedding = nn.Embedding(config.vocab, config.embed)
        initialise_embedding(self.embedding.weight, config.hidden[0], tied=config.tied)
        self.output = Output(config.vocab, config.readout, tied=config.tied)

    @property
    @abstractmethod
    def lookahead(self) -> int:
        """Tokens after the last predicted one that a window has to bring along, ``A``."""

    @abstractmethod
    def initial_state(self, batch: int) -> States:
        """Zeros: the state that has read nothing, parts ``(B, H)`` in the order of ``state_names``."""

    @abstractmethod
    def state_names(self) -> tuple[str, ...]:
        """The name of each part of the carried state."""

    @abstractmethod
    def read_window(self, x: Input, state: States) -> tuple[Tensor, States]:
        """Read ``x (T+1+A, B, E)``, the embedded ids of a window; give the readout ``(T, B, R)`` that predicts
        ``ids[1 : T+1]``, before dropout, and the state that has read ``ids[: T]``."""

    @abstractmethod
    def last_layer(self, readout: Tensor) -> Tensor:
        """The part ``(T, B, W)`` of a readout that the last layer gave."""

    def embed(self, ids: Tensor) -> Input:
        """The input ``(T, B, E)`` of the recurrent layers for ``ids (T, B)``, with dropout in training."""
        return self._embed(ids, tied=False)[0]

    def _embed(self, ids: Tensor, *, tied: bool) -> tuple[Input, Tensor]:
        """``embed``, and the embedding's weight; ``tied`` as in ``look_up``."""
        options = self.regularisers
        x, weight = look_up(ids, self.embedding.weight, options.dropout_embedding, training=self.training, tied=tied)
        if self.training and options.dropout_input > 0.0:
            x = dropout(dense(x), options.dropout_input, training=True, locked=options.locked)
        return x, weight

    def logits(self, readout: Tensor) -> Tensor:
        """Scores ``(..., V)`` before the softmax of ``readout (..., R)``."""
        return linear(readout, self.output.matrix(self.embedding.weight), self.output.bias)

    def loss(
        self, ids: Tensor, state: States, cross_entropy: CrossEntropy = linear_cross_entropy
    ) -> tuple[Tensor, Tensor, States]:
        """The sum of nats of ``ids[1 : T+1]``, the penalty per token, and the state, cut from the graph.

        The objective per token is ``nats / (T*B) + penalty``. Truncated backpropagation through time: the next window
        starts from the state, but no gradient goes back through it. ``cross_entropy`` may be another estimate of the
        nats, such as ``nn.sampled`` makes.
        """
        options = self.regularisers
        x, embedding = self._embed(ids, tied=self.config.tied)
        raw, last = self.read_window(x, state)
        dropped = dropout(raw, options.dropout_output, training=self.training, locked=options.locked)
        nats = cross_entropy(*self._scoring(dropped, embedding, ids))
        penalty = activation_penalty(
            self.last_layer(raw), self.last_layer(dropped), options.activation_penalty, options.temporal_penalty
        )
        return nats, penalty, tuple(part.detach() for part in last)

    @torch.no_grad()
    def nats(self, ids: Tensor, state: States) -> tuple[Tensor, States]:
        """``-log p`` of each of ``ids[1 : T+1]``, ``(T, B)``, and the state. Nothing is dropped, whatever the mode."""
        mode = self.training
        self.eval()
        try:
            readout, last = self.read_window(self.embed(ids), state)
            nats = linear_nats(*self._scoring(readout, self.embedding.weight, ids))
        finally:
            self.train(mode)
        return nats.view(readout.shape[:2]), last

    def _scoring(self, readout: Tensor, embedding: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the loss kernels take: readout ``(N, R)``, weight, bias and targets ``(N,)``."""
        targets = ids[1 : 1 + len(readout)].flatten()
        return readout.flatten(0, 1), self.output.matrix(embedding), self.output.bias, targets
