"""Recurrent layers in the C core, with gradients: several at once that do not depend on each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ostinato.kernels import native
from ostinato.kernels.autograd.loops import Parts
from ostinato.kernels.reference import find


@dataclass(frozen=True)
class Task:
    """A layer in one direction over ``x (T, B, I)``: the arguments of ``recurrent``, ``keep`` parts ``(T, B, H)``.

    With an ``index (T, B)``, int32, ``x`` is ``(rows, I)`` and what a step reads is the row ``index[t, b]``.
    """

    x: Tensor
    index: Tensor | None
    weights: Mapping[str, Tensor]
    state: Parts
    lengths: Tensor | None
    keep: Parts | None
    reversed: bool = False

    def tensors(self) -> tuple[Tensor, ...]:
        """What gets a gradient: input, weights, state."""
        return (self.x, *self.weights.values(), *self.state)


def possible(x: Tensor) -> bool:
    """Whether the core takes such an input: there is a core, and ``x`` is float32, on the CPU and not empty."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0 and native.available()


def run(cell: str, activation: str, tasks: Sequence[Task]) -> list[tuple[Tensor, Parts]]:
    """For each task its ``outputs (T, B, H)`` and final state. Past a row's length outputs repeat its last state."""
    tensors = [tensor for task in tasks for tensor in task.tensors()]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        results = _Compiled.apply(cell, activation, tasks, *tensors)  # type: ignore[no-untyped-call]
    else:
        runs = _run_all(cell, activation, tasks)
        results = tuple(result for run in runs for result in run.results())
        for each in runs:
            each.release()
    count = len(results) // len(tasks)
    return [(results[i], results[i + 1 : i + count]) for i in range(0, len(results), count)]


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cell: str, activation: str, tasks: Sequence[Task], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors)  # which tells when one of them is changed before the gradient is asked for
        ctx.runs = _run_all(cell, activation, tasks)
        return tuple(result for run in ctx.runs for result in run.results())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.saved_tensors
        if ctx.runs is None:
            raise RuntimeError("the gradient of this layer was already taken; compute the layer again")
        runs, ctx.runs = ctx.runs, None  # the gradients take the place of what they are made from
        needed, given = ctx.needs_input_grad[3:], len(d_results) // len(runs)
        each = len(needed) // len(runs)
        backs = [
            _Back(run, d_results[i * given : (i + 1) * given], need_x=needed[i * each]) for i, run in enumerate(runs)
        ]
        native.recurrent_backward([back.layer() for back in backs], torch.get_num_threads())
        for run in runs:
            run.release()
        return None, None, None, *(d for back in backs for d in back.gradients())


def _run_all(cell: str, activation: str, tasks: Sequence[Task]) -> list[_Run]:
    runs = [_Run(cell, activation, task) for task in tasks]
    native.recurrent_forward([run.layer() for run in runs], torch.get_num_threads())
    return runs


class _Spare:
    """Large tensors that are free for the next step to use.

    Memory that comes from the system has to be cleared by it first: 5 ms for the gates of 4,096 tokens at H 512, which
    one of their products takes 18 ms for.
    """

    IDLE = 64  # a tensor that so many others were taken before is not wanted any more

    def __init__(self) -> None:
        self._free: list[tuple[int, Tensor]] = []
        self._taken = 0

    def take(self, *shape: int) -> Tensor:
        """Uninitialised float32."""
        self._taken += 1
        size = math.prod(shape)
        found = next((i for i, (_, tensor) in enumerate(self._free) if tensor.numel() == size), None)
        flat = torch.empty(size) if found is None else self._free.pop(found)[1]
        self._free = [entry for entry in self._free if self._taken - entry[0] < self.IDLE]
        return flat.view(shape)

    def give_back(self, tensor: Tensor) -> None:
        """What ``take`` gave, when nobody reads it any more."""
        self._free.append((self._taken, tensor.view(-1)))


_spare = _Spare()


class _Run:
    """A task's arrays: its gates, its states at every time, what else the gradient needs."""

    def __init__(self, cell: str, activation: str, task: Task) -> None:
        self.cell, self.activation, self.task = cell, activation, task
        T, B = task.x.shape[:2] if task.index is None else task.index.shape
        H, width = task.state[0].shape[1], len(task.weights["bias"])
        self.gates = _spare.take(T, B, width)
        self.table = None if task.index is None else _spare.take(len(task.x), width)
        self.extra = _spare.take(T, B, H) if native.has_extra(cell) else None
        outputs, *others = ((T + 1, B, H) for _ in task.state)
        self.parts = (torch.empty(outputs), *(_spare.take(*shape) for shape in others))
        first, self.last = (T, 0) if task.reversed else (0, T)
        for room, part in zip(self.parts, task.state, strict=True):
            room[first] = part
        self.lengths = None if task.lengths is None else task.lengths.to(torch.int32).numpy()
        self.index = None if task.index is None else task.index.contiguous().numpy()

    def layer(self, **more: Tensor | None) -> native.Layer:
        """The arrays as the core takes them."""
        task = self.task
        names = [f"keep_{name}" for name in find(self.cell, self.activation).parts]
        keep = dict(zip(names, task.keep or (), strict=False))
        parts = dict(zip("hc", self.parts, strict=False))
        tensors = {**task.weights, **keep, **parts, "x": task.x, "gates": self.gates, "extra": self.extra}
        tensors |= {"table": self.table, **more}
        arrays = {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items() if tensor is not None}
        return native.Layer(self.cell, self.activation, arrays, self.lengths, self.index, task.reversed)

    def results(self) -> tuple[Tensor, ...]:
        """Outputs and final state."""
        h = self.parts[0]
        outputs = h[:-1] if self.task.reversed else h[1:]
        return (outputs, *(part[self.last].clone() for part in self.parts))

    def release(self) -> None:
        """Let others use all but the states ``h``, which are the outputs."""
        for tensor in (self.gates, self.table, self.extra, *self.parts[1:]):
            if tensor is not None:
                _spare.give_back(tensor)


class _Back:
    """The gradients of a run; that of the state begins as that of the final one."""

    def __init__(self, run: _Run, d_results: Sequence[Tensor], *, need_x: bool) -> None:
        self.run = run
        self.d_outputs = d_results[0]
        self.d_state = [d.clone(memory_format=torch.contiguous_format) for d in d_results[1:]]
        self.d_x = torch.empty(run.task.x.shape) if need_x else None
        self.d_weights = {name: torch.empty(weight.shape) for name, weight in run.task.weights.items()}

    def layer(self) -> native.Layer:
        d_state = dict(zip(("d_h", "d_c"), self.d_state, strict=False))
        d_weights = {f"d_{name}": d for name, d in self.d_weights.items()}
        return self.run.layer(d_outputs=self.d_outputs, d_x=self.d_x, **d_state, **d_weights)

    def gradients(self) -> tuple[Tensor | None, ...]:
        """In the order of ``Task.tensors``."""
        return self.d_x, *self.d_weights.values(), *self.d_state
