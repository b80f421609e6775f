"""Quantised activations."""

from __future__ import annotations

from typing import Literal

import numpy as np

from runtimes.mil.values import BY_NAME, Array


def quantize(
    input: Array,
    scale: Array,
    output_dtype: Literal["int8", "uint8"],
    zero_point: Array | None = None,
    axis: Array | None = None,
) -> Array:
    """round(x / scale) + zero point, kept within what the integers hold."""
    dtype = BY_NAME[output_dtype].stored
    limits = np.iinfo(dtype)
    levels = np.round(input / along(scale, input.ndim, axis))
    if zero_point is not None:
        levels += along(zero_point, input.ndim, axis)
    return np.clip(levels, limits.min, limits.max).astype(dtype)


def dequantize(
    input: Array, scale: Array, zero_point: Array | None = None, axis: Array | None = None
) -> Array:
    """Scale · (x - zero point)."""
    levels = input.astype(np.float32)
    if zero_point is not None:
        levels -= along(zero_point, input.ndim, axis)
    return along(scale, input.ndim, axis) * levels


def along(vector: Array, rank: int, axis: Array | None) -> Array:
    """A vector along an axis of a tensor of a rank; a scalar as it is. Float32."""
    values = vector.astype(np.float32, copy=False)
    if values.ndim == 0 or axis is None:
        return values
    return values.reshape([-1 if at == int(axis) % rank else 1 for at in range(rank)])
