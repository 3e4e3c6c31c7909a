"""A distribution over the keys of a step in which each depends on those above it that sound.

From the readout ``r`` of a step, with ``A_j`` a row for each key::

    a_k = V r + c + sum of A_j over the keys j > k that sound        (Q,)
    logit_k = W_k r + b_k + U_k tanh(a_k)

That is NADE (Larochelle and Murray 2011) from the highest key down, whose biases come from the readout
(Boulanger-Lewandowski et al. 2012, RNN-NADE) and which has a direct path from it. ``a_k`` changes only below a key that
sounds: of a step with J of them there are J + 1, and each key takes the one that it is under. So the work grows with
the notes, not with the keys of the piano.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ostinato.kernels.autograd import linear


class Chain(nn.Module):
    """What a chain adds to the logits of K keys."""

    def __init__(self, keys: int, units: int, readout: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(units, readout))
        self.bias = nn.Parameter(torch.zeros(units))
        self.above = nn.Parameter(torch.empty(keys, units))
        self.output = nn.Parameter(torch.empty(keys, units))
        nn.init.xavier_uniform_(self.weight)
        # A few keys sound at once: each says about as much as the readout.
        nn.init.normal_(self.above, std=0.5)
        nn.init.uniform_(self.output, -1.0 / math.sqrt(units), 1.0 / math.sqrt(units))

    def forward(self, readout: Tensor, keys: Tensor) -> Tensor:
        """``U tanh(a)``, ``(N, K)``, of readouts ``(N, R)`` and the keys that sound, ``(N, K)`` of bool."""
        N, K = keys.shape
        sounding = keys.sum(1)
        most = int(sounding.max()) if N else 0
        # The keys that sound, the highest first; where there are fewer than the most, any will do.
        order = torch.argsort(keys.flip(1).to(torch.uint8), dim=1, descending=True, stable=True)[:, :most]
        above = self.above[K - 1 - order]
        first = linear(readout, self.weight, self.bias)
        a = torch.cat([first[:, None], first[:, None] + above.cumsum(1)], dim=1)
        scores = torch.tanh(a) @ self.output.t()
        passed = keys.flip(1).cumsum(1).flip(1) - keys.long()
        return scores.gather(1, passed[:, None]).squeeze(1)
