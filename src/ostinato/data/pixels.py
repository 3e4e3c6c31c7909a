"""Images as arrays: laid on a colour, and changed a little in training so that none is seen twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""``(..., D, D, 4)`` red, green, blue and opacity, or ``(..., D, D, 3)`` without it."""

WHITE = 255


def lay_on(images: Pixels, colour: Pixels | int = WHITE) -> Pixels:
    """``images (B, D, D, 4)`` on a background, ``(B, D, D, 3)``: one level for all, or a ``colour (B, 3)`` each."""
    opacity = images[..., 3:].astype(np.int32)
    behind = np.asarray(colour, np.int32)
    behind = behind[:, None, None, :] if behind.ndim == 2 else behind
    laid: Pixels = ((images[..., :3] * opacity + behind * (255 - opacity) + 127) // 255).astype(np.uint8)
    return laid


@dataclass(frozen=True)
class Augmentation:
    """Small changes that leave the caption true."""

    shift: int = 2
    """Most pixels that an image moves by, in each direction."""
    flip: bool = False
    """Mirror every other image."""
    background: float = 0.5
    """Share of the images that are laid on a colour drawn at random; the others are on white."""

    def apply(self, images: Pixels, rng: np.random.Generator) -> Pixels:
        """``images (B, D, D, 4)`` changed and laid on their background, ``(B, D, D, 3)``.

        The draws do not depend on what the images hold, so that the same ``rng`` makes the same changes.
        """
        B = len(images)
        moves = rng.integers(-self.shift, self.shift + 1, (B, 2))
        mirrored = (rng.random(B) < 0.5) & self.flip
        coloured = rng.random(B) < self.background
        colours = rng.integers(0, 256, (B, 3))
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return lay_on(shifted(images, moves), np.where(coloured[:, None], colours, WHITE).astype(np.uint8))


def shifted(images: Pixels, moves: NDArray[np.integer]) -> Pixels:
    """``images (B, D, D, 4)`` moved by ``moves (B, 2)`` pixels, down and to the right; what comes in is clear."""
    B, D, _, _ = images.shape
    rows, columns = (np.arange(D) - moves[:, axis, None] for axis in (0, 1))
    inside = ((rows >= 0) & (rows < D))[:, :, None] & ((columns >= 0) & (columns < D))[:, None, :]
    moved = images[np.arange(B)[:, None, None], rows[:, :, None] % D, columns[:, None, :] % D]
    return np.where(inside[..., None], moved, np.uint8(0))
