"""Types of a program's values, and how each is held in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_CHUNK = 1 << 15


@dataclass(frozen=True)
class DataType:
    """An element type.

    Attributes:
        name: as MIL's text form and the `dtype` of `cast` say it.
        bits: of an element as it is stored.
        stored: what NumPy holds it in as it is stored; below 8 bits, one byte per element.
        held: what the executor computes with: every float in float32.
    """

    name: str
    bits: int
    stored: np.dtype[Any]
    held: np.dtype[Any]

    @property
    def is_float(self) -> bool:
        """Whether it is one of the floats."""
        return self.held == np.float32


def _type(name: str, bits: int, stored: str, held: str | None = None) -> DataType:
    return DataType(name, bits, np.dtype(stored), np.dtype(held or stored))


STRING = DataType("string", 8, np.dtype("O"), np.dtype("O"))

# Float64, bfloat16, the 8-bit floats and 64-bit integers aren't among the types of any operation
# of the sets up to iOS 18.
DATA_TYPES: Mapping[int, DataType] = {
    1: _type("bool", 8, "?"),
    2: STRING,
    10: _type("fp16", 16, "<f2", "<f4"),
    11: _type("fp32", 32, "<f4"),
    21: _type("int8", 8, "<i1"),
    22: _type("int16", 16, "<i2"),
    23: _type("int32", 32, "<i4"),
    25: _type("int4", 4, "<i1"),
    31: _type("uint8", 8, "<u1"),
    32: _type("uint16", 16, "<u2"),
    33: _type("uint32", 32, "<u4"),
    35: _type("uint4", 4, "<u1"),
    36: _type("uint2", 2, "<u1"),
    37: _type("uint1", 1, "<u1"),
    38: _type("uint6", 6, "<u1"),
    39: _type("uint3", 3, "<u1"),
}
"""MIL's element types by their number in `MILSpec.DataType`."""

BY_NAME: Mapping[str, DataType] = {dtype.name: dtype for dtype in DATA_TYPES.values()}


@dataclass(frozen=True)
class TensorType:
    """The type of a value.

    Attributes:
        dtype: of its elements.
        shape: its sizes; None for one that only a call tells.
    """

    dtype: DataType
    shape: tuple[int | None, ...]

    @property
    def count(self) -> int | None:
        """How many elements, if all sizes are known."""
        known = [size for size in self.shape if size is not None]
        return math.prod(known) if len(known) == len(self.shape) else None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of a shape is of this type."""
        return len(shape) == len(self.shape) and all(
            wanted is None or wanted == size for wanted, size in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        """As `fp16 [2, 4, ?, ?]`."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype.name} [{sizes}]"


def round_to_half(array: Array) -> Array:
    """Float32 numbers rounded to the nearest half, ties to even; beyond 65504 infinite."""
    flat = np.ascontiguousarray(array).reshape(-1)
    result = np.empty_like(flat)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, flat.size, _CHUNK):  # so that the halves stay in the cache
            part = slice(start, start + _CHUNK)
            result[part] = flat[part].astype(np.float16)
    return result.reshape(array.shape)
