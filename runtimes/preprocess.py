"""From pictures to what the networks take: sizes, value ranges, masks of latent cells.

Equal to diffusers' `VaeImageProcessor` value by value: the same filters of Pillow, the same float32
operations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.errors import UsageError
from runtimes.picture_input import Read, size_of

Floats = NDArray[np.float32]
LANCZOS = Image.Resampling.LANCZOS


def floored(side: int, factor: int) -> int:
    """A side in pixels, down to whole latent cells."""
    return side - side % factor


def check_sizes(pictures: Sequence[Read], height: int, width: int) -> None:
    """Refuses arrays of floats of another size: they are not resized, Pillow's images are.

    Raises:
        UsageError: says which sizes.
    """
    for picture in pictures:
        if not isinstance(picture, Image.Image) and size_of(picture) != (height, width):
            found = "×".join(map(str, reversed(size_of(picture))))
            raise UsageError(
                f"image is an array of floats for {found}, where {width}×{height} is made; arrays "
                "of floats are not resized: give a Pillow image or uint8, or that size."
            )


def to_sample(
    picture: Read, height: int, width: int, resample: Image.Resampling = LANCZOS
) -> Floats:
    """A picture as networks take it.

    Args:
        picture: Pillow's of mode RGB, resized where it has another size; or float32 in [0, 1],
            [height, width, 3].
        height: in pixels.
        width: in pixels.
        resample: the filter by which it is resized.

    Returns:
        float32 in [-1, 1], [3, height, width].
    """
    if isinstance(picture, Image.Image):
        picture = picture.resize((width, height), resample)
    return np.float32(2) * _unit(picture).transpose(2, 0, 1) - np.float32(1)


def to_mask(mask: Image.Image, height: int, width: int) -> Floats:
    """A mask of pixels: float32 [1, height, width], 1 where it is at least half white, else 0."""
    # Before grey: Pillow resizes masks of one bit by their nearest pixels.
    grey = mask.resize((width, height), LANCZOS).convert("L")
    return (_unit(grey) >= np.float32(0.5)).astype(np.float32)[np.newaxis]


def to_cells(mask: Floats, factor: int) -> Floats:
    """A mask of latent cells from one of pixels: each cell's first pixel, as torch's `nearest`."""
    return np.ascontiguousarray(mask[..., ::factor, ::factor])


def _unit(picture: Read) -> Floats:
    if isinstance(picture, Image.Image):
        return np.asarray(picture).astype(np.float32) / np.float32(255)
    return picture
