"""A layer that reads from the last step to the first against the definition on the reversed text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from parity.cases import CASES, WIDE, Case, assert_close, by_reference, problem
from parity.torch_kernels import by_torch

from ostinato.kernels.autograd import sequence


def turned(array: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """``array (T, B, ...)`` with each row reversed within its length."""
    array = array.copy()
    for row, length in enumerate([len(array)] * array.shape[1] if lengths is None else lengths):
        array[:length, row] = array[:length, row][::-1]
    return array


def backwards(module, cell, x, weights, state, *, keep, **options):
    """As ``recurrent``, reversed."""
    return module.recurrent_together(cell, [(x, weights, state)], keeps=[keep], reversed=[True], **options)[0]


def hold_reversed(case: Case, dtype: type, module=sequence) -> None:
    p = problem(case, dtype)
    keep = p.keep
    if case.keep == "mask":
        keep = tuple(turned(k, p.lengths) for k in p.keep)
    there = replace(p, x=turned(p.x, p.lengths), keep=keep, d_outputs=turned(p.d_outputs, p.lengths))
    wanted = by_reference(case, there)
    wanted = replace(wanted, outputs=turned(wanted.outputs, p.lengths), d_x=turned(wanted.d_x, p.lengths))
    assert_close(by_torch(case, p, SimpleNamespace(recurrent=partial(backwards, module))), wanted, case.T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES + WIDE, ids=str)
def test_a_reversed_layer_is_a_layer_over_the_reversed_text(case: Case, dtype):
    """float64 is not the core's."""
    hold_reversed(case, dtype)


def test_both_directions_at_once_may_be_of_different_length():
    case = Case("lstm", "tanh", "long", T=6)
    p, q = problem(case, np.float32), problem(replace(case, name="short", T=3), np.float32)
    layers = [
        (torch.tensor(r.x), {name: torch.tensor(w) for name, w in r.weights.items()}, tuple(map(torch.tensor, r.state)))
        for r in (p, q)
    ]
    both = sequence.recurrent_together("lstm", layers, keeps=[None, None], reversed=[False, True])
    for i, backward in enumerate((False, True)):
        ((outputs, final),) = sequence.recurrent_together("lstm", [layers[i]], keeps=[None], reversed=[backward])
        assert torch.equal(both[i][0], outputs)
        assert all(torch.equal(a, b) for a, b in zip(both[i][1], final, strict=True))


def test_reverse_turns_each_row_within_its_length():
    x = torch.arange(5)[:, None].repeat(1, 3)
    assert sequence.reverse(x, torch.tensor([5, 1, 3])).T.tolist() == [
        [4, 3, 2, 1, 0],
        [0, 1, 2, 3, 4],
        [2, 1, 0, 3, 4],
    ]
    assert sequence.reverse(x).T.tolist() == [[4, 3, 2, 1, 0]] * 3
