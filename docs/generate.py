"""Write docs/cli.md from the verbs' own help.

    python docs/generate.py

tests/unit/test_docs.py demands that the page is what this writes.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

from cyclopts.exceptions import CycloptsError
from rich.console import Console

from ostinato.cli.main import VERBS, app

PAGE = Path(__file__).parent / "cli.md"


def page() -> str:
    """The page, as Markdown."""
    parts = ["# The command line\n", "Written by `make docs` from `ostinato VERB --help`.\n"]
    for verb in ((), *((verb,) for verb in VERBS)):
        title = " ".join(("ostinato", *verb))
        parts.append(f"## {title}\n\n```\n{help_text([*verb, '--help'])}\n```\n")
    return "\n".join(parts)


def help_text(arguments: list[str]) -> str:
    """What the arguments print, without colours, 100 columns wide."""
    out = io.StringIO()
    console = Console(file=out, width=100, no_color=True, force_terminal=False, legacy_windows=False)
    with redirect_stdout(out):
        try:
            app(arguments, console=console, exit_on_error=False, result_action="return_value")
        except CycloptsError as error:
            raise SystemExit(str(error)) from None
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
