"""Kinds of arguments that several verbs share."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter


def _no_option(kind: type[Any], value: str | None) -> None:  # noqa: ARG001 - the signature of a validator
    if value is not None and value.startswith("-") and value != "-":
        raise ValueError(f"unknown option {value}; see --help (for a file of that name: ./{value})")


TextFile = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]
"""The name of a text file; ``-`` is standard input."""
Flag = Annotated[bool, Parameter(negative=())]
"""A switch that is off unless it is given."""
