"""Kinds of arguments that several verbs share."""

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
