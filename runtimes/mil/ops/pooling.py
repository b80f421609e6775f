"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtimes.mil.ops.windows import Pads, PadType, integers, padded, paddings, windows
from runtimes.mil.values import Array


def max_pool(
    x: Array,
    kernel_sizes: Array,
    pad_type: PadType,
    strides: Array | None = None,
    pad: Array | None = None,
    ceil_mode: Array | bool = False,
) -> Array:
    """The greatest of each window of [n, c, *sizes]."""
    kernel, steps, pads = _geometry(x, kernel_sizes, pad_type, strides, pad, bool(ceil_mode))
    return _windows(padded(x, pads, -np.inf), kernel, steps).max(_axes(kernel))


def avg_pool(
    x: Array,
    kernel_sizes: Array,
    pad_type: PadType,
    strides: Array | None = None,
    pad: Array | None = None,
    exclude_padding_from_average: Array | bool = False,
    ceil_mode: Array | bool = False,
) -> Array:
    """The mean of each window of [n, c, *sizes]; padding counts as zeros, or not at all."""
    kernel, steps, pads = _geometry(x, kernel_sizes, pad_type, strides, pad, bool(ceil_mode))
    total = _windows(padded(x, pads, 0), kernel, steps).sum(_axes(kernel))
    counted = pads
    ones = np.ones(x.shape[2:], np.float32)
    if not exclude_padding_from_average:
        # What rounding up added behind the padding that was asked for counts in no case.
        asked = paddings(pad_type, pad, x.shape[2:], kernel, steps)
        ones = np.ones(
            [size + sum(p) for size, p in zip(x.shape[2:], asked, strict=True)], np.float32
        )
        counted = [(0, after - wanted) for (_, after), (_, wanted) in zip(pads, asked, strict=True)]
    count = _windows(padded(ones, counted, 0), kernel, steps).sum(tuple(range(len(kernel))))
    return total / count


def _geometry(
    x: Array,
    kernel_sizes: Array,
    pad_type: PadType,
    strides: Array | None,
    pad: Array | None,
    ceil_mode: bool,
) -> tuple[list[int], list[int], Pads]:
    """Kernel, strides and padding; the latter as much more as rounding up asks for."""
    rank = x.ndim - 2
    kernel, steps = integers(kernel_sizes, 1, rank), integers(strides, 1, rank)
    pads = paddings(pad_type, pad, x.shape[2:], kernel, steps)
    if not ceil_mode:
        return kernel, steps, pads
    raised: Pads = []
    for size, span, step, (before, after) in zip(x.shape[2:], kernel, steps, pads, strict=True):
        count = -(-(size + before + after - span) // step) + 1
        # A window that would begin behind the input and its first padding is left out.
        count -= (count - 1) * step >= size + before
        raised.append((before, max(after, (count - 1) * step + span - size - before)))
    return kernel, steps, raised


def _windows(x: Array, kernel: Sequence[int], steps: Sequence[int]) -> Array:
    return windows(x, kernel, steps, [1] * len(kernel))


def _axes(kernel: Sequence[int]) -> tuple[int, ...]:
    """Of the windows, behind those of samples and channels."""
    return tuple(range(2, 2 + len(kernel)))
