"""The GPU's kernels by Triton's interpreter, on the CPU: a tile holds all units, so no program waits for another."""

from __future__ import annotations

import os
from types import SimpleNamespace

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
TILES, DEPTH = gpu._tiles.__wrapped__, gpu._depth


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


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "whole"], ids=str)
def test_what_is_no_number_stays_none(case):
    """So that a loss that is none stops the step."""
    p = problem(case, np.float32)
    p.x[1, 0, 2] = np.nan
    assert np.isnan(by_torch(case, p).outputs[1:, 0]).all()


@pytest.mark.parametrize(
    ("programs", "room"), [(132, 232448), (108, 166912), (28, 101376), (40, 65536)], ids=["H100", "A100", "3060", "T4"]
)
def test_tiles_fit_the_card(programs, room, monkeypatch):
    """All programs at once, in the shared memory that there is; otherwise there is no kernel."""
    card = SimpleNamespace(multi_processor_count=programs, shared_memory_per_block_optin=room)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    monkeypatch.setattr(gpu, "_depth", DEPTH)
    fits = 0
    for B in (1, 16, 35, 64, 96, 256, 1024):
        for H in (1, 24, 200, 512, 650, 1024, 1500, 3072):
            found = TILES(B, H, torch.device("cuda", 0))
            if found is not None:
                fits += 1
                rows, units = found
                assert -(-B // rows) * -(-H // units) <= programs
                assert 12 * DEPTH(rows, units, torch.device("cuda", 0)) * (2 * rows + 6 * units) <= room
    assert fits > 20
    assert TILES(10**5, 4096, torch.device("cuda", 0)) is None
