"""Running sums and sorting."""

from __future__ import annotations

import numpy as np

from runtimes.mil.values import Array


def cumsum(
    x: Array,
    axis: Array | int = 0,
    exclusive: Array | bool = False,
    reverse: Array | bool = False,
) -> Array:
    """Sums of all up to each element, without itself if exclusive; from the end if reversed."""
    place = int(axis)
    turned = np.flip(x, place) if reverse else x
    total = np.cumsum(turned, place, dtype=x.dtype)
    if exclusive:
        total = total - turned
    return np.flip(total, place) if reverse else total


def argsort(x: Array, axis: Array | int = -1, ascending: Array | bool = False) -> Array:
    """The places of the elements along an axis, from the greatest to the least or back."""
    place = int(axis)
    if ascending:
        return np.argsort(x, place, kind="stable")
    # Of equal ones the first comes first in this order too.
    turned = np.argsort(np.flip(x, place), place, kind="stable")
    return np.flip(x.shape[place] - 1 - turned, place)


def topk(
    x: Array,
    k: Array | int = 1,
    axis: Array | int = -1,
    ascending: Array | bool = False,
    sort: Array | bool = True,
    return_indices: Array | bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Array, ...]:
    """The k greatest (or least) along an axis, and their places; all for k = -1."""
    del sort, output_indices_dtype  # sorted is one of the allowed orders; the output's type says it
    place = int(axis) % x.ndim
    count = x.shape[place] if int(k) == -1 else int(k)
    indices = argsort(x, place, ascending)[(*[slice(None)] * place, slice(count))]
    values = np.take_along_axis(x, indices, place)
    return (values, indices) if return_indices else (values,)
