"""Images on backgrounds, moved and mirrored: whatever is drawn, the same place draws the same."""

from __future__ import annotations

import numpy as np
import pytest

from ostinato.data.pixels import Augmentation, lay_on, shifted


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_opacity_mixes_image_and_background_to_the_nearest_level() -> None:
    images = pixels(3, 5, 5, 4)
    colours = pixels(3, 3, seed=1)
    opacity = images[..., 3:] / 255.0
    exact = images[..., :3] * opacity + colours[:, None, None, :] * (1 - opacity)
    assert np.abs(lay_on(images, colours) - exact).max() <= 0.5 + 1e-9
    exact = images[..., :3] * opacity + 255 * (1 - opacity)
    assert np.abs(lay_on(images) - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (0, -3), (-1, 2), (-4, -4)])
def test_an_image_moves_as_a_whole_and_leaves_clear_pixels_behind(down: int, right: int) -> None:
    images = np.maximum(pixels(2, 6, 6, 4), 1)
    moved = shifted(images, np.array([[down, right], [0, 0]]))
    assert np.array_equal(moved[1], images[1])
    for y in range(6):
        for x in range(6):
            inside = 0 <= y - down < 6 and 0 <= x - right < 6
            expected = images[0, y - down, x - right] if inside else np.zeros(4)
            assert np.array_equal(moved[0, y, x], expected)


def test_one_generator_one_augmentation() -> None:
    images, augmentation = pixels(9, 8, 8, 4), Augmentation(shift=3, flip=True, background=0.5)
    first = augmentation.apply(images, np.random.default_rng([1, 2]))
    assert np.array_equal(first, augmentation.apply(images, np.random.default_rng([1, 2])))
    assert not np.array_equal(first, augmentation.apply(images, np.random.default_rng([1, 3])))


def test_off_is_the_image_on_white() -> None:
    images = pixels(9, 8, 8, 4)
    off = Augmentation(shift=0, flip=False, background=0.0)
    assert np.array_equal(off.apply(images, np.random.default_rng(0)), lay_on(images))


def test_each_change_is_drawn_as_often_as_it_says() -> None:
    """1000 draws; the bounds are five standard deviations of a binomial: a false alarm in 1.7 million runs."""
    images = np.tile(np.maximum(pixels(1, 8, 8, 4), 1), (1000, 1, 1, 1))
    images[..., 3] = 255
    images[:, :, 0, 3] = 0  # one column shows the background
    rng = np.random.default_rng(0)
    coloured = Augmentation(0, False, 0.3).apply(images, rng)
    share = (coloured[:, :, 0] != 255).any(axis=(1, 2)).mean()
    assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 1000)
    assert len({tuple(image[0, 0]) for image in coloured}) > 250  # every one its own colour
    mirrored = Augmentation(0, True, 0.0).apply(images, rng)
    straight, turned = lay_on(images[:1])[0], lay_on(images[:1, :, ::-1])[0]
    share = np.mean([np.array_equal(image, turned) for image in mirrored])
    assert abs(share - 0.5) < 5 * np.sqrt(0.25 / 1000)
    assert all(np.array_equal(image, turned) or np.array_equal(image, straight) for image in mirrored)
    moved = Augmentation(1, False, 0.0).apply(images, rng)
    places = {(y, x): lay_on(shifted(images[:1], np.array([[y, x]])))[0] for y in (-1, 0, 1) for x in (-1, 0, 1)}
    for place in places.values():
        share = np.mean([np.array_equal(image, place) for image in moved])
        assert abs(share - 1 / 9) < 5 * np.sqrt(8 / 81 / 1000)
