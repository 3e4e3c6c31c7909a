"""What several verbs share: kinds of arguments, and what may be shown on a terminal."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.exceptions import UnknownOptionError


def _no_option(kind: type[Any], value: str | None) -> None:  # noqa: ARG001 - the signature of a validator
    """Refuse what looks like an option, with the nearest one of the verb; only ``-`` is a file."""
    if value is not None and value.startswith("-") and value != "-":
        from ostinato.cli.main import app

        known = app.app_stack.current_frame[-1].assemble_argument_collection()
        raise UnknownOptionError(token=Token(keyword=value, source="cli"), argument_collection=known)


TextFile = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]
"""The name of a text file; ``-`` is standard input."""
Flag = Annotated[bool, Parameter(negative=())]
"""A switch that is off unless it is given."""

_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}


def for_terminal(text: str) -> str:
    """``text`` without what a terminal would obey: a model, or the folder it came in, may hold escape sequences."""
    return text.translate(_CONTROLS)
