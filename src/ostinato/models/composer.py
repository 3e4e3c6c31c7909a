"""The recurrent composer: the keys that sound at a step, given those of all steps before."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.architectures.composer import KEYS, ComposerConfig
from ostinato.config import ModelConfig, Regularisers
from ostinato.kernels.autograd import linear
from ostinato.nn.chain import Chain
from ostinato.nn.dropout import dropout
from ostinato.nn.init import initialise_embedding
from ostinato.nn.output import Output
from ostinato.nn.recurrent import Stack, read_together

CHORD = 4
"""Keys that sound at once, about."""
QUIET = -3.0
"""Where the logits start: so many of the 88 keys sound."""


class RecurrentComposer(nn.Module):
    """A stack of recurrent layers and an output over the keys (Boulanger-Lewandowski et al. 2012)::

        x_t = sum of embedding rows of the keys of step t                  nothing sounds before a piece
        h_t = stack(dropout_input(x_{t-1} [+ melody_embedding of m_t]))
        g_t = melody_stack(dropout_input(melody_embedding of m_t)) from the last step   if melody = "whole"
        r_t = dropout_output([h_t ; g_t])
        logits_t = weight r_t + bias [+ chain(r_t, keys of step t)]

    ``m_t``, where it is given, is the highest key of step t; what is scored then are the keys below it. A batch is
    ``keys (T + 1, B, K)`` of bool whose first step comes before what is predicted; what follows the end of a row of
    ``lengths (B,)`` means nothing. ``state_dict`` keys are the tensor names of a model folder.
    """

    def __init__(self, config: ComposerConfig, regularisers: Regularisers) -> None:
        super().__init__()
        self.config, self.regularisers = config, regularisers
        layers = config.layers
        self.embedding = _embedding(layers)
        with torch.no_grad():
            self.embedding.weight.div_(CHORD**0.5)  # so that their sum is as wide as one token's
        if config.melody != "none":
            self.melody_embedding = _embedding(layers)
        self.stack = Stack(layers, regularisers)
        if config.melody == "whole":
            self.melody_stack = Stack(layers, regularisers)
        if config.output == "chain":
            self.chain = Chain(KEYS, config.chain, config.readout)
        self.output = Output(KEYS, config.readout, tied=False)
        nn.init.constant_(self.output.bias, QUIET)

    def readout(self, keys: Tensor, lengths: Tensor) -> Tensor:
        """What the output reads for each step after the first, ``(T, B, R)``, of ``keys (T + 1, B, K)``."""
        options, B = self.regularisers, keys.shape[1]
        weight = self.embedding.weight
        x = keys[:-1].to(weight.dtype) @ weight
        stacks, inputs, backward = [self.stack], [x], [False]
        if self.config.melody != "none":
            melody = self._melody(keys[1:])
            inputs[0] = x + melody
            if self.config.melody == "whole":
                stacks, inputs, backward = [*stacks, self.melody_stack], [*inputs, melody], [False, True]
        inputs = [dropout(one, options.dropout_input, training=self.training, locked=options.locked) for one in inputs]
        zeros = [stack.initial_state(B) for stack in stacks]
        read = read_together(stacks, inputs, zeros, lengths, reversed=backward)
        readout = torch.cat([outputs for outputs, _ in read], dim=-1)
        return dropout(readout, options.dropout_output, training=self.training, locked=options.locked)

    def _melody(self, keys: Tensor) -> Tensor:
        """The embedded highest keys ``(T, B, E)`` of ``keys (T, B, K)``; zeros where nothing sounds."""
        weight = self.melody_embedding.weight
        highest = keys & (keys.flip(-1).cumsum(-1).flip(-1) == 1)
        return highest.to(weight.dtype) @ weight

    def nats(self, keys: Tensor, lengths: Tensor) -> Tensor:
        """``-log p`` of each step that has not ended, ``(N,)``: of all keys, or of those below a given melody."""
        readout = self.readout(keys, lengths)
        live = torch.arange(len(readout), device=lengths.device)[:, None] < lengths
        rows, sounding = readout[live], keys[1:][live]
        logits = linear(rows, self.output.matrix(self.output.weight), self.output.bias)
        if self.config.output == "chain":
            logits = logits + self.chain(rows, sounding)
        each = functional.binary_cross_entropy_with_logits(logits, sounding.to(logits.dtype), reduction="none")
        if self.config.melody != "none":
            each = each * below(sounding)
        return each.sum(1)


def _embedding(layers: ModelConfig) -> nn.Embedding:
    embedding = nn.Embedding(KEYS, layers.embed)
    initialise_embedding(embedding.weight, layers.hidden[0], tied=False)
    return embedding


def below(keys: Tensor) -> Tensor:
    """The keys under the highest that sounds, ``(N, K)`` of bool; none where nothing does."""
    return keys.flip(1).cumsum(1).flip(1) - keys.long() > 0
