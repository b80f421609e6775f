"""Operations on one tensor element by element.

`epsilon` is added to x before the function; its default is that of the operation sets.
"""

from __future__ import annotations

import numpy as np

from runtimes.mil.ops.error_function import error_function
from runtimes.mil.values import Array


def abs(x: Array) -> Array:
    """|x|."""
    return np.abs(x)


def acos(x: Array) -> Array:
    """Inverse cosine."""
    return np.arccos(x)


def asin(x: Array) -> Array:
    """Inverse sine."""
    return np.arcsin(x)


def atan(x: Array) -> Array:
    """Inverse tangent."""
    return np.arctan(x)


def ceil(x: Array) -> Array:
    """Rounded up."""
    return np.ceil(x)


def clip(x: Array, alpha: Array, beta: Array) -> Array:
    """Kept within [alpha, beta]."""
    return np.minimum(np.maximum(x, alpha), beta)


def cos(x: Array) -> Array:
    """Cosine."""
    return np.cos(x)


def cosh(x: Array) -> Array:
    """Hyperbolic cosine."""
    return np.cosh(x)


def erf(x: Array) -> Array:
    """The Gauss error function."""
    return error_function(x)


def exp(x: Array) -> Array:
    """E to the power of x."""
    return np.exp(x)


def exp2(x: Array) -> Array:
    """2 to the power of x."""
    return np.exp2(x)


def floor(x: Array) -> Array:
    """Rounded down."""
    return np.floor(x)


def inverse(x: Array, epsilon: Array | float = 1e-4) -> Array:
    """1 / (x + epsilon)."""
    return np.reciprocal(x + epsilon)


def log(x: Array, epsilon: Array | float = 1e-45) -> Array:
    """The natural logarithm of x + epsilon."""
    return np.log(x + epsilon)


def logical_not(x: Array) -> Array:
    """Not x."""
    return np.logical_not(x)


def round(x: Array) -> Array:
    """Rounded to the nearest whole number, halves to the even one."""
    return np.round(x)


def rsqrt(x: Array, epsilon: Array | float = 1e-12) -> Array:
    """1 / sqrt(x + epsilon)."""
    return np.reciprocal(np.sqrt(x + epsilon))


def sign(x: Array) -> Array:
    """-1, 0 or 1."""
    return np.sign(x)


def sin(x: Array) -> Array:
    """Sine."""
    return np.sin(x)


def sinh(x: Array) -> Array:
    """Hyperbolic sine."""
    return np.sinh(x)


def sqrt(x: Array) -> Array:
    """Square root."""
    return np.sqrt(x)


def square(x: Array) -> Array:
    """x²."""
    return np.square(x)


def tan(x: Array) -> Array:
    """Tangent."""
    return np.tan(x)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(x)


def threshold(x: Array, alpha: Array) -> Array:
    """Kept from falling below alpha."""
    return np.maximum(x, alpha)
