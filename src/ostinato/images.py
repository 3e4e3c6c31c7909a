"""Image files to arrays, by Pillow: the only module that imports it, and only when an image is read.

A file is looked at before it is decoded: its format must be one of FORMATS, whose decoders start no other program, and
its header must promise no more than MOST_PIXELS.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ostinato.config import did_you_mean
from ostinato.data.pixels import Pixels
from ostinato.errors import ImageError, OstinatoError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 1 << 26
"""Of an image, 64 million: beyond any camera's that makes sense to look at in so few pixels."""
MOST_BYTES = 1 << 28
"""Of an image file."""
_DAMAGED = (OSError, ValueError, SyntaxError, TypeError, EOFError, LookupError, ArithmeticError, struct.error)
"""What Pillow's decoders raise on files that are cut or were tampered with."""
_FINE = ("I", "F")
"""Modes of more than eight bits, which Pillow cuts off instead of scaling."""


class Store(Protocol):
    """Where images lie."""

    def read(self, name: str) -> bytes:
        """The file ``name``. Raises ImageError when it cannot be read."""
        ...


def open_store(path: Path) -> Store:
    """The images in a folder or a .zip archive. Raises ImageError when ``path`` is neither."""
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        raise ImageError(f"{path}: no such folder or archive of images; give --images FOLDER or --images ARCHIVE.zip")
    return _Archive(path)


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes:
        return read_file(self._folder / name)


class _Archive:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ImageError(f"{path} is no .zip archive that can be read ({reason}); expected images in it") from None

    def read(self, name: str) -> bytes:
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            hint = did_you_mean(name, self._archive.namelist())
            raise ImageError(f"no such image: {name} in {self._path}{hint}") from None
        _check_size(f"{name} in {self._path}", info.file_size)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            how = f"packed by method {info.compress_type}"
            raise ImageError(f"{name} in {self._path} is {how}; expected stored or deflated; zip it anew")
        try:
            with self._archive.open(info) as file:
                return file.read(MOST_BYTES)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, OSError, EOFError) as error:
            raise ImageError(f"{name} in {self._path} cannot be unpacked: {_line(error)}; make it anew") from None


def read_file(path: Path) -> bytes:
    """The bytes of an image file. Raises ImageError when there is none, or it is too large for an image."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        near = [str(entry) for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []
        raise ImageError(f"no such image: {path}{did_you_mean(str(path), near)}") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}; expected an image") from None
    _check_size(str(path), len(data))
    return data


def decode(data: bytes, size: int, name: str) -> Pixels:
    """An image file as ``(size, size, 4)``: the whole image as large as fits, in the middle, clear around it.

    ``name`` is for messages. Raises ImageError when it is no image of a known format, damaged, cut, or too large, and
    OstinatoError without Pillow.
    """
    image_module = _pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow thinks of large images and odd metadata; the limits are ours
        try:
            with image_module.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(image, name)
                return _squared(_upright(image).convert("RGBA"), size)
        except image_module.UnidentifiedImageError:
            raise ImageError(f"{name} is no image that can be read; expected one of {', '.join(FORMATS)}") from None
        except image_module.DecompressionBombError:
            raise ImageError(f"{name} has too many pixels; expected at most {MOST_PIXELS:,}; scale it down") from None
        except ImageError:
            raise
        except _DAMAGED as error:
            raise ImageError(f"{name} is a damaged image: {_line(error)}; get it again") from None


def read_image(path: str | Path, size: int) -> Pixels:
    """``decode`` of a file."""
    return decode(read_file(Path(path)), size, str(path))


def from_array(image: Any, size: int) -> Pixels:
    """``decode`` of what is in memory: ``(Y, X)`` grey, ``(Y, X, 3)`` or ``(Y, X, 4)`` in uint8."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,), (4,)) or not array.size:
        raise ImageError(
            f"the image is an array of {array.dtype} of shape {array.shape}; expected uint8, (height, width) or "
            "(height, width, 3 or 4)"
        )
    return _squared(_pillow().fromarray(np.ascontiguousarray(array)).convert("RGBA"), size)


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise OstinatoError('reading images needs Pillow, which is not here: pip install "ostinato[images]"') from None
    return PIL.Image


def _check_size(name: str, size: int) -> None:
    if size > MOST_BYTES:
        raise ImageError(f"{name} is larger than {MOST_BYTES:,} bytes; expected an image; scale it down")


def _check_header(image: Image, name: str) -> None:
    """Refuse by what the header says, before memory for the pixels is taken."""
    X, Y = image.size
    if X * Y > MOST_PIXELS:
        raise ImageError(f"{name} has {X} x {Y} pixels; expected at most {MOST_PIXELS:,} in all; scale it down")
    if image.mode.startswith(_FINE):
        raise ImageError(f"{name} has pixels of more than eight bits (mode {image.mode}); convert it to eight bits")


def _upright(image: Image) -> Image:
    """Turned as the camera says that it was held."""
    from PIL.ImageOps import exif_transpose

    return exif_transpose(image)


def _squared(image: Image, size: int) -> Pixels:
    """An image in mode RGBA as large as fits into the square; an odd pixel is left on the right and below."""
    X, Y = image.size
    scale = size / max(X, Y)
    width, height = max(1, round(X * scale)), max(1, round(Y * scale))
    if (width, height) != (X, Y):
        image = image.resize((width, height), _pillow().Resampling.BILINEAR)
    square = np.zeros((size, size, 4), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = np.asarray(image)
    return square


def _line(error: Exception) -> str:
    """What an error says, in a line."""
    return " ".join(str(error).split()) or type(error).__name__
