"""The Gauss error function of arrays, which NumPy lacks.

Cubic Hermite interpolation between values and slopes at steps of 1/64: it is off by less than
h⁴ / 384 · max|erf⁗| < 1e-9, so that float32's own rounding decides.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from runtimes.mil.values import Array

_STEPS_PER_UNIT = 64
_END = 4.0
"""From here on erf is 1 in float32: erf(4) = 1 - 1.5e-8."""
_CHUNK = 1 << 14


def error_function(x: Array) -> Array:
    """erf(x) of float32 numbers."""
    flat = np.ascontiguousarray(x, np.float32).reshape(-1)
    result = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):  # the temporaries stay in the cache
        part = slice(start, start + _CHUNK)
        np.copysign(_of_magnitudes(np.abs(flat[part])), flat[part], out=result[part])
    return result.reshape(x.shape)


def _of_magnitudes(magnitude: Array) -> Array:
    # A NaN is no index: `fmin` passes it over here, `minimum` keeps it in the fraction.
    cell = (np.fmin(magnitude, np.float32(_END)) * np.float32(_STEPS_PER_UNIT)).astype(np.intp)
    fraction = np.minimum(magnitude, np.float32(_END)) * np.float32(_STEPS_PER_UNIT)
    fraction -= cell
    constant, *rest = _coefficients()
    total = np.zeros_like(fraction)
    for table in reversed(rest):
        total += table.take(cell)
        total *= fraction
    total += constant.take(cell)
    return total


@cache
def _coefficients() -> tuple[Array, Array, Array, Array]:
    """Those of each cell's cubic, in the fraction of the cell."""
    nodes = [step / _STEPS_PER_UNIT for step in range(int(_END * _STEPS_PER_UNIT) + 2)]
    values = np.array([math.erf(node) for node in nodes])
    slopes = np.array([2 / math.sqrt(math.pi) * math.exp(-node * node) for node in nodes])
    slopes /= _STEPS_PER_UNIT
    rise, left, right = np.diff(values), slopes[:-1], slopes[1:]
    square, cube = 3 * rise - 2 * left - right, left + right - 2 * rise
    return (
        values[:-1].astype(np.float32),
        left.astype(np.float32),
        square.astype(np.float32),
        cube.astype(np.float32),
    )
