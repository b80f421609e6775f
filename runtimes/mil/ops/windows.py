"""The windows that convolution and pooling slide over their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from runtimes.mil.values import Array

PadType = Literal["valid", "custom", "same", "same_lower"]
Pads = list[tuple[int, int]]


def integers(given: Array | None, default: int, count: int) -> list[int]:
    """An optional vector of integers, by default `count` times the same."""
    return [default] * count if given is None else [int(one) for one in given.reshape(-1)]


def extents(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """What a dilated kernel spans in each direction."""
    return [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]


def paddings(
    pad_type: PadType,
    pad: Array | None,
    sizes: Sequence[int],
    spans: Sequence[int],
    strides: Sequence[int],
) -> Pads:
    """How much is put before and after each spatial axis.

    "same" gives ceil(size / stride) results; of an odd amount the larger part comes behind, with
    "same_lower" before.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        given = integers(pad, 0, 2 * len(sizes))
        return list(zip(given[::2], given[1::2], strict=True))
    found: Pads = []
    for size, span, stride in zip(sizes, spans, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + span - size)
        less = total // 2
        found.append((less, total - less) if pad_type == "same" else (total - less, less))
    return found


def padded(x: Array, pads: Pads, fill: float) -> Array:
    """X with its last axes padded; itself where there is nothing to add."""
    if not any(before or after for before, after in pads):
        return x
    lead = x.ndim - len(pads)
    sizes = [size + sum(pad) for size, pad in zip(x.shape[lead:], pads, strict=True)]
    result = np.full((*x.shape[:lead], *sizes), fill, x.dtype)
    place = tuple(
        slice(before, before + size) for size, (before, _) in zip(x.shape[lead:], pads, strict=True)
    )
    result[(..., *place)] = x
    return result


def windows(
    x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """A view of the windows over the last axes: [*lead, *kernel, *results]."""
    lead = x.ndim - len(kernel)
    spans = extents(kernel, dilations)
    results = [
        (size - span) // stride + 1
        for size, span, stride in zip(x.shape[lead:], spans, strides, strict=True)
    ]
    steps = x.strides[lead:]
    return as_strided(
        x,
        (*x.shape[:lead], *kernel, *results),
        (
            *x.strides[:lead],
            *(step * dilation for step, dilation in zip(steps, dilations, strict=True)),
            *(step * stride for step, stride in zip(steps, strides, strict=True)),
        ),
        writeable=False,
    )
