"""A module with one place of its source changed, to see that the tests notice."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_numbers = count()


def mutant(name: str, old: str, new: str, inside: str | None = None) -> ModuleType:
    """Module ``name`` with ``old`` replaced by ``new``, loaded under another name beside the sound one.

    ``old`` must occur exactly once, in the whole source or ``inside`` the function or class of that name: a mutation
    that no longer fits the source is an error, not a survivor.
    """
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    start, end = span(source, inside) if inside else (0, len(source))
    found = source.count(old, start, end)
    if found != 1:
        raise LookupError(f"{old!r} occurs {found} times in {inside or 'the whole'} of {name}; expected once")
    at = source.index(old, start)
    module = ModuleType(f"{name}_mutant_{next(_numbers)}")
    module.__file__, module.__package__ = spec.origin, spec.parent
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source[:at] + new + source[at + len(old) :], spec.origin, "exec"), module.__dict__)
    return module


def rows(mutants: Mapping[tuple[str, Callable[..., None]], Sequence[tuple[str, ...]]]) -> list[Any]:
    """For each module and the check that must notice: what is wrong, inside what, and which source becomes which."""
    return [
        pytest.param(module, hold, *row, id=f"{module.split('.')[-1]}, {hold.__name__}: {wrong}")
        for (module, hold), several in mutants.items()
        for wrong, *row in several
    ]


def span(source: str, name: str) -> tuple[int, int]:
    """Where the function or class ``name`` at the top of a module begins and ends."""
    node = next(node for node in ast.parse(source).body if getattr(node, "name", None) == name)
    lines = source.splitlines(keepends=True)
    return sum(map(len, lines[: node.lineno - 1])), sum(map(len, lines[: node.end_lineno]))
