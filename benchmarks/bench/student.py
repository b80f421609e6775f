"""Quantiles of Student's t distribution, without SciPy: a target machine may lack it."""

from __future__ import annotations

import math

_HALVINGS = 60
_ODD_START, _EVEN_START = 3, 2


def quantile(outside: float, degrees: int) -> float:
    """How many standard errors a two-sided t interval reaches to each side.

    Args:
        outside: probability outside the interval, such as 0.05, between 0 and 1.
        degrees: degrees of freedom, 1 or more.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0 < outside < 1 or degrees < 1:
        raise ValueError(f"expected 0 < outside < 1, degrees >= 1; given {outside}, {degrees}")
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _outside(middle, degrees) > outside else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _outside(angle: float, degrees: int) -> float:
    """Probability of |t| > sqrt(degrees)·tan(angle): Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(_ODD_START if odd else _EVEN_START, degrees, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 1 - inside
