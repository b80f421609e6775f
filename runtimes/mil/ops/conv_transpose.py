"""Transposed convolution: every element of the input adds its multiple of the kernel."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np

from runtimes.mil.ops.windows import Pads, extents, integers
from runtimes.mil.values import Array


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    pad: Array | None = None,
    output_shape: Array | None = None,
    pad_type: Literal["valid", "custom", "same"] = "valid",
    strides: Array | None = None,
    dilations: Array | None = None,
    groups: Array | int = 1,
) -> Array:
    """Spreads [n, c, *sizes] with [c, k / groups, *kernel] in 1, 2 or 3 directions."""
    rank = x.ndim - 2
    steps, spread = integers(strides, 1, rank), integers(dilations, 1, rank)
    full = _spread(x, weight, steps, spread, int(groups))
    pads = _crops(pad_type, pad, x.shape[2:], full.shape[2:], steps)
    sizes = [size - sum(crop) for size, crop in zip(full.shape[2:], pads, strict=True)]
    if output_shape is not None:
        sizes = integers(output_shape, 0, rank + 2)[2:]
    result = np.zeros((*full.shape[:2], *sizes), np.float32)
    taken = tuple(slice(crop[0], crop[0] + size) for crop, size in zip(pads, sizes, strict=True))
    part = full[(..., *taken)]
    result[(..., *(slice(size) for size in part.shape[2:]))] = part
    if bias is not None:
        result += bias.reshape(-1, *[1] * rank)
    return result


def _crops(
    pad_type: str,
    pad: Array | None,
    sizes: tuple[int, ...],
    full: tuple[int, ...],
    steps: list[int],
) -> Pads:
    """What is cut off before and after; "same" leaves size · stride."""
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        given = integers(pad, 0, 2 * len(sizes))
        return list(zip(given[::2], given[1::2], strict=True))
    excess = [
        max(0, whole - size * step) for whole, size, step in zip(full, sizes, steps, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in excess]


def _spread(x: Array, weight: Array, steps: list[int], spread: list[int], groups: int) -> Array:
    """The result before anything is cut off."""
    kernel, sizes = weight.shape[2:], x.shape[2:]
    samples, channels = x.shape[0], weight.shape[1] * groups
    by_group = weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2)
    taps = np.matmul(by_group, x.reshape(samples, groups, by_group.shape[2], -1))
    taps = taps.reshape(samples, channels, *kernel, *sizes)
    spans = extents(kernel, spread)
    whole = [(size - 1) * step + span for size, step, span in zip(sizes, steps, spans, strict=True)]
    result = np.zeros((samples, channels, *whole), np.float32)
    for tap in itertools.product(*map(range, kernel)):
        place = tuple(
            slice(at * gap, at * gap + (size - 1) * step + 1, step)
            for at, gap, size, step in zip(tap, spread, sizes, steps, strict=True)
        )
        result[(..., *place)] += taps[(slice(None), slice(None), *tap)]
    return result
