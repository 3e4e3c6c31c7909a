"""The output layer: from what a network remembers to the scores of the next token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.nn.init import initialise_output


class Output(nn.Module):
    """Holds ``weight (V, R)`` and ``bias (V,)``; tied, only the bias: the weight is then the embedding's."""

    def __init__(self, vocab: int, readout: int, *, tied: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab))
        if tied:
            self.register_parameter("weight", None)
        else:
            self.weight = nn.Parameter(torch.empty(vocab, readout))
            initialise_output(self.weight)

    def matrix(self, embedding: Tensor) -> Tensor:
        """The matrix ``(V, R)`` in use: its own, or ``embedding (V, E)`` when tied (Press and Wolf 2017)."""
        return embedding if self.weight is None else self.weight
