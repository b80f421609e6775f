"""Quantiles of the symmetric beta distribution, without SciPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]

TERMS = 80  # of the power series at x <= 0.6, where term n is below 0.6^n
NEWTON_STEPS = 8  # quadratic from an error below 0.1; 5 reach the last place


def beta_quantile(shares: Float64s, shape: float) -> Float64s:
    """Where the beta distribution with both parameters `shape` has given shares below it.

    Args:
        shares: float64 in [0, 1].
        shape: of the distribution, above 0 and at most 1.

    Returns:
        Values in [0, 1], within 1e-14 of exact.
    """
    lower = np.minimum(shares, 1 - shares)
    below_middle = _lower_half(lower, shape)
    return np.where(shares <= 0.5, below_middle, 1 - below_middle)


def _lower_half(shares: Float64s, shape: float) -> Float64s:
    """Newton's method on shares up to 1/2, in u = x^shape.

    The share as a function of u is nearly a line (exactly one at u = 0), rising and convex, and
    the line lies below it: so the line's own solution is to the right of ours, and from there
    every step ends between the two.
    """
    scale = shape * math.gamma(shape) ** 2 / math.gamma(2 * shape)
    u = shares * scale
    for _ in range(NEWTON_STEPS):
        x = u ** (1 / shape)
        slope = (1 - x) ** (shape - 1) / scale
        u = np.maximum(u - (u * _series(x, shape) / scale - shares) / slope, 0)
    return u ** (1 / shape)


def _series(x: Float64s, shape: float) -> Float64s:
    """The incomplete beta function over its leading term: DLMF 8.17.7 and 15.2.1."""
    total, term = np.ones_like(x), np.ones_like(x)
    for n in range(1, TERMS):
        term = term * x * (n - shape) / n
        total += term * shape / (shape + n)
    return total
