from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import pytest

from ostinato.errors import OstinatoError
from ostinato.training.metrics import BITS, MetricsFile, peak_memory


def fill(path: Path, steps: int = 6) -> Path:
    file = MetricsFile(path, -1)
    for step in range(steps):
        file.write({"step": step, "seconds": step / 2, "loss": 1.0 / (step + 1)})
    file.close()
    return path


def steps_in(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "new" / "metrics.jsonl", -1)
    file.write({"step": 1, "loss": 0.25})
    assert json.loads((tmp_path / "new" / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.25}
    file.close()


@pytest.mark.parametrize(("upto", "kept"), [(-1, []), (0, [0]), (3, [0, 1, 2, 3]), (99, [0, 1, 2, 3, 4, 5])])
def test_a_resumed_run_keeps_the_lines_up_to_its_checkpoint(tmp_path: Path, upto: int, kept: list[int]) -> None:
    path = fill(tmp_path / "metrics.jsonl")
    MetricsFile(path, upto).close()
    assert steps_in(path) == kept


@pytest.mark.parametrize("tail", [b'{"step": 6, "lo', b'{"step": 6}', b"\xff\xfe", b"\0" * 10])
def test_a_half_written_last_line_is_dropped(tmp_path: Path, tail: bytes) -> None:
    path = fill(tmp_path / "metrics.jsonl")
    with path.open("ab") as file:
        file.write(tail)
    file = MetricsFile(path, 99)
    file.write({"step": 7})
    file.close()
    assert steps_in(path) == [0, 1, 2, 3, 4, 5, 7]


def test_what_is_not_finite_is_null_so_that_every_reader_takes_it(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "m.jsonl", -1)
    file.write({"step": 1, "loss": math.nan, "norm": math.inf})
    file.close()
    assert (tmp_path / "m.jsonl").read_text() == '{"step": 1, "loss": null, "norm": null}\n'


def test_a_full_disk_is_stated(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "m.jsonl", -1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, hard))
    try:
        file.write({"step": 1})
        with pytest.raises(OstinatoError, match=r"m.jsonl: cannot write: .*go on with --resume"):
            file.write({"step": 2, "loss": 0.123456789})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.close()


def test_units() -> None:
    assert pytest.approx(1.0) == BITS * math.log(2)
    assert 10e6 < peak_memory() < 1e12
