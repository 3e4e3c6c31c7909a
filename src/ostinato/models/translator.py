"""The encoder-decoder that is trained: a source read in both directions, a target written by attention to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ostinato.architectures import TranslatorConfig
from ostinato.config import Regularisers
from ostinato.kernels.autograd import Input, dense, linear, linear_cross_entropy, linear_nats
from ostinato.nn.attention import Attention
from ostinato.nn.dropout import dropout
from ostinato.nn.embedding import look_up
from ostinato.nn.init import initialise_embedding
from ostinato.nn.output import Output
from ostinato.nn.recurrent import Encoder, Stack, States


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, padded with any token."""

    source: Tensor
    """Ids ``(S, B)``."""
    source_lengths: Tensor
    """``(B,)``, at least 1 each."""
    target: Tensor
    """Ids ``(T + 1, B)``: the boundary, the translation, the boundary."""
    target_lengths: Tensor
    """``(B,)``: of what is predicted, the boundary at the end included."""


@dataclass(frozen=True)
class Encoded:
    """What the decoder knows of its sources."""

    memory: Tensor
    """``(S, B, M)``."""
    keys: Tensor
    """What attention compares its queries with ``(S, B, K)``."""
    there: Tensor
    """Which rows of the memory are of the source ``(S, B)``."""
    summary: Tensor
    """The last states of both directions ``(B, M)``."""


class Translator(nn.Module):
    """``x`` the source, ``y`` the target, ``E`` their embeddings, with the regularisers that are on in training::

        m_1 ... m_S = encoder(E x)                       both directions side by side, layer by layer
        c           = [forward m_S ; backward m_1]       of the last layer
        state_0     = tanh(W_b c + b_b)                  every part of every layer of the decoder
        h_t         = decoder([E y_{t-1} ; f_t])         y_0 is the boundary
        r_t         = tanh(W_r [h_t ; context_t] + b_r)
        p(y_t)      = softmax(W r_t + b)

    With attention ``context_t`` is what h_t finds in ``m``, and f_t is nothing, or ``r_{t-1}`` with input feeding
    (Luong et al. 2015). Without, both are ``c`` (Cho et al. 2014). ``state_dict`` keys are the names of a folder.
    """

    def __init__(self, config: TranslatorConfig, regularisers: Regularisers) -> None:
        super().__init__()
        self.config, self.regularisers = config, regularisers
        encoder, decoder, M = config.encoder, config.decoder, config.memory
        self.embedding = nn.Embedding(decoder.vocab, decoder.embed)
        initialise_embedding(self.embedding.weight, decoder.hidden[0], tied=config.tied)
        if not config.shared:
            self.source_embedding = nn.Embedding(encoder.vocab, encoder.embed)
            initialise_embedding(self.source_embedding.weight, encoder.hidden[0], tied=False)
        self.encoder = Encoder(encoder, regularisers)
        self.decoder = Stack(decoder, regularisers, config.decoder_input)
        self._states = [part.shape[1] for part in self.decoder.initial_state(1)]
        self.bridge = nn.Linear(M, sum(self._states))
        self.attention = Attention(config.attention, decoder.hidden[-1], M)
        self.readout = nn.Linear(decoder.hidden[-1] + M, decoder.embed)
        self.output = Output(decoder.vocab, decoder.embed, tied=config.tied)

    def encode(self, source: Tensor, lengths: Tensor) -> Encoded:
        """Read ``source (S, B)`` of ``lengths (B,)``."""
        table = self.embedding if self.config.shared else self.source_embedding
        x = self._embed(source, table.weight)
        memory, last = self.encoder(x, self.encoder.initial_state(source.shape[1]), lengths)
        parts = len(last) // (2 * len(self.config.encoder.hidden))
        *_, ahead, back = last[-2 * parts :: parts]  # h of both directions of the last layer
        there = torch.arange(len(source), device=source.device)[:, None] < lengths
        return Encoded(memory, self.attention.keys(memory), there, torch.cat([ahead, back], dim=-1))

    def initial_state(self, encoded: Encoded) -> States:
        """The decoder's state before the first step."""
        states = torch.tanh(linear(encoded.summary, self.bridge.weight, self.bridge.bias))
        return torch.split(states, self._states, dim=-1)

    def read(self, pairs: Pairs) -> Tensor:
        """What the output layer reads ``(T, B, E)`` to predict ``target[1:]``, before dropout."""
        encoded = self.encode(pairs.source, pairs.source_lengths)
        state, x = self.initial_state(encoded), self._embed(pairs.target[:-1], self.embedding.weight)
        if self.config.input_feeding:
            return self._read_fed(dense(x), state, encoded)
        if self.config.attention == "none":
            x = torch.cat([dense(x), encoded.summary.expand(x.shape[0], -1, -1)], dim=-1)
        h, _ = self.decoder(x, state, pairs.target_lengths)
        return self._readout(h, encoded)

    def _read_fed(self, x: Tensor, state: States, encoded: Encoded) -> Tensor:
        """Step by step: each reads the readout of the one before."""
        readouts = [x.new_zeros(1, x.shape[1], self.config.decoder.embed)]
        for token in torch.split(x, 1):
            h, state = self.decoder(torch.cat([token, readouts[-1]], dim=-1), state)
            readouts.append(self._readout(h, encoded))
        return torch.cat(readouts[1:])

    def _readout(self, h: Tensor, encoded: Encoded) -> Tensor:
        if self.config.attention == "none":
            context = encoded.summary.expand(len(h), -1, -1)
        else:
            context, _ = self.attention(h, encoded.keys, encoded.memory, encoded.there)
        return torch.tanh(linear(torch.cat([h, context], dim=-1), self.readout.weight, self.readout.bias))

    def loss(self, pairs: Pairs) -> tuple[Tensor, int, Tensor]:
        """The sum of nats of all targets, how many there are, and what label smoothing adds for each."""
        options = self.regularisers
        readout = dropout(self.read(pairs), options.dropout_output, training=self.training, locked=options.locked)
        x, targets = _there(readout, pairs)
        weight, bias = self.output.matrix(self.embedding.weight), self.output.bias
        nats = linear_cross_entropy(x, weight, bias, targets)
        return nats, len(targets), smoothing(x, weight, bias, targets, options.label_smoothing)

    @torch.no_grad()
    def nats(self, pairs: Pairs) -> Tensor:
        """``-log p`` of every target there is ``(N,)``. Nothing is dropped, whatever the mode."""
        mode = self.training
        self.eval()
        try:
            x, targets = _there(self.read(pairs), pairs)
            return linear_nats(x, self.output.matrix(self.embedding.weight), self.output.bias, targets)
        finally:
            self.train(mode)

    def _embed(self, ids: Tensor, weight: Tensor) -> Input:
        options = self.regularisers
        x, _ = look_up(ids, weight, options.dropout_embedding, training=self.training, tied=False)
        if self.training and options.dropout_input > 0.0:
            return dropout(dense(x), options.dropout_input, training=True, locked=options.locked)
        return x


def _there(readout: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Readouts ``(N, E)`` and targets ``(N,)`` before each row's end."""
    there = torch.arange(len(readout), device=readout.device)[:, None] < pairs.target_lengths
    return readout[there], pairs.target[1:][there]


def smoothing(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, amount: float) -> Tensor:
    """What label smoothing (Szegedy et al. 2016) adds to the mean cross-entropy of scores ``s = x W^T + b``, a scalar.

    With a share ``amount`` of each target spread over the vocabulary, the loss is ``log Z - (1 - amount) s_target -
    amount mean(s)``: the cross-entropy, and ``amount (s_target - mean(s))``, which needs no scores of all tokens.
    """
    if amount == 0.0:
        return x.new_zeros(())
    chosen = (x * weight[targets]).sum(-1) + bias[targets]
    mean = x @ weight.mean(0) + bias.mean()
    return amount * (chosen - mean).mean()
