"""The recurrent language model: each token from all before it."""

from __future__ import annotations

from torch import Tensor

from ostinato.config import ModelConfig, Regularisers
from ostinato.kernels.autograd import Input
from ostinato.models.tokens import TokenModel
from ostinato.nn.recurrent import Stack, States


class RecurrentLanguageModel(TokenModel):
    """Embedding, a stack of recurrent layers, output layer (Mikolov et al. 2010, Zaremba et al. 2014)."""

    def __init__(self, config: ModelConfig, regularisers: Regularisers) -> None:
        super().__init__(config, regularisers)
        self.stack = Stack(config, regularisers)

    @property
    def lookahead(self) -> int:
        """None: it reads the past only."""
        return 0

    def initial_state(self, batch: int) -> States:
        """Zeros, parts ``(B, H)`` in the order of ``state_names``."""
        return self.stack.initial_state(batch)

    def state_names(self) -> tuple[str, ...]:
        """``layers.0.h``, ``layers.0.c``, ..."""
        return self.stack.state_names()

    def readout(self, ids: Tensor, state: States) -> tuple[Tensor, States]:
        """Read ``ids (T, B)``; give what the output layer reads after each, ``(T, B, R)``, and the last state."""
        readout, last = self.stack(self.embed(ids), state)
        return readout, last

    def read_window(self, x: Input, state: States) -> tuple[Tensor, States]:
        """Read all but the last of ``x (T+1, B, E)``; see ``TokenModel``."""
        readout, last = self.stack(x[:-1], state)
        return readout, last

    def last_layer(self, readout: Tensor) -> Tensor:
        """The part ``(T, B, H)`` of a readout that the last layer gave."""
        return readout[..., -self.stack.last_width :]
