"""One table of cases that holds every implementation of the cells: reference, torch, and what comes after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ostinato.kernels import reference

VARIANTS = (
    *(("rnn", activation) for activation in ("tanh", "relu", "leaky_relu", "elu")),
    *((cell, "tanh") for cell in ("gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal")),
)


@dataclass(frozen=True)
class Case:
    """A layer, its sizes and what is special about the run."""

    cell: str
    activation: str
    name: str
    T: int = 5
    B: int = 3
    I: int = 4  # noqa: E741 - the axis letter of the input width
    H: int = 5
    lengths: tuple[int, ...] | None = None
    keep: str | None = None
    """``mask``: 0 and 1, one per element; ``probability``: one constant per state part."""

    def __str__(self) -> str:
        return f"{self.cell}-{self.activation}-{self.name}"


@dataclass(frozen=True)
class Problem:
    """Random inputs of a case, and the random projection of outputs and final state whose gradient is asked for."""

    x: np.ndarray
    weights: dict[str, np.ndarray]
    state: tuple[np.ndarray, ...]
    lengths: np.ndarray | None
    keep: tuple[np.ndarray, ...] | None
    d_outputs: np.ndarray
    d_final: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Result:
    """All that an implementation computes."""

    outputs: np.ndarray
    final: tuple[np.ndarray, ...]
    d_x: np.ndarray
    d_weights: dict[str, np.ndarray]
    d_state: tuple[np.ndarray, ...]

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every array with a name for the message."""
        yield "outputs", self.outputs
        yield "d_x", self.d_x
        yield from ((f"d_{name}", array) for name, array in sorted(self.d_weights.items()))
        for i, (final, d_state) in enumerate(zip(self.final, self.d_state, strict=True)):
            yield f"final[{i}]", final
            yield f"d_state[{i}]", d_state


Implementation = Callable[[Case, Problem], Result]


def cases_of(cell: str, activation: str) -> list[Case]:
    """The table, for one cell."""
    return [
        Case(cell, activation, "whole"),
        Case(cell, activation, "one_row_square", T=7, B=1, I=3, H=3),
        Case(cell, activation, "one_step_many_rows", T=1, B=7, I=2, H=3),
        Case(cell, activation, "ragged", B=4, lengths=(1, 5, 3, 4)),
        Case(cell, activation, "zoneout_mask", keep="mask"),
        Case(cell, activation, "zoneout_probability_ragged", lengths=(4, 1, 5), keep="probability"),
    ]


CASES = [case for variant in VARIANTS for case in cases_of(*variant)]
# Wide enough that matrix products go to the routines that small ones do not reach.
WIDE = [Case(*variant, "wide", T=3, B=33, I=65, H=129) for variant in VARIANTS]


def problem(case: Case, dtype: type = np.float64) -> Problem:
    """The case's inputs: nothing constant, nothing zero, each gate and unit its own."""
    rng = np.random.default_rng([case.T, case.B, case.I, case.H, len(str(case))])
    T, B, H = case.T, case.B, case.H

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.normal(size=shape) * scale).astype(dtype)

    state = tuple(normal(B, H) for _ in reference.state_parts(case.cell))
    keep = None
    if case.keep == "mask":
        keep = tuple((rng.random((T, B, H)) < 0.4).astype(dtype) for _ in state)
    elif case.keep == "probability":
        keep = tuple(np.full((1, 1, 1), p, dtype) for p in (0.3, 0.15)[: len(state)])
    return Problem(
        x=normal(T, B, case.I),
        weights={
            name: normal(*shape, scale=1.5 / np.sqrt(shape[-1] if len(shape) > 1 else 2))
            for name, shape in reference.weight_shapes(case.cell, case.I, H).items()
        },
        state=state,
        lengths=None if case.lengths is None else np.array(case.lengths),
        keep=keep,
        d_outputs=normal(T, B, H),
        d_final=tuple(normal(B, H) for _ in state),
    )


def by_reference(case: Case, p: Problem, module: object = reference) -> Result:
    """What the definition says (or ``module``, a mutant of it)."""
    options = {"activation": case.activation, "lengths": p.lengths, "keep": p.keep}
    outputs, final, tape = module.forward(case.cell, p.x, p.weights, p.state, **options)
    return Result(outputs, final, *module.backward(tape, p.d_outputs, p.d_final))


def assert_close(actual: Result, expected: Result, steps: int, slack: float = 100) -> None:
    """Equal up to rounding: ``slack`` units in the last place a step, of the largest element."""
    wanted = dict(expected.arrays())
    for name, array in actual.arrays():
        want = wanted[name]
        assert array.shape == want.shape, f"{name}: shape {array.shape}, expected {want.shape}"
        assert array.dtype == want.dtype, f"{name}: {array.dtype}, expected {want.dtype}"
        tolerance = slack * steps * np.finfo(array.dtype).eps * max(1.0, float(np.abs(want).max(initial=0)))
        error = np.abs(array - want).max(initial=0)
        assert error <= tolerance, f"{name}: off by {error:.2g}, tolerance {tolerance:.2g}"  # NaN fails too


def directional_error(case: Case, p: Problem, run: Implementation) -> float:
    """Worst disagreement of the gradients with central differences, along random directions of every array."""
    rng = np.random.default_rng(7)
    result = run(case, p)
    slopes = [(p.x, result.d_x), *zip(p.state, result.d_state, strict=True)]
    slopes += [(p.weights[name], result.d_weights[name]) for name in p.weights]
    worst = 0.0
    for array, gradient in slopes:
        for _ in range(2):
            direction, start = rng.normal(size=array.shape), array.copy()
            losses = []
            for sign in (1, -1):
                array[...] = start + sign * 1e-6 * direction
                losses.append(projected(run(case, p), p))
            array[...] = start
            difference = (losses[0] - losses[1]) / 2e-6
            worst = max(worst, abs(difference - (gradient * direction).sum()))
    return worst


def projected(result: Result, p: Problem) -> float:
    """The random projection whose gradient the results hold."""
    final = sum((state * d).sum() for state, d in zip(result.final, p.d_final, strict=True))
    return float((result.outputs * p.d_outputs).sum() + final)
