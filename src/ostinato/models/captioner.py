"""The recurrent captioner: a caption of an image, each token from the image and all tokens before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ostinato.architectures.captioner import KERNEL, PADDING, PLANES, CaptionerConfig, weight_scale
from ostinato.config import Regularisers
from ostinato.kernels.autograd import Input, dense, linear, linear_cross_entropy, linear_nats
from ostinato.nn.attention import Attention
from ostinato.nn.dropout import dropout
from ostinato.nn.embedding import look_up
from ostinato.nn.init import initialise_embedding
from ostinato.nn.output import Output
from ostinato.nn.recurrent import Stack, States


def planes(images: Tensor) -> Tensor:
    """What the first convolution reads, ``(B, 3, D, D)``, of ``images (B, D, D, 3)`` in uint8.

    Colours count from white, which is 0, to 2, so that the edge of a convolution is more of a white background. From
    the second convolution on the edge differs from a background, and with it left from right (Islam et al. 2020):
    planes of coordinates (Liu et al. 2018) gained nothing where shapes were to be told by colour, form and side.
    """
    return 2.0 - images.float().permute(0, 3, 1, 2) / 127.5


class Convolutions(nn.Module):
    """Convolutions, each followed by a rectifier and a layer norm of its maps as a whole (Ba et al. 2016).

    Without norms the features grow in the first steps, by a product of all layers, until the tanh that reads them is at
    its ends: of six runs on emoji three stayed at the frequencies of letters. With each region normed by itself, or
    before the rectifier, the mean of the regions says little: of drawn shapes 0.02 to 0.94 were told, not 0.94 to 1.

    Weights are used times ``weight_scale``. As they are, what Adam made of the first gradients, of which captions are
    mostly noise, drowned the images: how far a feature of emoji differed from image to image went from 0.7 to 0.06
    within 150 steps, and to 0.4 with the scale.
    """

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        shapes = zip((PLANES, *config.channels), config.channels, config.strides, strict=False)
        layers = [nn.Conv2d(below, channels, KERNEL, stride, PADDING) for below, channels, stride in shapes]
        for layer in layers:
            nn.init.normal_(layer.weight)
            nn.init.zeros_(cast(Tensor, layer.bias))
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.GroupNorm(1, channels, eps=1e-5) for channels in config.channels)

    def forward(self, images: Tensor) -> Tensor:
        """The regions ``(S, B, M)``, row after row of the last feature map, of ``images (B, D, D, 3)`` in uint8."""
        x = planes(images)
        for layer, norm in zip(cast(Sequence[nn.Conv2d], self.layers), self.norms, strict=True):
            weight = layer.weight * weight_scale(x.shape[1])
            x = norm(F.relu(F.conv2d(x, weight, layer.bias, layer.stride, PADDING)))
        return x.flatten(2).permute(2, 0, 1)


class WordSpotter(nn.Module):
    """Tells which words the caption of an image has, whatever their order (Fang et al. 2015)::

        logits = words dropout(mean over regions of convolutions(image))

    Captions teach convolutions slowly: a decoder knows few captions by heart long before. Trained for this first, they
    have something to say from its first step on.
    """

    def __init__(self, config: CaptionerConfig, frequencies: Tensor, dropout: float) -> None:
        """``frequencies (K,)``: the share of captions that have each word, which is what it says before it has learnt.

        Its random draws leave torch's global generator as it was.
        """
        super().__init__()
        with torch.random.fork_rng(devices=()):
            self.encoder = Convolutions(config)
            self.words = nn.Linear(config.memory, len(frequencies))
        with torch.no_grad():
            self.words.bias.copy_(torch.logit(frequencies))
        self.dropout = dropout

    def loss(self, images: Tensor, present: Tensor) -> Tensor:
        """The sum of nats of ``present (B, K)``, 1 where a caption has the word and else 0, a scalar with gradient."""
        seen = self.encoder(images).mean(0)
        logits = self.words(F.dropout(seen, self.dropout, self.training))
        return F.binary_cross_entropy_with_logits(logits, present, reduction="sum")


class RecurrentCaptioner(nn.Module):
    """Convolutions, attention, a stack of recurrent layers (Vinyals et al. 2015, Xu et al. 2015)::

        memory = dropout_hidden(convolutions(image))                           (S, B, M)
        state_0 = tanh(bridge(mean of memory over regions))
        h_t = stack(dropout_input(embedding(ids)))                         from state_0
        context_t = attention(h_t, memory), or the mean over regions
        readout_t = dropout_output(tanh(readout [h_t ; context_t]))        (Luong et al. 2015, eq. 5)
        logits_t = readout_t weight^T + bias

    A caption is framed by the boundary token: ``ids (T + 1, B)`` begin with it, a row of ``lengths (B,)`` ends with it,
    and what follows means nothing. ``ids[1 : 1 + length]`` are predicted. ``state_dict`` keys are the tensor names of a
    model folder.
    """

    def __init__(self, config: CaptionerConfig, regularisers: Regularisers) -> None:
        super().__init__()
        self.config, self.regularisers = config, regularisers
        decoder, M = config.decoder, config.memory
        self.embedding = nn.Embedding(decoder.vocab, decoder.embed)
        initialise_embedding(self.embedding.weight, decoder.hidden[0], tied=config.tied)
        self.encoder = Convolutions(config)
        self.decoder = Stack(decoder, regularisers)
        self._widths = [part.shape[1] for part in self.decoder.initial_state(1)]
        self.bridge = nn.Linear(M, sum(self._widths))
        H = decoder.hidden[-1]
        self.attention = Attention(config.attention, H, M)
        self.readout = nn.Linear(H + M, decoder.embed)
        self.output = Output(decoder.vocab, decoder.embed, tied=config.tied)

    def see(self, images: Tensor) -> Tensor:
        """The memory ``(S, B, M)`` of ``images (B, D, D, 3)`` in uint8, with dropout in training."""
        B = len(images)
        seen = torch.full_like(images[:1], 255) if self.config.blind else images
        memory: Tensor = self.encoder(seen)
        return F.dropout(memory.expand(-1, B, -1), self.regularisers.dropout_hidden, self.training)

    def initial_state(self, memory: Tensor) -> States:
        """Of the decoder, from ``memory (S, B, M)``: parts ``(B, H)``."""
        state = torch.tanh(linear(memory.mean(0), self.bridge.weight, self.bridge.bias))
        return tuple(part.contiguous() for part in torch.split(state, self._widths, dim=1))

    def read(self, x: Input, memory: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the output layer reads after each of ``x (T, B, E)``, the embedded ids: ``(T, B, E)``."""
        h, _ = self.decoder(x, self.initial_state(memory), lengths)
        joined = torch.cat([h, self._context(h, memory)], dim=-1)
        return torch.tanh(linear(joined, self.readout.weight, self.readout.bias))

    def _context(self, h: Tensor, memory: Tensor) -> Tensor:
        """What each step takes of the image ``(T, B, M)``."""
        if self.config.attention == "none":
            return memory.mean(0).expand(len(h), -1, -1)
        there = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
        context: Tensor = self.attention(h, self.attention.keys(memory), memory, there)[0]
        return context

    def loss(self, images: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """The sum of nats of what is predicted, a scalar with gradient; arguments as the class says."""
        options = self.regularisers
        x, embedding = look_up(
            ids[:-1],
            self.embedding.weight,
            options.dropout_embedding,
            training=self.training,
            tied=self.config.tied,
        )
        if self.training and options.dropout_input > 0.0:
            x = dropout(dense(x), options.dropout_input, training=True, locked=options.locked)
        readout = self.read(x, self.see(images), lengths)
        readout = dropout(readout, options.dropout_output, training=self.training, locked=options.locked)
        return linear_cross_entropy(*self._scoring(readout, embedding, ids, lengths))

    @torch.no_grad()
    def nats(self, images: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """``-log p`` of each caption ``(B,)``, its end included. Nothing is dropped, whatever the mode."""
        mode = self.training
        self.eval()
        try:
            x, embedding = look_up(ids[:-1], self.embedding.weight, 0.0, training=False, tied=False)
            readout = self.read(x, self.see(images), lengths)
            each = linear_nats(*self._scoring(readout, embedding, ids, lengths))
        finally:
            self.train(mode)
        spread = each.new_zeros(readout.shape[:2])
        spread[live(len(readout), lengths)] = each
        return spread.sum(0)

    def _scoring(
        self, readout: Tensor, embedding: Tensor, ids: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the loss kernels take of the rows that have not ended: readout ``(N, E)``, weight, bias, targets."""
        rows = live(len(readout), lengths)
        return readout[rows], self.output.matrix(embedding), self.output.bias, ids[1:][rows]


def live(steps: int, lengths: Tensor) -> Tensor:
    """Where rows of ``lengths (B,)`` have not ended: ``(T, B)``."""
    return torch.arange(steps, device=lengths.device)[:, None] < lengths
