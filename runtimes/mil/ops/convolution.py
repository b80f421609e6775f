"""Convolution, as products of matrices.

The windows of some rows of the result at a time are copied out as columns, which the weight, one
row for each output channel, is multiplied with. A kernel of 1 needs no copy.
"""

from __future__ import annotations

import math

import numpy as np

from runtimes.mil.ops.windows import (
    Pads,
    PadType,
    extents,
    integers,
    padded,
    paddings,
    windows,
)
from runtimes.mil.values import Array

_COLUMN_BYTES = 48 << 20
"""What the columns of one product may take; more isn't faster."""


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: PadType = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: Array | int = 1,
) -> Array:
    """Convolves [n, c, *sizes] with [k, c / groups, *kernel] in 1, 2 or 3 directions."""
    kernel, rank = weight.shape[2:], x.ndim - 2
    steps, spread = integers(strides, 1, rank), integers(dilations, 1, rank)
    spans = extents(kernel, spread)
    pads = paddings(pad_type, pad, x.shape[2:], spans, steps)
    is_pointwise = all(size == 1 for size in (*kernel, *steps))
    if is_pointwise and int(groups) == 1 and not any(map(any, pads)):
        result = _pointwise(x, weight)
    else:
        result = _by_columns(x, weight, steps, pads, spread, int(groups))
    if bias is not None:
        result += bias.reshape(-1, *[1] * rank)
    return result


def _pointwise(x: Array, weight: Array) -> Array:
    flat = np.matmul(weight.reshape(weight.shape[:2]), x.reshape(*x.shape[:2], -1))
    return flat.reshape(x.shape[0], -1, *x.shape[2:])


def _by_columns(
    x: Array, weight: Array, steps: list[int], pads: Pads, spread: list[int], groups: int
) -> Array:
    kernel = weight.shape[2:]
    spans = extents(kernel, spread)
    sizes = [
        (size + sum(pad) - span) // step + 1
        for size, pad, span, step in zip(x.shape[2:], pads, spans, steps, strict=True)
    ]
    result = np.empty((x.shape[0], weight.shape[0], *sizes), np.float32)
    by_group = weight.reshape(groups, weight.shape[0] // groups, -1)
    per_row = x.shape[1] * math.prod(kernel) * math.prod(sizes[1:]) * 4
    rows = max(1, _COLUMN_BYTES // per_row)
    row_size = math.prod(sizes[1:])
    for sample, into in zip(x, result, strict=True):
        flat = into.reshape(groups, by_group.shape[1], -1)
        for row in range(0, sizes[0], rows):
            count = min(rows, sizes[0] - row)
            slab = _slab(sample, row * steps[0], (count - 1) * steps[0] + spans[0], pads)
            columns = windows(slab, kernel, steps, spread).reshape(groups, by_group.shape[2], -1)
            place = slice(row * row_size, (row + count) * row_size)
            np.matmul(by_group, columns, out=flat[:, :, place])
    return result


def _slab(sample: Array, start: int, length: int, pads: Pads) -> Array:
    """`length` rows of a sample, from row `start` of the padded one on."""
    first = start - pads[0][0]
    last = first + length
    before, behind = max(0, -first), max(0, last - sample.shape[1])
    rows = sample[:, max(0, first) : max(0, last)]
    return padded(rows, [(before, behind), *pads[1:]], 0)
