"""The recurrent recogniser: from the spectrum of a sound to what is said in it."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ostinato.architectures.recogniser import RecogniserConfig
from ostinato.config import Regularisers
from ostinato.kernels.autograd import linear
from ostinato.nn.dropout import dropout
from ostinato.nn.recurrent import Encoder, Stack


class RecurrentRecogniser(nn.Module):
    """Layers over the steps of a sound, and scores of the characters in each (Graves et al. 2006)::

        x_t = dropout_input((step_t - mean) * scale)         band by band     (T, B, E)
        y_t = dropout_output(layers(x))                                       (T, B, M)
        log p_t = log softmax(W y_t + b)                                      (T, B, V)
        p(text) = sum over paths of prod over t of p_t(path_t)

    A path says a character or the blank in each step; that which comes of it when characters in a row become one and
    blanks are left out is its text. ``state_dict`` keys are the tensor names of a model folder.
    """

    def __init__(self, config: RecogniserConfig, regularisers: Regularisers, blank: int) -> None:
        super().__init__()
        self.config, self.regularisers, self.blank = config, regularisers, blank
        self.input = Standard(config.mels)
        reader = Encoder if config.reader == "encoder" else Stack
        self.add_module(config.reader, reader(config.layers, regularisers))
        self.output = nn.Linear(config.memory, config.layers.vocab)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities ``(T, B, V)`` of ``steps (T, B, E)``; beyond a row's length ``(B,)`` they mean nothing."""
        options, layers = self.regularisers, cast(Encoder | Stack, getattr(self, self.config.reader))
        x = dropout(self.input(steps), options.dropout_input, training=self.training, locked=options.locked)
        y, _ = layers(x, layers.initial_state(steps.shape[1]), lengths)
        y = dropout(y, options.dropout_output, training=self.training, locked=options.locked)
        T, B, M = y.shape
        logits = linear(y.reshape(T * B, M), self.output.weight, self.output.bias)
        return F.log_softmax(logits.reshape(T, B, -1), dim=-1)

    def loss(
        self, steps: Tensor, lengths: Tensor, texts: Tensor, spelled: Tensor, pauses: Tensor, space: int
    ) -> Tensor:
        """The sum of ``-log p(text)``, a scalar with gradient, of texts end to end ``(N,)``, ``spelled (B,)`` long.

        The sum is over paths that say nothing but ``space`` in steps that are ``pauses (T, B)``, as Senior et al. 2015
        leave out paths that are late. With all paths a model that reads forward learns, before it can hear, to guess
        first letters at once; and as no state knows what was said, paths that wait never get a share again. One that
        reads in both directions says last letters as late as it likes. The sum is infinite where no path is left.
        """
        logprobs = self(steps, lengths)
        letters = torch.ones(logprobs.shape[2], dtype=torch.bool, device=pauses.device)
        letters[[self.blank, space]] = False
        logprobs = logprobs.masked_fill(pauses[:, :, None] & letters, -torch.inf)
        return self._nats(logprobs, lengths, texts, spelled).sum()

    @torch.no_grad()
    def nats(self, steps: Tensor, lengths: Tensor, texts: Tensor, spelled: Tensor) -> Tensor:
        """``-log p(text)`` of each sound ``(B,)``. Nothing is dropped, whatever the mode."""
        mode = self.training
        self.eval()
        try:
            return self._nats(self(steps, lengths), lengths, texts, spelled)
        finally:
            self.train(mode)

    def _nats(self, logprobs: Tensor, lengths: Tensor, texts: Tensor, spelled: Tensor) -> Tensor:
        return F.ctc_loss(logprobs, texts, lengths, spelled, self.blank, reduction="none")


class Standard(nn.Module):
    """Bands of mean 0 and variance 1 over what is trained on, which is told once and never learned."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(mels))
        self.register_buffer("scale", torch.ones(mels))

    def forward(self, steps: Tensor) -> Tensor:
        """``(steps - mean) * scale`` of ``steps (T, B, stack * mels)``."""
        T, B, E = steps.shape
        frames = steps.reshape(T, B, -1, len(self.mean))
        return torch.mul(frames - self.mean, self.scale).reshape(T, B, E)
