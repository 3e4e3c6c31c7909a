"""``ostinato train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ostinato.cli.arguments import Flag, TextFile
from ostinato.pipeline.settings import known_settings


def _whole(_kind: type, tokens: Sequence[Token]) -> int:
    """A whole number as it is written: 2.5 steps are no 2 steps."""
    return int(tokens[0].value)


def _flag(name: str) -> tuple[str, Any, None]:
    setting = known_settings()[name]
    converter = _whole if setting.kind is int else None
    about = Parameter(
        help=setting.text.replace("``", "'"), group=setting.group, show_default=False, converter=converter
    )
    return name, Annotated[setting.kind | None, about], None


# Every setting as a flag, from the one place that describes it.
Settings: Any = make_dataclass("Settings", [_flag(name) for name in known_settings()], frozen=True)
Settings.__module__ = __name__  # else cyclopts takes it for a type of the standard library


def train(
    *texts: TextFile,
    out: Annotated[str | None, Parameter(alias="-o")] = None,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),  # noqa: B008 - a frozen value
    config: Path | None = None,
    resume: Flag = False,
    force: Flag = False,
    json: Flag = False,
) -> None:
    """Train a language model on text files, or with --task a model for something else on data of its own kind.

    One dial, --minutes (default 5; classify 2), says how long; what else is not set is chosen from the text and the
    speed of the machine, printed with the reason, and saved in the model folder as training/run.toml. Ctrl-C saves;
    --resume goes on.

    Parameters
    ----------
    texts
        Text files, plain or .gz, in this order; - is standard input; or the name of a corpus, see `ostinato data`. With
        --task: classify, lines of a label, a tab, a text; dialogue, one turn a line; translate, two files, line by
        line; caption and transcribe, lines of an image or a WAV file, a tab, a text; music, MIDI or JSON.
    out
        The model folder to make; default: named after the first text.
    config
        A TOML file of settings, such as training/run.toml of another model; flags come first.
    resume
        Go on with the stopped run in the model folder.
    force
        Replace what the model folder holds.
    json
        Print the summary as JSON.
    """
    from ostinato.cli.console import TrainConsole
    from ostinato.pipeline import train as run

    with TrainConsole(json=json) as console:
        run(*texts, out=out, resume=resume, force=force, config=config, listener=console, **asdict(settings))
