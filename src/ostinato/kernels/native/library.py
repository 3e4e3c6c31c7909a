"""The shared library: found, loaded, its instruction set chosen. Its contract is native/include/ostinato/core.h."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import ConfigError, NativeError

Array: TypeAlias = NDArray[np.float32]

VERSION = 5
"""Of the interface; a library with another one is not used."""
_FUNCTIONS = {"exp": 0, "tanh": 1, "sigmoid": 2}


@lru_cache(maxsize=1)
def _load() -> ctypes.CDLL | None:
    """The library next to this file, its instruction set chosen; None where there is none."""
    library = open_library(str(files("ostinato.kernels").joinpath("libostinato_core.so")))
    wanted = os.environ.get("OSTINATO_ISA")
    if library is not None and wanted and library.ost_use_isa(wanted.encode()) != 0:
        known = library.ost_isas().decode().replace(" ", ", ")
        raise ConfigError(f"OSTINATO_ISA is {wanted!r}; this machine has {known}")
    return library


def open_library(path: str) -> ctypes.CDLL | None:
    """The library at ``path``, or None: not built, or built from another version of its interface."""
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    if library.ost_version() != VERSION:
        return None
    library.ost_isas.restype = library.ost_isa.restype = ctypes.c_char_p
    library.ost_use_isa.argtypes = [ctypes.c_char_p]
    for name in ("ost_recurrent_forward", "ost_recurrent_backward"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
    library.ost_multiply.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    for name in ("ost_cross_entropy", "ost_dropout", "ost_step"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.ost_engine_new.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.ost_engine_new.restype = ctypes.c_void_p
    library.ost_engine_free.argtypes = library.ost_engine_state_width.argtypes = [ctypes.c_void_p]
    library.ost_engine_free.restype = None
    library.ost_engine_bytes.argtypes = [ctypes.c_void_p]
    library.ost_engine_bytes.restype = ctypes.c_int64
    for name in ("ost_engine_read", "ost_engine_write"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32]
    library.ost_ctc_new.argtypes = [ctypes.c_void_p]
    library.ost_ctc_new.restype = ctypes.c_void_p
    library.ost_ctc_free.argtypes = [ctypes.c_void_p]
    library.ost_ctc_free.restype = library.ost_ctc_came.restype = library.ost_ctc_totals.restype = None
    library.ost_ctc_advance.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    library.ost_ctc_size.argtypes = library.ost_ctc_totals.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.ost_ctc_read.argtypes = [ctypes.c_void_p, ctypes.c_int32, *[ctypes.c_void_p] * 3]
    library.ost_ctc_read.restype = ctypes.c_int64
    library.ost_ctc_came.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    library.ost_ctc_fuse.argtypes = [ctypes.c_void_p, ctypes.c_int32, *[ctypes.c_void_p] * 3]
    library.ost_apply.argtypes = [ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    library.ost_apply.restype = None
    return library


@lru_cache(maxsize=1)
def threads() -> int:
    """Threads to run a model with: OMP_NUM_THREADS, or one for each core this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(int(asked), cores) if asked.isdecimal() and int(asked) > 0 else cores


def available() -> bool:
    """Whether there is a core. Raises ConfigError when OSTINATO_ISA names an instruction set that is not there."""
    return _load() is not None


def core() -> ctypes.CDLL:
    """The library. Raises NativeError when there is none."""
    library = _load()
    if library is None:
        raise NativeError("the native core is not built; see `ostinato doctor`")
    return library


def instruction_sets() -> tuple[str, ...]:
    """Those of this build that this machine can run, the best last."""
    return tuple(core().ost_isas().decode().split())


def instruction_set() -> str:
    """The one in use: the best, or the one that OSTINATO_ISA names."""
    return str(core().ost_isa().decode())


def use_instruction_set(name: str) -> None:
    """Use this one from now on. Raises ConfigError when it is not one of ``instruction_sets``."""
    if core().ost_use_isa(name.encode()) != 0:
        raise ConfigError(f"no instruction set {name!r} here; expected one of {', '.join(instruction_sets())}")


def address(name: str, array: Array | None, shape: tuple[int, ...]) -> int | None:
    """Where ``array`` lies, if it is what the core takes: float32, this shape, no gaps. None stays None."""
    if array is None:
        return None
    if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
        gaps = "" if array.flags.c_contiguous else " with gaps"
        raise NativeError(f"{name} is {array.dtype} {array.shape}{gaps}; expected float32 {shape} without gaps")
    return array.ctypes.data


def check(status: int) -> None:
    """Raise MemoryError when a call said that it had none."""
    if status != 0:
        raise MemoryError("no memory for the native core to work in")


def apply(function: str, x: Array) -> Array:
    """``exp``, ``tanh`` or ``sigmoid`` of each element, as the kernels compute it."""
    x = np.ascontiguousarray(x, np.float32)
    y = np.empty_like(x)
    core().ost_apply(_FUNCTIONS[function], x.size, x.ctypes.data, y.ctypes.data)
    return y
