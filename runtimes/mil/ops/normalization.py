"""Normalisation. The default epsilons are those of the operation sets."""

from __future__ import annotations

import math

import numpy as np

from runtimes.mil.values import Array


def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """[n, c, *sizes] with a given mean and variance by channel."""
    scale = np.reciprocal(np.sqrt(variance + np.float32(epsilon)))
    scale = scale if gamma is None else scale * gamma
    shift = -mean * scale if beta is None else beta - mean * scale
    by_channel = (-1, *[1] * (x.ndim - 2))
    return x * scale.reshape(by_channel) + shift.reshape(by_channel)


def instance_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """[n, c, *sizes] to mean 0 and variance 1 over the sizes."""
    result = _standardise(x, tuple(range(2, x.ndim)), epsilon)
    return _affine(result, gamma, beta, [x.shape[1], *[1] * (x.ndim - 2)])


def layer_norm(
    x: Array,
    axes: Array | None = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """To mean 0 and variance 1 over some axes, all where none are given."""
    over = range(x.ndim) if axes is None else sorted(int(axis) % x.ndim for axis in axes)
    shape = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    return _affine(_standardise(x, tuple(over), epsilon), gamma, beta, shape)


def l2_norm(x: Array, epsilon: Array | float = 1e-6) -> Array:
    """Over the root of the sum of squares over the last three axes."""
    total = np.square(x).sum((-3, -2, -1), keepdims=True) + np.float32(epsilon)
    return x / np.sqrt(total)


def _standardise(x: Array, axes: tuple[int, ...], epsilon: Array | float) -> Array:
    result = x - x.mean(axes, keepdims=True)
    count = math.prod(x.shape[axis] for axis in axes)
    variance = np.square(result).sum(axes, keepdims=True) / np.float32(count)
    result *= np.reciprocal(np.sqrt(variance + np.float32(epsilon)))
    return result


def _affine(x: Array, gamma: Array | None, beta: Array | None, shape: list[int]) -> Array:
    if gamma is not None:
        x *= gamma.reshape(shape)
    if beta is not None:
        x += beta.reshape(shape)
    return x
