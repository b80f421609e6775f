"""Activations."""

from __future__ import annotations

from typing import Literal

import numpy as np

from runtimes.mil.ops.error_function import error_function
from runtimes.mil.values import Array

_ROOT_HALF = np.float32(np.sqrt(0.5))
_GELU_SLOPE = np.float32(np.sqrt(2 / np.pi))

GeluMode = Literal["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"]


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    """Min(max(x, 0), 6)."""
    return np.clip(x, 0, 6)


def leaky_relu(x: Array, alpha: Array) -> Array:
    """X, below 0 alpha · x."""
    return np.where(x < 0, alpha * x, x)


def prelu(x: Array, alpha: Array) -> Array:
    """X, below 0 alpha · x with one alpha for each channel (axis 1)."""
    return leaky_relu(x, alpha.reshape(-1, *[1] * (x.ndim - 2)))


def elu(x: Array, alpha: Array) -> Array:
    """X, below 0 alpha · (e^x - 1)."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def gelu(x: Array, mode: GeluMode = "EXACT") -> Array:
    """X times the share of a standard normal distribution below x, or an approximation of it."""
    if mode == "EXACT":
        return x * (0.5 * (1 + error_function(x * _ROOT_HALF)))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(_GELU_SLOPE * (x + 0.044715 * x * x * x)))
    return x * sigmoid(1.702 * x)


def linear_activation(x: Array, alpha: Array, beta: Array) -> Array:
    """Alpha · x + beta."""
    return alpha * x + beta


def scaled_tanh(x: Array, alpha: Array, beta: Array) -> Array:
    """Alpha · tanh(beta · x)."""
    return alpha * np.tanh(beta * x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    return np.reciprocal(1 + np.exp(-x))


def sigmoid_hard(x: Array, alpha: Array, beta: Array) -> Array:
    """Alpha · x + beta, kept within [0, 1]."""
    return np.clip(alpha * x + beta, 0, 1)


def silu(x: Array) -> Array:
    """X · sigmoid(x)."""
    total = np.negative(x)
    np.exp(total, out=total)
    total += 1
    return np.divide(x, total, out=total)


def softplus(x: Array) -> Array:
    """ln(1 + e^x)."""
    return np.logaddexp(x, np.zeros((), x.dtype))


def softsign(x: Array) -> Array:
    """X / (1 + |x|)."""
    return x / (1 + np.abs(x))


def softmax(x: Array, axis: Array | int = -1) -> Array:
    """e^x over the sum of e^x along an axis."""
    result = x - x.max(int(axis), keepdims=True)
    np.exp(result, out=result)
    result /= result.sum(int(axis), keepdims=True)
    return result
