"""Casts and choices."""

from __future__ import annotations

from typing import Literal

import numpy as np

from runtimes.mil.values import BY_NAME, Array


def cast(
    x: Array,
    dtype: Literal["bool", "fp16", "fp32", "int8", "int16", "int32", "uint8", "uint16"],
) -> Array:
    """X in another type; of floats the whole part, where it is one of integers."""
    return x.astype(BY_NAME[dtype].held, copy=False)


def select(cond: Array, a: Array, b: Array) -> Array:
    """A where the condition is true, b elsewhere."""
    return np.where(cond, a, b)
