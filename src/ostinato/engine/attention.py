"""Soft attention in numpy: ``ostinato.nn.attention.Attention`` without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from ostinato.engine.stack import linear
from ostinato.types import Floats


class Attention:
    """What queries find in memories; the equations are those of ``ostinato.nn.attention``."""

    def __init__(self, kind: str, tensors: Mapping[str, Floats], prefix: str = "attention.") -> None:
        """``tensors`` are a bundle's; those of the attention begin with ``prefix``."""
        self._kind = kind
        self._weights = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    def keys(self, memory: Floats) -> Floats:
        """What queries are compared with ``(B, S, K)``, of memories ``(B, S, M)``."""
        if self._kind == "general":
            return memory @ self._weights["weight"].T
        if self._kind == "additive":
            return memory @ self._weights["weight_memory"].T + self._weights["bias"]
        return memory

    def weights(self, query: Floats, keys: Floats, there: Floats) -> Floats:
        """``(B, K, S)`` of queries ``(B, K, Q)``, K for each memory; ``there (B, S)`` is 1 where a memory is."""
        scores = self._scores(query, keys)
        scores = np.where(there[:, None] > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return cast(Floats, weights / weights.sum(axis=-1, keepdims=True))

    def _scores(self, query: Floats, keys: Floats) -> Floats:
        if self._kind != "additive":
            return cast(Floats, query @ keys.transpose(0, 2, 1))
        zero = np.zeros(len(self._weights["weight_query"]), np.float32)
        q = linear(query.reshape(-1, query.shape[-1]), self._weights["weight_query"], zero).reshape(query.shape)
        return cast(Floats, np.tanh(q[:, :, None] + keys[:, None]) @ self._weights["v"])
