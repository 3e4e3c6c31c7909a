"""The GPU's kernels by Triton's interpreter, on the CPU: a tile holds all units, so no program waits for another."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

if torch.cuda.is_available():
    pytest.skip("test_torch_kernels.py runs them on the GPU", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton")

from parity.cases import CASES, WIDE, assert_close, by_reference, problem
from parity.torch_kernels import by_torch

from ostinato.kernels.autograd import gpu, sequence

FEW_ROWS = 16


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Every layer of these tests goes to the kernels; several tiles of rows, one of units."""

    def find(cell: str, activation: str, x: torch.Tensor, width: int, *, rival: bool):
        return gpu.loop(cell, activation)

    def tiles(B: int, H: int, device: torch.device) -> tuple[int, int]:
        return FEW_ROWS, max(16, 1 << (H - 1).bit_length())

    monkeypatch.setattr(gpu, "find", find)
    monkeypatch.setattr(gpu, "_tiles", tiles)
    monkeypatch.setattr(gpu, "_depth", lambda *_: 16)
    monkeypatch.setattr(sequence, "_fused", lambda *_: None)
    monkeypatch.setattr("ostinato.kernels.autograd.compiled.possible", lambda _: False)


@pytest.mark.parametrize("case", CASES + WIDE, ids=str)
def test_the_kernels_give_what_the_definition_says(case):
    p = problem(case, np.float32)
    assert_close(by_torch(case, p), by_reference(case, p), case.T)
