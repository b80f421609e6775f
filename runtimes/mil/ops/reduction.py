"""Reductions over some axes, all where none are given."""

from __future__ import annotations

import numpy as np

from runtimes.mil.values import Array

Axes = Array | None
Flag = Array | bool


def reduce_sum(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """Σ x."""
    return np.asarray(x.sum(_axes(axes), keepdims=bool(keep_dims)))


def reduce_mean(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """The mean."""
    return np.asarray(x.mean(_axes(axes), keepdims=bool(keep_dims)))


def reduce_max(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """The greatest."""
    return np.asarray(x.max(_axes(axes), keepdims=bool(keep_dims)))


def reduce_min(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """The least."""
    return np.asarray(x.min(_axes(axes), keepdims=bool(keep_dims)))


def reduce_prod(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """The product."""
    return np.asarray(x.prod(_axes(axes), keepdims=bool(keep_dims)))


def reduce_sum_square(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """Σ x²."""
    return reduce_sum(np.square(x), axes, keep_dims)


def reduce_l1_norm(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """Σ |x|."""
    return reduce_sum(np.abs(x), axes, keep_dims)


def reduce_l2_norm(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """√ Σ x²."""
    return np.sqrt(reduce_sum_square(x, axes, keep_dims))


def reduce_log_sum(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """Ln Σ x."""
    return np.log(reduce_sum(x, axes, keep_dims))


def reduce_log_sum_exp(x: Array, axes: Axes = None, keep_dims: Flag = False) -> Array:
    """Ln Σ e^x, without an overflow on the way."""
    greatest = reduce_max(x, axes, keep_dims=True)
    total = np.log(reduce_sum(np.exp(x - greatest), axes, keep_dims=True)) + greatest
    return total if keep_dims else np.squeeze(total, _axes(axes))


def reduce_argmax(
    x: Array, axis: Array | int = -1, keep_dims: Flag = False, output_dtype: str = "int32"
) -> Array:
    """Where along an axis the greatest is; of equal ones the first."""
    del output_dtype  # the output's own type says it
    return np.argmax(x, int(axis), keepdims=bool(keep_dims))


def reduce_argmin(
    x: Array, axis: Array | int = -1, keep_dims: Flag = False, output_dtype: str = "int32"
) -> Array:
    """Where along an axis the least is; of equal ones the first."""
    del output_dtype  # the output's own type says it
    return np.argmin(x, int(axis), keepdims=bool(keep_dims))


def _axes(axes: Axes) -> tuple[int, ...] | None:
    return None if axes is None else tuple(int(axis) for axis in axes)
