"""Where values lie densest: the mode, found by mean shift from coarse to fine."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FINEST = 0.02
"""Least width of the kernel: narrower, the mode follows single values; within it, it is a mean."""

_NARROWING = 1.5
_STEPS = 50
_NEAR = 1e-3
_TO_SIGMA = 1.4826  # of a normal distribution, by its median absolute deviation


def mode(values: NDArray[np.float64], independent: int) -> float:
    """The mode of values that come in heaps.

    The density is that of a Gaussian kernel. Its width begins at the values' own spread, where
    there is one hill, and narrows while the top is followed by mean shift (Fukunaga and Hostetler
    1975, "The estimation of the gradient of a density function"), so that it ends on the largest
    heap and not on the nearest. The last width is twice the spread by the root of the number of
    independent values: the fewer there are, the more it is like a mean.

    Args:
        values: at least one; their unit is that of `FINEST`.
        independent: how many of them are as good as independent, 1 or more.
    """
    top = float(np.median(values))
    spread = _TO_SIGMA * float(np.median(np.abs(values - top)))
    last = max(FINEST, 2 * spread / math.sqrt(independent))
    width = max(spread, last)
    while width > last:
        top = _climb(values, top, width)
        width = max(width / _NARROWING, last)
    return _climb(values, top, last)


def _climb(values: NDArray[np.float64], top: float, width: float) -> float:
    """To the top of the hill on which one stands."""
    for _ in range(_STEPS):
        weights = np.exp(-0.5 * ((values - top) / width) ** 2)
        before, top = top, float((weights * values).sum() / weights.sum())
        if abs(top - before) < width * _NEAR:
            break
    return top
