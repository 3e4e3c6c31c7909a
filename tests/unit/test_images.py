"""Image files to arrays, and what is said of those that cannot be read."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ostinato import images
from ostinato.errors import ImageError, OstinatoError


def picture(width: int = 5, height: int = 5, channels: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def encoded(array: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def refused(data: bytes, size: int = 4) -> str:
    with pytest.raises(ImageError) as caught:
        images.decode(data, size, "x.png")
    message = str(caught.value)
    assert message.startswith("x.png ")
    assert "\n" not in message
    return message


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    array = picture()
    assert np.array_equal(images.decode(encoded(array), 5, "x"), array)
    assert np.array_equal(images.from_array(array, 5), array)
    opaque = images.decode(encoded(array[..., :3]), 5, "x")
    assert np.array_equal(opaque[..., :3], array[..., :3])
    assert (opaque[..., 3] == 255).all()


@pytest.mark.parametrize(("width", "height"), [(8, 4), (4, 8), (40, 1), (1, 1), (3, 2)])
def test_an_image_is_scaled_as_a_whole_and_clear_around(width: int, height: int) -> None:
    array = np.full((height, width, 3), 200, np.uint8)
    square = images.decode(encoded(array), 16, "x")
    assert square.shape == (16, 16, 4)
    rows, columns = (np.flatnonzero((square[..., 3] > 0).any(axis=axis)) for axis in (1, 0))
    scale = 16 / max(width, height)
    assert (len(rows), len(columns)) == (max(1, round(height * scale)), max(1, round(width * scale)))
    assert rows[0] == (16 - len(rows)) // 2
    assert columns[0] == (16 - len(columns)) // 2
    assert (square[square[..., 3] > 0] == (200, 200, 200, 255)).all()


def test_clear_pixels_do_not_bleed_into_what_is_seen() -> None:
    array = np.zeros((8, 8, 4), np.uint8)
    array[:, :4] = (255, 0, 0, 255)
    array[:, 4:, :3] = (0, 255, 0)  # green, but wholly clear
    small = images.decode(encoded(array), 4, "x")
    seen = small[small[..., 3] > 0]
    assert (seen[:, 1] == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_every_format_that_is_promised(kind: str) -> None:
    array = np.full((6, 6, 3), 90, np.uint8)
    square = images.decode(encoded(array, kind), 6, "x")
    assert np.abs(square[..., :3].astype(int) - 90).max() <= 3  # JPEG and WebP are not exact


def test_palettes_with_a_clear_colour_and_grey() -> None:
    array = picture(channels=3)
    palette = Image.fromarray(array).quantize(8)
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=int(np.asarray(palette)[0, 0]))
    square = images.decode(file.getvalue(), 5, "x")
    assert square[0, 0, 3] == 0
    assert square[..., 3].any()
    grey = picture()[..., 0]
    assert np.array_equal(images.decode(encoded(grey), 5, "x")[..., :3], np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(images.from_array(grey, 5)[..., 2], grey)


def test_an_image_is_turned_as_the_camera_was_held() -> None:
    array = picture(channels=3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    data = encoded(array, "PNG", exif=exif)
    assert np.array_equal(images.decode(data, 5, "x")[..., :3], np.rot90(array, -1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that promises much and holds little."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(10_000, 10_000), (1 << 27, 1), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_an_enormous_image_is_refused_by_its_header(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    assert "pixels; expected at most" in refused(png(width, height))


def test_damaged_images() -> None:
    whole = encoded(picture(64, 64))
    assert "no image that can be read; expected one of PNG, JPEG" in refused(b"")
    assert "no image that can be read" in refused(b"not an image at all")
    assert "is a damaged image" in refused(whole[: len(whole) // 2])
    assert "more than eight bits" in refused(encoded(np.zeros((4, 4), np.uint16)))
    assert "no image that can be read" in refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_every_cut_and_many_flips_are_one_stated_error_or_an_image(kind: str) -> None:
    whole = encoded(np.repeat(picture(9, 7, 3), 2, axis=1), kind)
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in range(0, len(whole), max(1, len(whole) // 60))]
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    for data in damaged:
        with suppress(ImageError):
            assert images.decode(data, 4, "x").shape == (4, 4, 4)


def test_arrays_that_are_no_image() -> None:
    for array in (
        np.zeros((4, 4)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ):
        with pytest.raises(ImageError, match="expected uint8"):
            images.from_array(array, 4)


def test_folders_and_archives(tmp_path: Path) -> None:
    data = encoded(picture())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(data)
    assert images.open_store(tmp_path).read("sub/a.png") == data
    with pytest.raises(ImageError, match=r"no such image: .*b\.png; did you mean .*a\.png'\?"):
        images.open_store(tmp_path).read("sub/b.png")
    with pytest.raises(ImageError, match=r"sub cannot be read: Is a directory"):
        images.open_store(tmp_path).read("sub")
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sub/a.png", data)
    assert images.open_store(tmp_path / "all.zip").read("sub/a.png") == data
    with pytest.raises(ImageError, match=r"no such image: sub/b\.png in .*all\.zip; did you mean 'sub/a\.png'\?"):
        images.open_store(tmp_path / "all.zip").read("sub/b.png")
    with pytest.raises(ImageError, match="no such folder or archive of images"):
        images.open_store(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(ImageError, match=r"text\.zip is no \.zip archive that can be read"):
        images.open_store(tmp_path / "text.zip")


def test_a_damaged_member_of_an_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.png", encoded(picture(32, 32)))
        whole = bytearray(path.read_bytes())
        for place in range(60, 160, 7):
            flipped = whole.copy()
            flipped[place] ^= 0x55
            path.write_bytes(flipped)
            with pytest.raises(ImageError, match="cannot be unpacked"):
                images.open_store(path).read("a.png")


def test_archives_packed_in_other_ways(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", encoded(picture()))
    with pytest.raises(ImageError, match="is packed by method 14; expected stored or deflated"):
        images.open_store(tmp_path / "all.zip").read("a.png")


def test_files_too_large_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(bytes(1001))
    (tmp_path / "b.png").write_bytes(bytes(1000))
    with pytest.raises(ImageError, match="larger than 1,000 bytes"):
        images.read_file(tmp_path / "a.png")
    assert len(images.read_file(tmp_path / "b.png")) == 1000
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(100_000))
    with pytest.raises(ImageError, match=r"bomb\.png in .* is larger than"):
        images.open_store(tmp_path / "all.zip").read("bomb.png")


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(OstinatoError, match=r'needs Pillow, which is not here: pip install "ostinato\[images\]"'):
        images.decode(b"", 4, "x")
