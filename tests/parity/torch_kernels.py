"""The torch kernels as an implementation of the table of cases."""

from __future__ import annotations

import numpy as np
import torch
from parity.cases import Case, Problem, Result

from ostinato.kernels.autograd import sequence


def by_torch(case: Case, p: Problem, module: object = sequence, device: str = "cpu") -> Result:
    """What ``recurrent`` of ``module`` and autograd give."""

    def leaf(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, requires_grad=True, device=device)

    def constant(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, device=device)

    x, state = leaf(p.x), tuple(leaf(part) for part in p.state)
    weights = {name: leaf(weight) for name, weight in p.weights.items()}
    outputs, final = module.recurrent(
        case.cell,
        x,
        weights,
        state,
        activation=case.activation,
        lengths=None if p.lengths is None else constant(p.lengths),
        keep=None if p.keep is None else tuple(constant(k) for k in p.keep),
    )
    torch.autograd.backward([outputs, *final], [constant(p.d_outputs), *(constant(d) for d in p.d_final)])
    return Result(
        as_array(outputs),
        tuple(as_array(part) for part in final),
        as_array(x.grad),
        {name: as_array(weight.grad) for name, weight in weights.items()},
        tuple(as_array(part.grad) for part in state),
    )


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Without gradient, on the CPU."""
    return tensor.detach().cpu().numpy()
