"""Pooling is what its equations say, row by row, and never looks beyond a row's end."""

import pytest
import torch
from modelling import close, draw, randomise

from ostinato.nn.pooling import Pooling

KINDS = ("max", "mean", "last", "attention")
LENGTHS = torch.tensor([5, 1, 3, 4])


def outputs(width=6):
    return draw(5, 4, width)


def by_hand(pooling, rows, kind, directions):
    """Of one row ``(n, M)``, without a mask."""
    if kind == "max":
        return rows.max(0).values
    if kind == "mean":
        return rows.mean(0)
    if kind == "last":
        half = rows.shape[1] // 2 if directions == 2 else rows.shape[1]
        return torch.cat([rows[-1, :half], rows[0, half:]])
    scores = torch.tanh(rows @ pooling.weight.T + pooling.bias) @ pooling.query
    return torch.exp(scores - torch.logsumexp(scores, 0)) @ rows


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_pooled_as_the_equations_say(kind, directions):
    y = outputs()
    pooling = randomise(Pooling([kind], 6, directions))
    pooled = pooling(y, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        close(pooled[b], by_hand(pooling, y[:n, b], kind, directions))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", [1e4, -1e4, float("nan")])
def test_what_lies_beyond_a_row_changes_nothing_and_has_no_gradient(kind, what):
    y = outputs()
    pooling = randomise(Pooling([kind], 6, 2))
    expected = pooling(y, LENGTHS)
    beyond = (torch.arange(5)[:, None] >= LENGTHS)[:, :, None]
    other = torch.where(beyond, torch.tensor(what), y).requires_grad_()
    pooled = pooling(other, LENGTHS)
    close(pooled, expected)
    (gradient,) = torch.autograd.grad(pooled.square().sum(), other)
    assert gradient.masked_select(beyond).abs().sum() == 0.0
    assert gradient.masked_select(~beyond).abs().sum() > 0.0


def test_kinds_stand_side_by_side_in_their_order():
    y = outputs()
    both = Pooling(["mean", "max"], 6, 2)(y, LENGTHS)
    close(both, torch.cat([Pooling([kind], 6, 2)(y, LENGTHS) for kind in ("mean", "max")], dim=1))
    assert both.shape == (4, 12)


def test_only_attention_has_weights():
    assert dict(Pooling(["max", "mean", "last"], 6, 1).named_parameters()) == {}
    shapes = {name: tuple(p.shape) for name, p in Pooling(["attention"], 6, 1).named_parameters()}
    assert shapes == {"weight": (6, 6), "bias": (6,), "query": (6,)}
