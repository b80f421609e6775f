"""Weights as whole numbers times a scale: `constexpr_affine_dequantize` and its iOS 18 successor.

They are symmetric: 0 stays 0, and the whole numbers go from -127 to 127, or from -7 to 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import CompileError

Array = NDArray[Any]

_AT_ONCE = 2**20  # values whose float32 copies are in memory at a time
_SMALLEST_BLOCK = 8
"""Input channels that a scale of 16 bits is spent on at least: more bits than 4 a weight else."""


@dataclass(frozen=True)
class Affine:
    """A weight as int8 with a scale for each output channel.

    Attributes:
        data: int8 of the weight's shape, -127 to 127.
        scale: float16 or float32 [output channels], positive.
    """

    data: NDArray[np.int8]
    scale: Array

    bits = 8

    def decompress(self) -> Array:
        """The values that an engine computes with, in the scale's dtype."""
        return _times(self.data, self.blockwise_scale())

    @property
    def size_bits(self) -> int:
        """What it takes in a package: whole numbers and scales."""
        return self.data.size * 8 + self.scale.size * self.scale.itemsize * 8

    def blockwise_scale(self) -> Array:
        """The scale as iOS 18 wants it: [output channels, 1, …]."""
        return self.scale.reshape(-1, *(1,) * (self.data.ndim - 1))


@dataclass(frozen=True)
class Blockwise:
    """A weight as int4 with a scale for each block of input channels of each output channel.

    Attributes:
        data: int8 of the weight's shape, -7 to 7.
        scale: float16 or float32 [output channels, blocks, 1, …], positive.
    """

    data: NDArray[np.int8]
    scale: Array

    bits = 4

    def decompress(self) -> Array:
        """The values that an engine computes with, in the scale's dtype."""
        return _times(self.data, self.scale)

    @property
    def size_bits(self) -> int:
        """What it takes in a package: whole numbers and scales."""
        return self.data.size * 4 + self.scale.size * self.scale.itemsize * 8


def affine(values: Array, *, key: str) -> Affine:
    """Compresses a weight to int8.

    Args:
        values: float16 or float32, output channels first.
        key: the weight's, for the error.

    Raises:
        CompileError: a value is NaN or infinite.
    """
    data, scale = _quantize(values, values.shape[1], 127, key)
    return Affine(data, scale.ravel())


def blockwise(values: Array, block: int, *, key: str) -> Blockwise:
    """Compresses a weight to int4.

    Args:
        values: float16 or float32 [output channels, input channels, …].
        block: input channels that share a scale. Where they aren't a multiple of it, the largest
            number that divides both, or all of them where that is too small to be worth a scale.
        key: the weight's, for the error.

    Raises:
        CompileError: a value is NaN or infinite.
    """
    return Blockwise(*_quantize(values, block_size(values.shape[1], block), 7, key))


def block_size(channels: int, block: int) -> int:
    """Input channels that share a scale where there are so many of them; see `blockwise`."""
    common = math.gcd(channels, block)
    return common if common >= _SMALLEST_BLOCK else channels


def _quantize(values: Array, block: int, largest: int, key: str) -> tuple[NDArray[np.int8], Array]:
    out, channels = values.shape[:2]
    blocks = channels // block
    ones = (1,) * (values.ndim - 2)
    data = np.empty((out, blocks, values.size // (out * blocks)), np.int8)
    scale = np.empty((out, blocks, 1), values.dtype)
    for rows in _rows(out, values.size // out):
        own = np.asarray(values[rows], np.float32).reshape(-1, blocks, data.shape[2])
        magnitude = np.abs(own).max(axis=2, keepdims=True)
        if not np.isfinite(magnitude).all():
            raise CompileError(
                f"{key} has values that are NaN or infinite, which no scale fits; export the model "
                "from sound weights, or compile it without compression."
            )
        scale[rows] = _scales(magnitude / largest, values.dtype)
        # By the scale as it is stored: near the end of a half's range it has few bits.
        data[rows] = np.clip(np.rint(own / scale[rows].astype(np.float32)), -largest, largest)
    return data.reshape(values.shape), scale.reshape(out, blocks, *ones)


def _rows(count: int, length: int) -> Iterator[slice]:
    step = max(_AT_ONCE // length, 1)
    return (slice(at, at + step) for at in range(0, count, step))


def _scales(exact: NDArray[np.float32], dtype: Any) -> Array:
    """Rounded to their dtype, but upwards where that would clip; 1 where all is 0.

    Halves below 2**-14 are so coarse that a scale rounded downwards would cut the largest values.
    """
    rounded = exact.astype(dtype)
    clips = rounded < exact * np.float32(1 - 2.0**-11)
    rounded[clips] = np.nextafter(rounded[clips], dtype.type(np.inf))
    rounded[exact == 0] = 1
    return rounded


def _times(data: NDArray[np.int8], scale: Array) -> Array:
    """Every whole number times its block's scale, rounded once."""
    out, blocks = scale.shape[0], math.prod(scale.shape[1:])
    product = data.reshape(out, blocks, -1) * scale.reshape(out, blocks, 1)
    return product.astype(scale.dtype).reshape(data.shape)
