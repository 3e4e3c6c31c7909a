"""From tokens to what the first layer reads."""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.kernels.autograd import Input, Lookup, possible
from ostinato.nn.dropout import embed


def look_up(ids: Tensor, weight: Tensor, p: float, *, training: bool, tied: bool) -> Input:
    """``embed (T, B, E)`` of ``ids (T, B)``, looked up in the rows of the tokens that occur, where tokens recur.

    What the first layer makes of a token is then computed once. Only the core gains by it.
    """
    if possible(weight):
        tokens, index = torch.unique(ids, return_inverse=True)
        if 2 * len(tokens) <= ids.numel():
            return Lookup(embed(tokens, weight, p, training=training, tied=tied), index.to(torch.int32))
    return embed(ids, weight, p, training=training, tied=tied)
