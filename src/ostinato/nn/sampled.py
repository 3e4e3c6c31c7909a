"""The loss of an output layer over a large vocabulary from a part of its scores: the targets' and a few more.

In training only: the model is the same, and what it is worth is measured with all of its scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.config import check_range
from ostinato.kernels.autograd import linear_cross_entropy

_HALVINGS = 60  # of the interval that holds the number of draws: more than float64 can tell apart


class SampledSoftmax:
    """Cross-entropy among candidates, drawn anew for every window (Bengio and Senecal 2008, Jean et al. 2015).

    With ``p_w`` the share of token w in the text, every token joins by itself with the probability that k draws from
    the text hold it, ``1 - (1 - p_w)^k``, where k is such that ``drawn`` tokens join on average. The N targets of the
    window join anyway. Where w is not the target, it is thus a candidate when one of the k draws or of the other
    targets, N - 1 more draws from the text, is w::

        pi_w = 1 - (1 - p_w)^(k + N - 1)

    and a set C of candidates has, where w is the target, the probability ``prod_{v in C, v != w} pi_v prod_{v not in C}
    (1 - pi_v)``, in proportion to ``1 / pi_w``. So by Bayes' rule, under a model with scores s over the whole
    vocabulary::

        p(target = w | C) = exp(s_w - log pi_w) / sum_{v in C} exp(s_v - log pi_v)

    which is what is learned from. Its expected gradient is zero where softmax(s) is the distribution of the text, and
    with every pi_w at one it is the full softmax. That the other targets are draws from the whole text is an
    approximation: words come in bursts. The larger ``drawn``, the less it matters.
    """

    def __init__(self, counts: Tensor, drawn: int) -> None:
        """``counts (V,)``: how often the text has each token. Raises ConfigError unless ``drawn`` is 1 to V - 1.

        Every count is taken as one more, so that what the text lacks is drawn too, and learned to be unlikely.
        """
        check_range("sampled_softmax", drawn, 1, len(counts) - 1)
        share = counts.double() + 1.0
        self._log_missed = torch.log1p(-share / share.sum())
        """``log(1 - p_w)`` of each token ``(V,)``."""
        self._draws = _draws(self._log_missed, drawn)
        self._joins = _inclusion(self._log_missed, self._draws).float()

    def candidates(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For ``targets (N,)``: ids of candidates ``(C,)``, ascending, their ``log pi (C,)``, and where among them each
        target is, ``(N,)``. Draws from torch's global generator of the device, as dropout does."""
        joined = torch.rand_like(self._joins) < self._joins
        joined[targets] = True
        candidates = joined.nonzero()[:, 0]
        places = joined.cumsum(0)[targets] - 1
        inclusion = _inclusion(self._log_missed[candidates], self._draws + len(targets) - 1)
        return candidates, inclusion.log().float(), places

    def cross_entropy(self, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """The sum of ``-log p(target | C)`` in nats; arguments as ``linear_cross_entropy``, ``bias`` not None.

        Rows of ``weight (V, R)`` that are no candidates get a gradient of zero.
        """
        candidates, log_inclusion, places = self.candidates(targets)
        # index_select: its gradient, of 2,500 rows of 200 among 33,278, takes 1.1 ms; that of weight[candidates] 2.5.
        rows = weight.index_select(0, candidates)
        return linear_cross_entropy(x, rows, bias.index_select(0, candidates) - log_inclusion, places)


def _inclusion(log_missed: Tensor, draws: float) -> Tensor:
    """``1 - (1 - p)^draws``, of ``log(1 - p)``."""
    return -torch.expm1(draws * log_missed)


def _draws(log_missed: Tensor, wanted: int) -> float:
    """How many draws hold ``wanted`` different tokens on average."""
    low = high = float(wanted)
    while _inclusion(log_missed, high).sum() < wanted:
        low, high = high, 2.0 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _inclusion(log_missed, middle).sum() < wanted else (low, middle)
    return high
