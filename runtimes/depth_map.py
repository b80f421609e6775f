"""Depth maps as a channel of the U-Net's input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_A = np.float32(-0.75)
"""The cubic convolution's free parameter, as torch has it (Pillow's is -0.5)."""


def to_depth_channel(depth: Floats, height: int, width: int) -> Floats:
    """A depth map for latents, as diffusers' StableDiffusionDepth2ImgPipeline makes it.

    Args:
        depth: [H, W] in any unit, not everywhere the same.
        height: of the latents.
        width: of the latents.

    Returns:
        float32 [1, height, width], from -1 at the smallest to 1 at the largest.
    """
    small = _weights(depth.shape[0], height) @ depth @ _weights(depth.shape[1], width).T
    least, most = small.min(), small.max()
    return (np.float32(2) * (small - least) / (most - least) - np.float32(1))[np.newaxis]


def _weights(before: int, after: int) -> Floats:
    """What each of `before` points gives to each of `after`: float32 [after, before].

    R. Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, on the four
    nearest points; the last point goes on past the edge. Nothing is smoothed where points are many.
    """
    scale = np.float32(before) / np.float32(after)
    places = scale * (np.arange(after, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    first = np.floor(places)
    share = places - first
    weights = np.zeros((after, before), np.float32)
    for offset in (-1, 0, 1, 2):
        at = np.clip(first + offset, 0, before - 1).astype(np.int64)
        np.add.at(weights, (np.arange(after), at), _cubic(np.abs(share - np.float32(offset))))
    return weights


def _cubic(distance: Floats) -> Floats:
    """Keys' equation 4, by the distance to a point in points."""
    x = distance
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, far).astype(np.float32)
