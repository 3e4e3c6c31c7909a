"""Soft attention: what a query finds in a memory of any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.kernels.autograd import linear


class Attention(nn.Module):
    """Weights of a memory ``m_1 ... m_S``, and its mean by them, for each query ``q``::

        none       no weights
    dot        e_s = q . m_s                                     (Luong et al. 2015, eq. 8)
    general    e_s = q . W m_s                                   (the same)
    additive   e_s = v . tanh(W_q q + W_m m_s + b)               (Bahdanau et al. 2015, appendix A.1.2)

    a = softmax of e over what is there,    context = sum_s a_s m_s
    """

    def __init__(self, kind: str, query: int, memory: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "general":
            self.weight = nn.Parameter(_glorot(query, memory))
        elif kind == "additive":
            self.weight_query = nn.Parameter(_glorot(query, query))
            self.weight_memory = nn.Parameter(_glorot(query, memory))
            self.bias = nn.Parameter(torch.zeros(query))
            self.v = nn.Parameter(_glorot(1, query)[0])

    def keys(self, memory: Tensor) -> Tensor:
        """What queries are compared with ``(S, B, K)``, of a memory ``(S, B, M)``: the same for all queries."""
        if self.kind == "general":
            return linear(memory, self.weight, None)
        return linear(memory, self.weight_memory, self.bias) if self.kind == "additive" else memory

    def forward(self, query: Tensor, keys: Tensor, memory: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Contexts ``(T, B, M)`` and weights ``(T, B, S)`` of queries ``(T, B, Q)``.

        ``there (S, B)`` is true where a row of the memory is one; at least one of each column must be.
        """
        scores = self._scores(query, keys).masked_fill(~there.t()[:, None], -torch.inf)
        weights = torch.softmax(scores, dim=-1)  # (B, T, S)
        return (weights @ memory.transpose(0, 1)).transpose(0, 1), weights.transpose(0, 1)

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """``(B, T, S)``."""
        if self.kind == "additive":
            q = linear(query, self.weight_query, None)
            return torch.tanh(q.transpose(0, 1)[:, :, None] + keys.transpose(0, 1)[:, None]) @ self.v
        return query.transpose(0, 1) @ keys.permute(1, 2, 0)


def _glorot(rows: int, columns: int) -> Tensor:
    return nn.init.xavier_uniform_(torch.empty(rows, columns))
