"""Recurrent layers in the C core, with gradients: several at once that do not depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.kernels import native
from ostinato.kernels.autograd.loops import Parts, d_seen, rows
from ostinato.kernels.reference import find


@dataclass(frozen=True)
class Task:
    """A layer in one direction over ``x (T, B, I)``: the arguments of ``recurrent``, ``keep`` parts ``(T, B, H)``."""

    x: Tensor
    weights: Mapping[str, Tensor]
    state: Parts
    lengths: Tensor | None
    keep: Parts | None

    def tensors(self) -> tuple[Tensor, ...]:
        """What gets a gradient: input, weights, state."""
        return (self.x, *self.weights.values(), *self.state)


def possible(x: Tensor) -> bool:
    """Whether the core takes such an input: there is a core, and ``x`` is float32, on the CPU and not empty."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0 and native.available()


def run(cell: str, activation: str, tasks: Sequence[Task]) -> list[tuple[Tensor, Parts]]:
    """For each task its ``outputs (T, B, H)`` and final state. Past a row's length outputs repeat its last state."""
    results = _Compiled.apply(  # type: ignore[no-untyped-call]
        cell, activation, tasks, *(tensor for task in tasks for tensor in task.tensors())
    )
    each = len(results) // len(tasks)
    return [(results[i], results[i + 1 : i + each]) for i in range(0, len(results), each)]


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """``a b + bias`` by the core: ``a (M, K)``, ``b (K, N)``, each perhaps a transposed view."""
    out = a.new_empty(a.shape[0], b.shape[1])
    offset = None if bias is None else bias.detach().numpy()
    native.multiply(a.detach().numpy(), b.detach().numpy(), out.numpy(), torch.get_num_threads(), offset)
    return out


def outer(d: Tensor, x: Tensor) -> Tensor:
    """``d^T x``, the gradient of a weight: ``d (N, M)``, ``x (N, K)`` give ``(M, K)``."""
    return product(d.t(), x)


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cell: str, activation: str, tasks: Sequence[Task], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors)  # which tells when one of them is changed before the gradient is asked for
        ctx.runs = [_Run(cell, activation, task) for task in tasks]
        native.recurrent_forward([run.layer() for run in ctx.runs], torch.get_num_threads())
        return tuple(result for run in ctx.runs for result in run.results())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.saved_tensors
        each = len(d_results) // len(ctx.runs)
        backs = [_Back(run, d_results[i * each : (i + 1) * each]) for i, run in enumerate(ctx.runs)]
        native.recurrent_backward([back.layer() for back in backs], torch.get_num_threads())
        needed = ctx.needs_input_grad[3:]
        each = len(needed) // len(backs)
        gradients = (d for i, back in enumerate(backs) for d in back.gradients(need_x=needed[i * each]))
        return None, None, None, *gradients


class _Run:
    """A task's arrays: its gates, which begin as the projected input, and its states at every time."""

    def __init__(self, cell: str, activation: str, task: Task) -> None:
        self.cell, self.activation, self.task = cell, activation, task
        T, B, _ = task.x.shape
        self.x = rows(task.x).contiguous()
        self.gates = product(self.x, task.weights["weight_ih"].t(), task.weights["bias"]).view(T, B, -1)
        self.parts = tuple(part.new_empty(T + 1, *part.shape) for part in task.state)
        for room, part in zip(self.parts, task.state, strict=True):
            room[0] = part
        # gru keeps r * h there, gru_reset_after U_n h + b_hn.
        self.extra = torch.empty_like(self.parts[0][1:]) if cell in ("gru", "gru_reset_after") else None
        self.lengths = None if task.lengths is None else task.lengths.to(torch.int32).numpy()

    def layer(self, **more: Any) -> native.Layer:
        """The arrays as the core takes them."""
        weights = {name: weight for name, weight in self.task.weights.items() if name not in ("weight_ih", "bias")}
        names = [f"keep_{name}" for name in find(self.cell, self.activation).parts]
        keep = dict(zip(names, self.task.keep or (), strict=False))
        parts = dict(zip("hc", self.parts, strict=False))
        tensors = {**weights, **keep, **parts, "gates": self.gates, "extra": self.extra, **more}
        arrays = {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items() if tensor is not None}
        return native.Layer(self.cell, activation=self.activation, lengths=self.lengths, **arrays)

    def results(self) -> tuple[Tensor, ...]:
        """Outputs and final state."""
        return (self.parts[0][1:], *(part[-1].clone() for part in self.parts))


class _Back:
    """The gradients of a run: of its gates and of the state, which begins as that of the final one."""

    def __init__(self, run: _Run, d_results: Sequence[Tensor]) -> None:
        self.run = run
        self.d_outputs = d_results[0]
        self.d_state = [d.clone(memory_format=torch.contiguous_format) for d in d_results[1:]]
        self.d_gates = torch.empty_like(run.gates)
        self.d_extra = torch.empty_like(run.parts[0][1:]) if run.cell == "gru_reset_after" else None

    def layer(self) -> native.Layer:
        d_state = dict(zip(("d_h", "d_c"), self.d_state, strict=False))
        return self.run.layer(d_outputs=self.d_outputs, d_gates=self.d_gates, d_extra=self.d_extra, **d_state)

    def gradients(self, *, need_x: bool) -> tuple[Tensor | None, ...]:
        """In the order of ``Task.tensors``."""
        task = self.run.task
        d_rows = rows(self.d_gates)
        d_x = product(d_rows, task.weights["weight_ih"]).view(task.x.shape) if need_x else None
        d_weights = {"weight_ih": outer(d_rows, self.run.x), "bias": d_rows.sum(0), **self._recurrent_weights()}
        return d_x, *(d_weights[name] for name in task.weights), *self.d_state

    def _recurrent_weights(self) -> dict[str, Tensor]:
        run, H = self.run, self.d_state[0].shape[1]
        before, d_rows = rows(run.parts[0][:-1]), rows(self.d_gates)
        if run.cell == "gru":
            assert run.extra is not None
            reset = rows(run.extra)
            return {"weight_hh": torch.cat([outer(d_rows[:, : 2 * H], before), outer(d_rows[:, 2 * H :], reset)])}
        if self.d_extra is not None:
            d_u = rows(self.d_extra)
            d_U = torch.cat([outer(d_rows[:, : 2 * H], before), outer(d_u, before)])
            return {"weight_hh": d_U, "bias_hn": d_u.sum(0)}
        d_weights = {"weight_hh": outer(d_rows, before)}
        if "weight_ci" in run.task.weights:
            d_i, d_f, _, d_o = torch.split(self.d_gates, H, 2)
            c = run.parts[1]
            for name, d, seen in (
                ("weight_ci", d_i, c[:-1]),
                ("weight_cf", d_f, c[:-1]),
                ("weight_co", d_o, self._fresh()),
            ):
                d_weights[name] = d_seen(d, seen, run.task.weights[name])
        return d_weights

    def _fresh(self) -> Tensor:
        """The cell that o saw: what it became before zoneout and the row's end held it."""
        run, H = self.run, self.d_state[0].shape[1]
        if run.task.keep is None:
            return run.parts[1][1:]  # past a row's end the gradient of o is 0
        i, f, g, _ = torch.split(run.gates, H, 2)
        return torch.addcmul(f * run.parts[1][:-1], i, g)
