"""A model folder: ``config.json``, ``model.safetensors``, ``tokenizer.json`` and ``README.md``.

Nothing in it is ever executed or unpickled. ``config.json`` names the size and the SHA-256 of the weights and of the
tokenizer and carries a digest of itself, so a flipped byte in any of the three is noticed. ``README.md`` is for
people, who may edit it. ``training/`` belongs to the training loop and is left alone.

Several files change as one: they are written to ``.new``, which is then renamed to ``.ready`` - from that moment the
new model holds - and its files are moved into place. Readers look into ``.ready`` first; the next writer completes a
``.ready`` and drops a ``.new`` that a crash has left behind.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np
import safetensors.numpy

from ostinato.architectures import KINDS, Architecture, expected_tensors, from_json, name_of
from ostinato.errors import BundleError, ConfigError, OstinatoError
from ostinato.quantise import LARGEST, Bytes, are_usable, dequantise, quantise, row_scales
from ostinato.types import Floats

Weights = Literal["float32", "int8"]
"""How the matrices are stored. Vectors, such as biases, are float32 in any case."""

VERSIONS: Mapping[Weights, int] = {"float32": 1, "int8": 2}
"""The format version that says so: float32 keeps the one that every Ostinato reads."""
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
TRAINING = "training"

_NEW, _READY = ".new", ".ready"
_CONFIG_LIMIT = 16 << 20
_HEADER_LIMIT = 16 << 20

Model = TypeVar("Model", bound=Architecture)
Kind = Literal["empty", "model", "partial", "other"]


@dataclass(frozen=True)
class Bundle(Generic[Model]):
    """A model folder as read and checked."""

    model: Model
    tensors: Mapping[str, Floats]
    """Read-only, by the names of ``expected_tensors``; float32, also where they are stored in eight bits."""
    weights: Weights
    weights_bytes: int
    """Size of the file that they are stored in."""
    tokenizer_paths: tuple[Path, ...]
    """In the order of the model's ``tokenizers``; the first is that of what it writes or reads."""
    training: Mapping[str, Any]
    """Summary of the training run: plain JSON values, for reports."""
    folder: Path


def _stored_tensors(model: Architecture, weights: Weights) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor in the file: in eight bits a matrix comes with the scales of its rows."""
    stored: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, shape in expected_tensors(model).items():
        if weights == "int8" and len(shape) == 2:
            stored |= {name: ("I8", shape), _scale_of(name): ("F32", shape[:1])}
        else:
            stored[name] = ("F32", shape)
    return stored


def _scale_of(name: str) -> str:
    return name + "_scale"


def check_vocabulary(tokens: int, rows: int) -> None:
    """Raise BundleError unless a tokenizer of ``tokens`` belongs to weights for ``rows``."""
    if tokens != rows:
        raise BundleError(
            f"the tokenizer has {tokens:,} tokens, the weights are for {rows:,}; "
            "put back the tokenizer.json that the model was trained with"
        )


def inspect_folder(folder: str | Path) -> Kind:
    """What a folder is: ``empty`` (or missing), a ``model``, the ``partial`` beginnings of one, or something ``other``.

    ``other`` must never be overwritten unasked. A file in place of a folder is ``other``.
    """
    folder = Path(folder)
    if not os.path.lexists(folder):
        return "empty"
    if not folder.is_dir():
        return "other"
    names = {entry.name for entry in folder.iterdir()}
    if not names:
        return "empty"
    config = _find(folder, CONFIG)
    if config.is_file():
        try:
            return "model" if "format_version" in _parse_config(config, _read(config, _CONFIG_LIMIT)) else "other"
        except BundleError:
            return "other"
    return "partial" if names <= {_NEW, _READY, TRAINING} else "other"


# Reading


def load_kind(folder: str | Path, kind: type[Model]) -> Bundle[Model]:
    """``load`` of a model that has to be a ``kind``. Raises BundleError also when it is another."""
    found = load(folder)
    if isinstance(found.model, kind):
        return cast("Bundle[Model]", found)
    raise BundleError(
        f"{found.folder} {found.model.purpose} (ostinato {found.model.verb}); this wants a model that "
        f"{kind.purpose}: train one with --task {kind.task}"
    )


def load(folder: str | Path) -> Bundle[Architecture]:
    """Read and check a model folder. Raises BundleError when it is missing, damaged, foreign, or of another version."""
    folder = Path(folder)
    if not folder.is_dir():
        found = "is a file; expected a model folder" if folder.exists() else "does not exist; give a model folder"
        raise BundleError(f"{folder} {found} made by `ostinato train`")
    while True:
        config = _read_config(folder)
        try:
            return _load(folder, config)
        except BundleError:
            # A writer may have put a new model in place between our reading of one file and the next.
            if _read_config(folder) == config:
                raise


def _load(folder: Path, config: Mapping[str, Any]) -> Bundle[Architecture]:
    try:
        model = from_json(config["architecture"], config["model"])
        files = {name: config["files"][name] for name in (WEIGHTS, *model.tokenizers)}
        sums = {name: (int(about["bytes"]), about["sha256"]) for name, about in files.items()}
        training = dict(config["training"])
    except (ConfigError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"{folder / CONFIG} does not describe a model: {error}; train it again") from None
    tokenizers = tuple(_find(folder, name) for name in model.tokenizers)
    for path in tokenizers:
        _check_sum(path, _read(path, sums[path.name][0]), *sums[path.name])
    weights = _weights(config)
    tensors = _load_weights(_find(folder, WEIGHTS), model, weights, *sums[WEIGHTS])
    return Bundle(model, tensors, weights, sums[WEIGHTS][0], tokenizers, training, folder)


def holds_eight_bits(folder: str | Path) -> bool:
    """Whether a folder holds a model in eight bits; False also where it holds none that can be read."""
    try:
        return _weights(_read_config(Path(folder))) == "int8"
    except BundleError:
        return False


def _weights(config: Mapping[str, Any]) -> Weights:
    return "int8" if config["format_version"] == VERSIONS["int8"] else "float32"


def _find(folder: Path, name: str) -> Path:
    ready = folder / _READY / name
    return ready if ready.is_file() else folder / name


def _read(path: Path, limit: int) -> bytes:
    """The bytes of a file that must not be longer than ``limit``; one more is read to show that it is.

    ``limit`` may be anything that a foreign file says: memory is taken for what is there only.
    """
    try:
        with path.open("rb") as file:
            return file.read(max(0, min(limit, os.fstat(file.fileno()).st_size)) + 1)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: {path.parent} is not a whole Ostinato model; train it again") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; expected a file of an Ostinato model") from None


def _read_config(folder: Path) -> dict[str, Any]:
    path = _find(folder, CONFIG)
    data = _read(path, _CONFIG_LIMIT)
    config = _parse_config(path, data)
    if "format_version" not in config or config.get("architecture") not in KINDS:
        raise BundleError(f"{path} has no format_version of Ostinato; expected a model folder made by `ostinato train`")
    if config["format_version"] not in VERSIONS.values():
        raise BundleError(
            f"{path} has format version {config['format_version']!r}; this Ostinato reads versions "
            f"{' and '.join(map(str, VERSIONS.values()))}; update Ostinato or train the model again"
        )
    if data != _render(config):
        raise BundleError(f"{path} does not match its own digest: it is damaged or was edited; restore it")
    if _weights(config) == "int8" and config.get("weights") != "int8":
        raise BundleError(f"{path} has weights of kind {config.get('weights')!r}; expected 'int8'; update Ostinato")
    return config


def _parse_config(path: Path, data: bytes) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise BundleError(f"{path} is not a JSON object ({len(data):,} bytes): it is damaged or no Ostinato model")
    return config


def _render(config: Mapping[str, Any]) -> bytes:
    """The one way a configuration is written; a file that differs from it in any byte is refused."""
    body = {key: value for key, value in config.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return (json.dumps({**body, "digest": digest}, indent=1, ensure_ascii=False) + "\n").encode()


def _check_sum(path: Path, data: bytes, size: int, sha256: str) -> None:
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data):,}"
        raise BundleError(f"{path} has {found} bytes; expected {size:,}: it is not the file saved with this model")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BundleError(f"{path} is damaged or not the file saved with this model: its SHA-256 differs; restore it")


def _load_weights(path: Path, model: Architecture, weights: Weights, size: int, sha256: str) -> dict[str, Floats]:
    _check_header(path, _stored_tensors(model, weights), size)
    data = _read(path, size)
    _check_sum(path, data, size, sha256)
    stored = safetensors.numpy.load(data)
    tensors = {name: _in_float32(path, name, stored) for name in expected_tensors(model)}
    for tensor in tensors.values():
        tensor.setflags(write=False)
    return tensors


def _in_float32(path: Path, name: str, stored: Mapping[str, Any]) -> Floats:
    """A tensor as the model has it. Raises BundleError on numbers in eight bits that no writer makes."""
    tensor: Floats | Bytes = stored[name]
    scales: Floats | None = stored.get(_scale_of(name))
    if scales is None:
        return cast(Floats, tensor)
    if not are_usable(scales):
        raise BundleError(f"{path}: tensor {_scale_of(name)!r} has scales that are negative or not finite; restore it")
    if tensor.min() < -LARGEST:
        raise BundleError(f"{path}: tensor {name!r} holds {tensor.min()}; expected -{LARGEST} to {LARGEST}; restore it")
    return dequantise(cast(Bytes, tensor), scales)


_BYTES = {"F32": 4, "I8": 1}


def _check_header(path: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]], size: int) -> None:
    """Refuse a weights file by its header, before memory for the weights is taken."""
    try:
        found = path.stat().st_size
    except OSError:
        found = -1
    start = _read_header(path)
    if found != size:
        raise BundleError(f"{path} has {found:,} bytes; expected {size:,}: it is truncated or of another model")
    try:
        header = json.loads(start)
        tensors = {
            name: (tensor["dtype"], tuple(tensor["shape"])) for name, tensor in header.items() if name != "__metadata__"
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BundleError(f"{path} has a damaged header; expected safetensors; restore it") from None
    _check_shapes(path, tensors, expected)
    if size != 8 + len(start) + sum(_BYTES[kind] * math.prod(shape) for kind, shape in expected.values()):
        raise BundleError(f"{path} has {size:,} bytes, which its own header does not add up to; restore it")


def _read_header(path: Path) -> bytes:
    """The JSON header of a safetensors file."""
    prefix = _read(path, 7)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= _HEADER_LIMIT:
        raise BundleError(f"{path} has a header of {length:,} bytes; expected safetensors, with 2 to {_HEADER_LIMIT:,}")
    return _read(path, 7 + length)[8:]


def _check_shapes(
    where: str | Path,
    found: Mapping[str, tuple[str, tuple[int, ...]]],
    expected: Mapping[str, tuple[str, tuple[int, ...]]],
) -> None:
    for name in sorted(found.keys() ^ expected.keys()):
        verb = "lacks" if name in expected else "has an unknown"
        raise BundleError(f"{where} {verb} tensor {name!r}: the weights are not of the model in {CONFIG}")
    for name, (kind, shape) in expected.items():
        if found[name] != (kind, shape):
            other, got = found[name]
            raise BundleError(f"{where}: tensor {name!r} is {other} of shape {got}; expected {kind} of shape {shape}")


# Writing


def save(
    folder: str | Path,
    *,
    model: Architecture,
    tensors: Mapping[str, Floats],
    tokenizer_json: str | Sequence[str],
    training: Mapping[str, Any],
    card: str,
    weights: Weights = "float32",
) -> None:
    """Write a model folder, or replace the model in one: after a crash at any moment it holds the old or the new whole.

    ``tensors`` are those of ``expected_tensors(model)`` in float32; ``tokenizer_json`` holds a text for each of the
    model's ``tokenizers``, or is the only one; ``training`` is a summary in plain JSON values;
    ``card`` becomes README.md; ``weights`` says how the matrices are stored. Raises BundleError when the tensors do not
    fit the model, or eight bits, or when the folder cannot be written, OstinatoError when the disk is full; the model
    that was there before is untouched then.
    """
    folder = Path(folder)
    found = {name: ("F32" if x.dtype == np.float32 else str(x.dtype), x.shape) for name, x in tensors.items()}
    _check_shapes("the model to save", found, _stored_tensors(model, "float32"))
    stored = _rounded(tensors) if weights == "int8" else tensors
    texts = [tokenizer_json] if isinstance(tokenizer_json, str) else tokenizer_json
    files = {name: text.encode() for name, text in zip(model.tokenizers, texts, strict=True)}
    files[WEIGHTS] = safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in stored.items()})
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    config = {
        "format_version": VERSIONS[weights],
        "architecture": name_of(model),
        **({} if weights == "float32" else {"weights": weights}),
        "model": model.to_json(),
        "training": dict(training),
        "files": sums,
    }
    with _stated_failures(folder):
        _replace_files(folder, {**files, CONFIG: _render(config), CARD: card.encode()})


def _rounded(tensors: Mapping[str, Floats]) -> dict[str, Floats | Bytes]:
    stored: dict[str, Floats | Bytes] = dict(tensors)
    for name, tensor in tensors.items():
        if tensor.ndim != 2:
            continue
        scales = row_scales(tensor)
        if not are_usable(scales):
            raise BundleError(f"tensor {name!r} holds numbers that are not finite: it cannot be stored in eight bits")
        stored |= {name: quantise(tensor, scales), _scale_of(name): scales}
    return stored


@contextmanager
def _stated_failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        shutil.rmtree(folder / _NEW, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OstinatoError(
                f"the disk is full: the model was not written to {folder}; what was there before is untouched; "
                "free some space and try again"
            ) from error
        raise BundleError(f"the model cannot be written to {folder}: {error.strerror or error}") from error


def _replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put several files into a folder as one: see the module's docstring for the protocol."""
    new, ready = folder / _NEW, folder / _READY
    folder.mkdir(parents=True, exist_ok=True)
    _move_into_place(folder)
    if new.exists():
        shutil.rmtree(new)
    new.mkdir()
    for name, data in files.items():
        with (new / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync(new)
    new.rename(ready)
    _sync(folder)
    _move_into_place(folder)


def _move_into_place(folder: Path) -> None:
    """Complete a ``.ready``; repeating it after a crash half way does no harm."""
    ready = folder / _READY
    if not ready.is_dir():
        return
    for path in sorted(ready.iterdir()):
        path.replace(folder / path.name)
    _sync(folder)
    ready.rmdir()
    _sync(folder)


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut. Windows has no such call for folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
