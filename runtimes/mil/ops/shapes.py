"""Operations that arrange elements anew and compute nothing."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from runtimes.mil.values import Array


def identity(x: Array) -> Array:
    """X."""
    return x


def shape(x: Array) -> Array:
    """The sizes of x."""
    return np.array(x.shape, np.int32)


def reshape(x: Array, shape: Array) -> Array:
    """X in another shape: -1 is what is left, 0 the size of x at that place from the right.

    That is iOS 17's rule; the older one asks for equal ranks, where both say the same.
    """
    wanted = [int(size) for size in shape]
    behind = [*[1] * max(0, len(wanted) - x.ndim), *x.shape[max(0, x.ndim - len(wanted)) :]]
    return x.reshape([old if new == 0 else new for new, old in zip(wanted, behind, strict=True)])


def reshape_like(
    x: Array,
    ref_tensors: tuple[Array, ...],
    begins: tuple[Array, ...],
    ends: tuple[Array, ...],
    end_masks: tuple[Array, ...],
) -> Array:
    """X in a shape made of parts of others' shapes."""
    sizes: list[int] = []
    for other, begin, end, mask in zip(ref_tensors, begins, ends, end_masks, strict=True):
        sizes += other.shape[int(begin) : None if mask else int(end)]
    return x.reshape(sizes)


def flatten2d(x: Array, axis: Array | int = 1) -> Array:
    """As a matrix: the axes before `axis` are its rows."""
    rows = int(np.prod(x.shape[: int(axis)]))
    return x.reshape(rows, -1)


def transpose(x: Array, perm: Array) -> Array:
    """The axes in another order."""
    return x.transpose([int(axis) for axis in perm])


def expand_dims(x: Array, axes: Array) -> Array:
    """New axes of size 1, where they are in the result."""
    return np.expand_dims(x, tuple(int(axis) for axis in axes))


def squeeze(x: Array, axes: Array | None = None) -> Array:
    """Without some axes of size 1, all where none are given; other sizes stay."""
    if axes is None:
        return np.squeeze(x)
    return np.squeeze(x, tuple(int(axis) for axis in axes if x.shape[int(axis)] == 1))


def concat(values: tuple[Array, ...], axis: Array, interleave: Array | bool = False) -> Array:
    """One behind the other along an axis, or with their slices by turns."""
    if not interleave:
        return np.concatenate(values, int(axis))
    first, place = values[0], int(axis) % values[0].ndim
    sizes = list(first.shape)
    sizes[place] *= len(values)
    return np.stack(values, place + 1).reshape(sizes)


def stack(values: tuple[Array, ...], axis: Array) -> Array:
    """Along a new axis."""
    return np.stack(values, int(axis))


def split(
    x: Array, axis: Array, num_splits: Array | None = None, split_sizes: Array | None = None
) -> tuple[Array, ...]:
    """In equal parts, or in parts of given sizes."""
    if split_sizes is not None:
        return tuple(np.split(x, np.cumsum(split_sizes)[:-1], int(axis)))
    return tuple(np.split(x, int(num_splits if num_splits is not None else 1), int(axis)))


def tile(x: Array, reps: Array) -> Array:
    """X several times along each axis."""
    return np.tile(x, [int(count) for count in reps])


def reverse(x: Array, axes: Array | None = None) -> Array:
    """Backwards along some axes, all where none are given."""
    return np.flip(x, None if axes is None else tuple(int(axis) for axis in axes))


def pixel_shuffle(x: Array, upscale_factor: Array) -> Array:
    """Channels [n, c · f · f, h, w] → pixels [n, c, h · f, w · f]; f · f channels lie together."""
    n, c, h, w = x.shape
    f = int(upscale_factor)
    blocks = x.reshape(n, c // (f * f), f, f, h, w).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, c // (f * f), h * f, w * f)


def pixel_unshuffle(x: Array, downscale_factor: Array) -> Array:
    """The way back of `pixel_shuffle`."""
    n, c, h, w = x.shape
    f = int(downscale_factor)
    blocks = x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(n, c * f * f, h // f, w // f)


def sliding_windows(x: Array, axis: Array, size: Array, stride: Array | int = 1) -> Array:
    """All windows along an axis; their elements lie along a new one behind it."""
    place = int(axis) % x.ndim
    found = np.moveaxis(sliding_window_view(x, int(size), place), -1, place + 1)
    return found[(*[slice(None)] * place, slice(None, None, int(stride)))]
