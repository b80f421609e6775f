"""Operations on two tensors element by element, with broadcasting."""

from __future__ import annotations

import numpy as np

from runtimes.mil.values import Array


def add(x: Array, y: Array) -> Array:
    """X + y."""
    return np.add(x, y)


def sub(x: Array, y: Array) -> Array:
    """X - y."""
    return np.subtract(x, y)


def mul(x: Array, y: Array) -> Array:
    """X · y."""
    return np.multiply(x, y)


def real_div(x: Array, y: Array) -> Array:
    """X / y; of integers the quotient rounded towards zero."""
    if x.dtype.kind == "f":
        return np.divide(x, y)
    return np.trunc(np.divide(x, y)).astype(x.dtype)


def floor_div(x: Array, y: Array) -> Array:
    """X / y, rounded down."""
    return np.floor_divide(x, y)


def mod(x: Array, y: Array) -> Array:
    """What `floor_div` leaves; it has the sign of y."""
    return np.mod(x, y)


def pow(x: Array, y: Array) -> Array:
    """X to the power of y."""
    return np.power(x, y)


def maximum(x: Array, y: Array) -> Array:
    """The greater one."""
    return np.maximum(x, y)


def minimum(x: Array, y: Array) -> Array:
    """The lesser one."""
    return np.minimum(x, y)


def equal(x: Array, y: Array) -> Array:
    """X = y."""
    return np.equal(x, y)


def not_equal(x: Array, y: Array) -> Array:
    """X ≠ y."""
    return np.not_equal(x, y)


def greater(x: Array, y: Array) -> Array:
    """X > y."""
    return np.greater(x, y)


def greater_equal(x: Array, y: Array) -> Array:
    """X ≥ y."""
    return np.greater_equal(x, y)


def less(x: Array, y: Array) -> Array:
    """X < y."""
    return np.less(x, y)


def less_equal(x: Array, y: Array) -> Array:
    """X ≤ y."""
    return np.less_equal(x, y)


def logical_and(x: Array, y: Array) -> Array:
    """Both."""
    return np.logical_and(x, y)


def logical_or(x: Array, y: Array) -> Array:
    """At least one."""
    return np.logical_or(x, y)


def logical_xor(x: Array, y: Array) -> Array:
    """One alone."""
    return np.logical_xor(x, y)
