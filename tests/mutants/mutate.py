"""A module with one place of its source changed, to see that the tests notice."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import ModuleType

_numbers = count()


def mutant(name: str, old: str, new: str) -> ModuleType:
    """Module ``name`` with ``old`` replaced by ``new``, loaded under another name beside the sound one.

    ``old`` must occur exactly once: a mutation that no longer fits the source is an error, not a survivor.
    """
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {name}; expected once"
    module = ModuleType(f"{name}_mutant_{next(_numbers)}")
    module.__file__, module.__package__ = spec.origin, spec.parent
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source.replace(old, new), spec.origin, "exec"), module.__dict__)
    return module
