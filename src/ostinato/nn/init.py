"""How weights start. Every draw is from torch's global generator, so ``torch.manual_seed`` decides all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ostinato.kernels.reference import state_parts

FORGET_GATE = 1
"""Place of ``f`` among the LSTM gates ``i, f, g, o``."""

RELU_START = 0.95
"""Le et al. (2015) start from the identity itself for sequences that begin at zero, and from less of it where less has
to be remembered. A carried state never begins at zero: from the identity it grew through all windows, to losses of
hundreds of nats per character in the first hundred steps; at 0.98 to seven, at 0.95 to none above a guess."""


def initialise_recurrent(weights: Mapping[str, Tensor], cell: str, activation: str) -> None:
    """Fill the weights of one layer in place.

    - ``weight_hh``: an orthogonal block per gate (Saxe et al. 2014): the state neither grows nor fades in its first
      steps. A rectified ``rnn`` starts from the identity times RELU_START instead (Le et al. 2015, IRNN).
    - ``weight_ih``: Glorot and Bengio (2010) for each gate by itself. All gates in one matrix would count ``G*H``
      outputs where each gate has ``H``, and start the input up to twice too quiet.
    - ``bias``: zero; one at the forget gate of the LSTM kinds (Gers et al. 2000, Jozefowicz et al. 2015).
    - peepholes: orthogonal at a tenth of the size when full, uniform in +-0.1 when diagonal: the gates start by
      listening to input and output, as the LSTM's do.
    """
    hidden = weights["weight_hh"].shape[1]
    for name, weight in weights.items():
        if name == "weight_hh":
            for block in weight.chunk(len(weight) // hidden):
                nn.init.orthogonal_(block)
        elif name == "weight_ih":
            for block in weight.chunk(len(weight) // hidden):
                nn.init.xavier_uniform_(block)
        elif name in ("bias", "bias_hn"):
            nn.init.zeros_(weight)
        elif weight.ndim == 2:
            nn.init.orthogonal_(weight, gain=0.1)
        else:
            nn.init.uniform_(weight, -0.1, 0.1)
    if "c" in state_parts(cell):
        nn.init.ones_(weights["bias"][FORGET_GATE * hidden : (FORGET_GATE + 1) * hidden])
    if cell == "rnn" and activation == "relu":
        nn.init.eye_(weights["weight_hh"]).mul_(RELU_START)


TIED_SPREAD = 0.3
"""Of a tied embedding, which is also the output layer and must not start loud: 0.1 and 1 were 0.2 nats per word behind
after 250 steps of a small LSTM, 0.5 was level."""


@torch.no_grad()
def initialise_embedding(weight: Tensor, hidden: int, *, tied: bool) -> None:
    """Normal, as wide as gives the first layer, ``hidden`` units, pre-activations of variance one.

    Glorot's input weights have variance ``2 / (E + H)``, so that is ``sqrt((E + H) / 2E)``; TIED_SPREAD when tied. A
    standard deviation of 0.1 (Zaremba et al. 2014) leaves the gates deaf to their input for the first minutes of a
    short training: 2.21 against 1.72 nats per character after 500 steps of a small LSTM.
    """
    E = weight.shape[1]
    nn.init.normal_(weight, std=TIED_SPREAD if tied else math.sqrt((E + hidden) / (2 * E)))


@torch.no_grad()
def initialise_output(weight: Tensor) -> None:
    """Uniform in ``+-1/sqrt(R)``: scores start near zero, and the loss near that of a uniform guess, ``log V``."""
    bound = 1.0 / math.sqrt(weight.shape[1])
    nn.init.uniform_(weight, -bound, bound)
