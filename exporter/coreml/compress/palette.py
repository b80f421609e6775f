"""Weights as indices into a table of values: `constexpr_lut_to_dense`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.coreml.compress.kmeans import cluster
from exporter.coreml.compress.packing import pack
from exporter.errors import CompileError

Array = NDArray[Any]
Halves = NDArray[np.uint16]

_AT_ONCE = 2**20  # values whose copies in wider types are in memory at a time


@dataclass(frozen=True)
class Palette:
    """A weight as indices into one table or several.

    Attributes:
        indices: uint8 of the weight's shape, each below 2**bits.
        tables: float16 or float32 [groups, 2**bits], each ascending; a group is a run of output
            channels, all of one length.
        bits: of an index.
    """

    indices: NDArray[np.uint8]
    tables: Array
    bits: int

    def decompress(self) -> Array:
        """The values that an engine computes with, in the tables' dtype."""
        groups = len(self.tables)
        found = np.empty((groups, self.indices.size // groups), self.tables.dtype)
        for values, table, indices in zip(
            found, self.tables, self.indices.reshape(groups, -1), strict=True
        ):
            np.take(table, indices, out=values, mode="clip")
        return found.reshape(self.indices.shape)

    @property
    def size_bits(self) -> int:
        """What it takes in a package: indices and tables."""
        return self.indices.size * self.bits + self.tables.size * self.tables.itemsize * 8

    def packed(self) -> NDArray[np.uint8]:
        """The indices as iOS 16 wants them: packed into bytes, one dimension."""
        return pack(self.indices, self.bits)

    def lut(self) -> Array:
        """The tables as iOS 18 wants them: [groups, 1, …, 2**bits, 1], rank that of indices + 2."""
        ones = (1,) * (self.indices.ndim - 1)
        return self.tables.reshape(len(self.tables), *ones, 2**self.bits, 1)


def palettize(values: Array, bits: int, group: int | None = None, *, key: str) -> Palette:
    """Compresses a weight into indices of so many bits.

    Args:
        values: float16 or float32, output channels first.
        bits: of an index.
        group: output channels that share a table; None, or a number that doesn't divide them, for
            one table for all.
        key: the weight's, for the error.

    Raises:
        CompileError: a value is NaN or infinite.
    """
    channels = values.shape[0]
    groups = 1 if group is None or channels % group else channels // group
    indices = np.empty((groups, values.size // groups), np.uint8)
    tables = np.empty((groups, 2**bits), values.dtype)
    for number, own in enumerate(np.reshape(values, (groups, -1))):
        tables[number] = _palettize(own, bits, indices[number], key)
    return Palette(indices.reshape(values.shape), tables, bits)


def _palettize(values: Array, bits: int, indices: NDArray[np.uint8], key: str) -> Array:
    """Fills in the indices of values in one dimension; returns their table."""
    scale = _scale(values, key)
    counts = np.zeros(2**16, np.int64)
    for part in _parts(values.size):
        counts += np.bincount(_codes(values[part], scale), minlength=2**16)
    numbers, codes = _halves()
    present = np.flatnonzero(counts[codes])
    if present.size == 0 or counts[codes].sum() != values.size:
        raise _not_finite(key)
    distinct = numbers[present]
    means, _ = cluster(distinct, counts[codes][present], 2**bits)
    # What an engine reads are rounded means, so nearest is decided by those.
    table = np.pad((means / scale).astype(values.dtype), (0, 2**bits - len(means)), mode="edge")
    exact = table.astype(np.float64) * scale
    index_of = np.zeros(2**16, np.uint8)
    index_of[codes[present]] = np.searchsorted((exact[1:] + exact[:-1]) / 2, distinct)
    for part in _parts(values.size):
        indices[part] = index_of[_codes(values[part], scale)]
    return table


def _parts(size: int) -> Iterator[slice]:
    return (slice(at, at + _AT_ONCE) for at in range(0, size, _AT_ONCE))


def _scale(values: Array, key: str) -> float:
    """What a weight is multiplied by before it is rounded to halves: 1 for halves themselves.

    For float32 it is a power of two that brings the largest magnitude to 2**14 or more, so that
    all but the smallest values keep eleven bits, and those that were halves stay as they are.
    """
    if values.dtype == np.float16:
        return 1.0
    largest = max(float(np.abs(values[part]).max()) for part in _parts(values.size))
    if not math.isfinite(largest):
        raise _not_finite(key)
    return 2.0 ** (15 - math.frexp(largest)[1]) if largest else 1.0


def _not_finite(key: str) -> CompileError:
    return CompileError(
        f"{key} has values that are NaN or infinite, which no table of values stands for; "
        "export the model from sound weights, or compile it without compression."
    )


def _codes(values: Array, scale: float) -> Halves:
    """The bits of values as halves."""
    if values.dtype == np.float16:
        return np.ascontiguousarray(values).view(np.uint16)
    return (values * np.float32(scale)).astype(np.float16).view(np.uint16)


@cache
def _halves() -> tuple[NDArray[np.float64], Halves]:
    """All finite halves in ascending order, and their bits."""
    codes = np.arange(2**16, dtype=np.uint16)
    numbers = codes.view(np.float16).astype(np.float64)
    # Not sorted as halves: NumPy 2.4's quicksort leaves some of those out of order.
    finite = np.isfinite(numbers)
    order = np.argsort(numbers[finite], kind="stable")
    return numbers[finite][order], codes[finite][order]
