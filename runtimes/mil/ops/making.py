"""Operations that make values from sizes, limits and places."""

from __future__ import annotations

import numpy as np

from runtimes.mil.values import Array


def fill(shape: Array, value: Array | float = 0.0) -> Array:
    """One value everywhere."""
    return _full([int(size) for size in shape], value)


def fill_like(ref_tensor: Array, value: Array | float = 0.0) -> Array:
    """One value everywhere, in the shape of another tensor."""
    return _full(list(ref_tensor.shape), value)


def range_1d(end: Array, start: Array, step: Array) -> Array:
    """Start, start + step, … up to but without `end`."""
    count = int(np.ceil((np.float64(end) - np.float64(start)) / np.float64(step)))
    return start + step * np.arange(max(0, count)).astype(start.dtype)


def one_hot(
    indices: Array,
    one_hot_vector_size: Array,
    axis: Array | int = -1,
    on_value: Array | int = 1,
    off_value: Array | int = 0,
) -> Array:
    """`on_value` at each index along a new axis, `off_value` elsewhere."""
    places = np.arange(int(one_hot_vector_size))
    found = np.where(indices[..., None] == places, on_value, off_value)
    return np.moveaxis(found, -1, int(axis))


def band_part(x: Array, lower: Array | int = -1, upper: Array | int = -1) -> Array:
    """Matrices with zeros outside a band around the diagonal; -1 keeps all on that side."""
    rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
    below, above = int(lower), int(upper)
    kept = np.ones((x.shape[-2], x.shape[-1]), np.bool_)
    if below >= 0:
        kept &= rows - columns <= below
    if above >= 0:
        kept &= columns - rows <= above
    return np.where(kept, x, np.zeros((), x.dtype))


def non_zero(x: Array) -> Array:
    """The places of all elements that aren't 0, [count, rank]."""
    return np.argwhere(x)


def _full(shape: list[int], value: Array | float) -> Array:
    dtype = value.dtype if isinstance(value, np.ndarray) else np.float32
    return np.full(shape, value, dtype)
