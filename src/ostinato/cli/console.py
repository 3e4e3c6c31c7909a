"""What a training run shows: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from ostinato.pipeline.card import PARTS, duration, next_step, results
from ostinato.pipeline.listener import Listener
from ostinato.pipeline.task import Task
from ostinato.training.loop import Report
from ostinato.training.plan import Plan

SHOWN = ("level", "cell", "layers", "hidden", "embed", "tied", "batch", "bptt", "lr", "dropout", "evaluations")


class TrainConsole(Listener):
    """Shows a run on stderr (so that ``--json`` has stdout to itself) and turns Ctrl-C into a saved stop."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._progress = Progress(
            TextColumn("{task.fields[status]}"), BarColumn(bar_width=24), TextColumn("{task.fields[left]}"),
            console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=1.0, status="", left="")
        self._valid = ""
        self._stopping = False
        self._folder = ""

    def __enter__(self) -> TrainConsole:
        self._before = {s: signal.signal(s, self._interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_progress()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, KeyboardInterrupt) and self._folder:
            self._say(f"saved; go on with: ostinato train -o {self._folder} --resume")

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._stopping or not self._folder:  # a second Ctrl-C, or nothing to save yet
            raise KeyboardInterrupt
        self._stopping = True
        self._say("stopping after this step; once more to stop at once, without saving")

    def stop(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._stopping

    def prepared(self, task: Task, seconds: float) -> None:
        """Say what the data is."""
        how = "reused from an earlier run" if task.reused else f"prepared in {seconds:.1f} s"
        self._say(f"text     {task.data}; {how}")

    def planned(self, plan: Plan[Any], folder: str) -> None:
        """Show the choices and why."""
        self._folder = folder
        self._say(f"model    {plan.model.describe()}")
        self._model, reasons = plan.model, plan.reasons
        for name in SHOWN:
            value = plan.values.get(name)
            if name in reasons and value is not None:
                shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
                line = Text(f"  {name:12} {shown:9} ")
                self._console.print(line.append(reasons[name], style="dim"))
        if self._console.is_terminal:
            self._progress.start()

    def report(self, report: Report) -> None:
        """Move the live line; off a terminal, print a line at each evaluation."""
        values = report.values
        if report.kind == "notice":
            self._say(report.message)
        if report.kind == "evaluated":
            self._valid = f"held out {_measured(values)}"
            if not self._console.is_terminal:
                done = f"{report.fraction:4.0%}  step {report.progress.step:,}"
                self._say(f"{done}  {self._valid}  {_clock(report.seconds_left)} left")
        if report.kind == "step":
            speed = f"{values['tokens_per_second']:,.0f} tokens/s"
            status = f"{_loss(values)}  {self._valid}  {speed}"
            self._progress.update(
                self._task,
                completed=min(1.0, report.fraction),
                status=status,
                left=f"{_clock(report.seconds_left)} left",
            )

    def sample(self, text: str) -> None:
        """Show what the model writes so far."""
        line = " ".join(text.split())
        self._console.print(Text("  > " + line[:200], style="italic dim"))

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Show what was reached."""
        self._stop_progress()
        if self._json:
            print(json.dumps(summary))
        self._say(
            f"done     {duration(summary['seconds'])}, {summary['steps']:,} steps, "
            f"{summary['epochs']:.1f} epochs, {summary['cpu_seconds']:.0f} CPU-seconds; "
            f"best at step {summary['best_step']:,}"
        )
        if summary["skipped_steps"]:
            self._say(
                f"skipped  {summary['skipped_steps']:,} steps whose loss or gradient was not finite; "
                f"{summary['rollbacks']} times back to a checkpoint"
            )
        for part, title in PARTS.items():
            if part in summary:
                self._say(f"{title:8} {results(summary['task'], summary[part])}")
        folder = summary["folder"]
        self._say(f"model    {folder}\nnext     {next_step(folder, self._model)}")

    def _stop_progress(self) -> None:
        if self._progress.live.is_started:  # stopping one that never started prints an empty line
            self._progress.stop()

    def _say(self, text: str) -> None:
        self._console.print(Text(text))


def _loss(values: Mapping[str, float]) -> str:
    if "bits_per_char" in values:
        return f"{values['bits_per_char']:.3f} bits/char"
    return f"{values['loss']:.3f} nats"


def _measured(values: Mapping[str, float]) -> str:
    """What an evaluation says: bits per character of a text, else whatever there is."""
    if "valid_bits_per_char" in values:
        return f"{values['valid_bits_per_char']:.3f} bits/char"
    return "  ".join(f"{values[name]:.3f} {name.removeprefix('valid_')}" for name in values)


def _clock(seconds: float) -> str:
    if seconds != seconds:  # NaN: not known yet
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
