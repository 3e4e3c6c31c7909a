"""From the outputs of every step to one vector for each row, whatever the length of the rows.

With ``y (T, B, M)`` and ``n = lengths[b]``, of row ``b``::

    max_j       = max of y_tj over t < n
    mean        = sum of y_t over t < n, divided by n
    last        = y_{n-1}; of two directions [forward half of y_{n-1} ; backward half of y_0]
    attention   = sum of a_t y_t,  a = softmax over t < n of q . tanh(W y_t + b)   (Yang et al. 2016, equations 5 to 7)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ostinato.kernels.autograd import linear


class Pooling(nn.Module):
    """The poolings ``kinds`` side by side; ``directions`` is 2 where each half of the width has read in one of its own.

    Only attention has weights: ``weight (M, M)``, ``bias (M,)``, ``query (M,)``.
    """

    def __init__(self, kinds: Sequence[str], width: int, directions: int) -> None:
        super().__init__()
        self.kinds, self.directions = tuple(kinds), directions
        if "attention" in kinds:
            self.weight = nn.Parameter(torch.empty(width, width))
            self.bias = nn.Parameter(torch.zeros(width))
            self.query = nn.Parameter(torch.empty(width))
            nn.init.xavier_uniform_(self.weight)
            nn.init.normal_(self.query, std=width**-0.5)

    def forward(self, y: Tensor, lengths: Tensor) -> Tensor:
        """``y (T, B, M)`` and ``lengths (B,)``, at least 1 each, to ``(B, K*M)``, a block for each of the kinds."""
        live = (torch.arange(len(y), device=y.device)[:, None] < lengths)[:, :, None]
        return torch.cat([getattr(self, f"_{kind}")(y, lengths, live) for kind in self.kinds], dim=-1)

    def _max(self, y: Tensor, _: Tensor, live: Tensor) -> Tensor:
        return y.masked_fill(~live, -torch.inf).amax(0)

    def _mean(self, y: Tensor, lengths: Tensor, live: Tensor) -> Tensor:
        return torch.where(live, y, 0.0).sum(0) / lengths[:, None]

    def _last(self, y: Tensor, lengths: Tensor, _: Tensor) -> Tensor:
        ends = y[lengths - 1, torch.arange(y.shape[1], device=y.device)]
        if self.directions == 1:
            return ends
        half = y.shape[2] // 2
        return torch.cat([ends[:, :half], y[0, :, half:]], dim=-1)

    def _attention(self, y: Tensor, _: Tensor, live: Tensor) -> Tensor:
        y = torch.where(live, y, 0.0)
        scores = torch.tanh(linear(y, self.weight, self.bias)) @ self.query
        shares = torch.softmax(scores.masked_fill(~live[:, :, 0], -torch.inf), dim=0)
        return (shares[:, :, None] * y).sum(0)
