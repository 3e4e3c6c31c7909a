from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from modelling import PLAIN, draw_ids, randomise, small

from ostinato.errors import BundleError, OstinatoError, TrainingError
from ostinato.models.build import build
from ostinato.models.tokens import TokenModel
from ostinato.training import checkpoint
from ostinato.training.optim import Average, make_optimiser
from ostinato.training.settings import OPTIMISERS, TrainingConfig

FACTS = {"progress": {"step": 3, "place": {"epoch": 0, "window": 2}, "rate": 0.1 + 0.2}}


class Run:
    """A model some steps into training, with all that goes with it."""

    def __init__(self, optimiser: str = "adamw", seed: int = 0, steps: int = 0, **changes: Any) -> None:
        self.model: TokenModel = randomise(build(small(**changes), PLAIN), seed)  # type: ignore[assignment]
        config = TrainingConfig(batch=4, bptt=8, lr=0.01, steps=9, optimiser=optimiser)
        self.optimiser = make_optimiser(self.model, config, 0.1)
        self.average = Average(self.model, 0.9)
        self.state = self.model.initial_state(4)
        for step in range(steps):
            self.step(step)

    def step(self, number: int) -> None:
        nats, _, self.state = self.model.loss(draw_ids(9, 4, seed=number), self.state)
        self.optimiser.zero_grad()
        nats.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.average.update()

    def save(self, path: Path) -> None:
        checkpoint.write(path, checkpoint.collect(self.model, self.optimiser, self.average, self.state), FACTS)

    def load(self, path: Path) -> None:
        self.state = checkpoint.restore(checkpoint.read(path)[0], self.model, self.optimiser, self.average)

    def everything(self) -> list[torch.Tensor]:
        state = self.optimiser.state_dict()["state"]
        slots = [torch.as_tensor(state[index][name]) for index in sorted(state) for name in sorted(state[index])]
        return [*self.model.state_dict().values(), *self.average.weights, *self.state, *slots, torch.get_rng_state()]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("steps", [0, 3])
def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path, optimiser: str, steps: int) -> None:
    run = Run(optimiser, steps=steps)
    torch.manual_seed(5)
    run.save(tmp_path / "c")
    torch.manual_seed(6)
    other = Run(optimiser, seed=9, steps=1)
    other.load(tmp_path / "c")
    assert checkpoint.read(tmp_path / "c")[1] == FACTS
    torch.manual_seed(5)
    for number in (10, 11):
        for each in (run, other):
            each.step(number)
    assert len(run.everything()) == len(other.everything())
    assert all(torch.equal(a, b) for a, b in zip(run.everything(), other.everything(), strict=True))
    assert other.average.steps == steps + 2


def test_the_random_generator_is_part_of_it(tmp_path: Path) -> None:
    run = Run()
    torch.manual_seed(5)
    run.save(tmp_path / "c")
    expected = torch.rand(3)
    torch.manual_seed(6)
    run.load(tmp_path / "c")
    assert torch.equal(torch.rand(3), expected)


def test_a_missing_checkpoint_says_that_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no such checkpoint.*without --resume"):
        checkpoint.read(tmp_path / "c")


def test_every_truncation_and_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    Run(steps=2).save(path)
    whole, rng = path.read_bytes(), random.Random(1)
    cuts = [whole[:size] for size in (0, 1, 7, 8, 9, 200, len(whole) // 2, len(whole) - 1)]
    flips = []
    for place in [*range(0, 9), *(rng.randrange(len(whole)) for _ in range(250))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        flips.append(bytes(damaged))
    for content in [*cuts, *flips, whole + b"x", b"PK\x03\x04" * 90]:
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"damaged checkpoint.*--force") as caught:
            checkpoint.read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"hidden": (5, 8)}, {"hidden": (5,)}, {"cell": "gru"}])
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    Run(steps=1).save(tmp_path / "c")
    with pytest.raises(BundleError, match="does not fit the run") as caught:
        Run(**changes).load(tmp_path / "c")
    assert "\n" not in str(caught.value)


class Crash(BaseException):
    """The machine went down."""


class Torn:
    """A file of which only half of what is written arrives, when ``fails`` says so."""

    def __init__(self, file: Any, fails: Callable[[], BaseException | None]) -> None:
        self._file, self._fails = file, fails

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        failure = self._fails()
        if failure is not None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise failure
        return int(self._file.write(data))


def crash_at(monkeypatch: pytest.MonkeyPatch, moment: int, failure: Callable[[], BaseException]) -> None:
    """Let the call of that number, among those that touch the disk, fail instead."""
    count = itertools.count()

    def fails() -> BaseException | None:
        return failure() if next(count) == moment else None

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **options: Any) -> Any:
            failed = fails()
            if failed is not None:
                raise failed
            result = call(*arguments, **options)
            return Torn(result, fails) if "wb" in (*arguments, *options.values()) else result

        return instead

    for owner, name in ((os, "fsync"), (os, "open"), (os, "close"), (Path, "open"), (Path, "replace"), (Path, "mkdir")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


@pytest.mark.parametrize("failure", [Crash, lambda: OSError(28, "No space left on device")])
def test_a_crash_at_any_call_leaves_the_old_checkpoint_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[[], BaseException]
) -> None:
    path, failed = tmp_path / "resume" / "c", 0
    tensors = [{"x": torch.full((100,), float(value))} for value in (1, 2)]
    for moment in range(20):
        checkpoint.write(path, tensors[0], {"old": 1})
        with monkeypatch.context() as patch:
            crash_at(patch, moment, failure)
            try:
                checkpoint.write(path, tensors[1], {"new": 1})
                crashed = False
            except (Crash, OstinatoError):
                crashed = True
        found, facts = checkpoint.read(path)
        assert (facts, found["x"][0]) in (({"old": 1}, 1.0), ({"new": 1}, 2.0))
        failed += crashed
        if not crashed:
            assert facts == {"new": 1}
            break
    assert failed >= 6


def test_a_full_disk_is_stated_and_the_checkpoint_before_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.write(tmp_path / "c", {"x": torch.ones(3)}, {"old": 1})
    crash_at(monkeypatch, 2, lambda: OSError(28, "No space left on device"))
    with pytest.raises(OstinatoError, match=r"cannot save the checkpoint: No space left on device; .*--resume"):
        checkpoint.write(tmp_path / "c", {"x": torch.zeros(3)}, {"new": 1})
    monkeypatch.undo()
    assert checkpoint.read(tmp_path / "c")[1] == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
