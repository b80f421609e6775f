"""Slices, and the values at given places."""

from __future__ import annotations

import numpy as np

from runtimes.mil.values import Array

Mask = Array | None


def slice_by_index(
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Mask = None,
    end_mask: Mask = None,
    squeeze_mask: Mask = None,
) -> Array:
    """x[begin:end:stride] along every axis; a squeezed one has the element at `begin` alone."""
    return x[_places(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)]


def slice_by_size(x: Array, begin: Array, size: Array) -> Array:
    """`size` elements from `begin` on along every axis; all that are left for -1."""
    starts = [int(at) % x.shape[axis] if at < 0 else int(at) for axis, at in enumerate(begin)]
    return x[
        tuple(
            slice(start, None if count == -1 else start + int(count))
            for start, count in zip(starts, size, strict=True)
        )
    ]


def slice_update(
    x: Array,
    update: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Mask = None,
    end_mask: Mask = None,
    squeeze_mask: Mask = None,
) -> Array:
    """X with other values in a slice."""
    result = x.copy()
    result[_places(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update
    return result


def gather(
    x: Array,
    indices: Array,
    axis: Array | int = 0,
    batch_dims: Array | int = 0,
    validate_indices: Array | bool = False,
) -> Array:
    """The slices of x at `indices` along an axis; the first `batch_dims` axes go together."""
    del validate_indices  # NumPy always does
    place, batches = int(axis) % x.ndim, int(batch_dims)
    if batches == 0:
        return np.take(x, indices, place)
    result = [np.take(x[at], indices[at], place - batches) for at in np.ndindex(x.shape[:batches])]
    return np.stack(result).reshape(*x.shape[:batches], *result[0].shape)


def gather_along_axis(
    x: Array, indices: Array, axis: Array | int = 0, validate_indices: Array | bool = False
) -> Array:
    """The elements of x at `indices` along an axis, where the other axes go together."""
    del validate_indices  # NumPy always does
    return np.take_along_axis(x, indices, int(axis))


def gather_nd(
    x: Array,
    indices: Array,
    batch_dims: Array | int = 0,
    validate_indices: Array | bool = False,
) -> Array:
    """The slices of x at places of several axes, which the last axis of `indices` holds."""
    del validate_indices  # NumPy always does
    batches = int(batch_dims)
    if batches == 0:
        return x[tuple(np.moveaxis(indices, -1, 0))]
    result = [x[at][tuple(np.moveaxis(indices[at], -1, 0))] for at in np.ndindex(x.shape[:batches])]
    return np.stack(result).reshape(*x.shape[:batches], *result[0].shape)


def _places(
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None,
    begin_mask: Mask,
    end_mask: Mask,
    squeeze_mask: Mask,
) -> tuple[int | slice, ...]:
    found: list[int | slice] = []
    for axis in range(x.ndim):
        start = None if _set(begin_mask, axis) else int(begin[axis])
        if _set(squeeze_mask, axis):
            found.append(start or 0)
            continue
        stop = None if _set(end_mask, axis) else int(end[axis])
        found.append(slice(start, stop, 1 if stride is None else int(stride[axis])))
    return tuple(found)


def _set(mask: Mask, axis: int) -> bool:
    return mask is not None and bool(mask[axis])
