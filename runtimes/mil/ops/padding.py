"""Padding."""

from __future__ import annotations

from typing import Literal

import numpy as np

from runtimes.mil.values import Array


def pad(
    x: Array,
    pad: Array,
    mode: Literal["constant", "reflect", "replicate"] = "constant",
    constant_val: Array | float = 0.0,
) -> Array:
    """X with its last axes padded; `pad` has before and after for one axis behind the other."""
    given = [int(one) for one in pad]
    amounts = list(zip(given[::2], given[1::2], strict=True))
    amounts = [(0, 0)] * (x.ndim - len(amounts)) + amounts
    if mode == "constant":
        return np.pad(x, amounts, constant_values=np.asarray(constant_val, x.dtype))
    return np.pad(x, amounts, "reflect" if mode == "reflect" else "edge")
