"""Resampling of the last two axes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from runtimes.mil.values import Array

SamplingMode = Literal[
    "DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS"
]


def upsample_nearest_neighbor(
    x: Array, scale_factor_height: Array | float = 1, scale_factor_width: Array | float = 1
) -> Array:
    """Larger by factors; each result is the element that it lies in."""
    return _nearest(
        _nearest(x, -2, *_scaled(x, -2, scale_factor_height)),
        -1,
        *_scaled(x, -1, scale_factor_width),
    )


def resize_nearest_neighbor(x: Array, target_size_height: Array, target_size_width: Array) -> Array:
    """To given sizes; each result is the element that it lies in."""
    height, width = int(target_size_height), int(target_size_width)
    tall = _nearest(x, -2, height, x.shape[-2] / height)
    return _nearest(tall, -1, width, x.shape[-1] / width)


def upsample_bilinear(
    x: Array,
    scale_factor_height: Array | float = 1,
    scale_factor_width: Array | float = 1,
    align_corners: Array | bool = True,
) -> Array:
    """Larger by factors; the spacing of the samples follows from the sizes."""
    mode: SamplingMode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS"
    height, _ = _scaled(x, -2, scale_factor_height)
    width, _ = _scaled(x, -1, scale_factor_width)
    return _linear(_linear(x, -2, height, mode), -1, width, mode)


def resize_bilinear(
    x: Array,
    target_size_height: Array | int = 1,
    target_size_width: Array | int = 1,
    sampling_mode: SamplingMode = "DEFAULT",
) -> Array:
    """To given sizes."""
    tall = _linear(x, -2, int(target_size_height), sampling_mode)
    return _linear(tall, -1, int(target_size_width), sampling_mode)


def resize(
    x: Array,
    shape: Array,
    resized_dims: Array,
    interpolation_mode: Literal["LINEAR"] = "LINEAR",
    sampling_mode: SamplingMode = "DEFAULT",
) -> Array:
    """The last axes to the last of the given sizes; 0 leaves an axis as it is."""
    del interpolation_mode
    count = int(resized_dims)
    for axis in range(-count, 0):
        if size := int(shape[axis]):
            x = _linear(x, axis, size, sampling_mode)
    return x


def _scaled(x: Array, axis: int, factor: Array | float) -> tuple[int, float]:
    """The size after scaling, and the elements of x to one of the result."""
    scale = float(factor)
    return int(np.floor(x.shape[axis] * scale)), 1 / scale


def _nearest(x: Array, axis: int, size: int, spacing: float) -> Array:
    places = np.floor(np.arange(size) * spacing).astype(np.int64)
    return np.take(x, np.minimum(places, x.shape[axis] - 1), axis)


def _linear(x: Array, axis: int, size: int, mode: SamplingMode) -> Array:
    if size == x.shape[axis] and mode != "OFFSET_CORNERS":
        return x
    grid = np.clip(_grid(x.shape[axis], size, mode), 0, x.shape[axis] - 1)
    low = np.floor(grid).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (grid - low).astype(np.float32).reshape(-1, *[1] * (-1 - axis))
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def _grid(old: int, new: int, mode: SamplingMode) -> Array:
    """Where the results lie among the elements."""
    places = np.arange(new, dtype=np.float64)
    if mode == "ALIGN_CORNERS" and new == 1:
        return np.array([(old - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return places * ((old - 1) / max(1, new - 1))
    if mode == "DEFAULT":
        return places * (old / new)
    if mode == "UNALIGN_CORNERS":
        return (places + 0.5) * (old / new) - 0.5
    return (places + 0.5) * (max(1, old - 1) / new)
