"""Products of matrices."""

from __future__ import annotations

import numpy as np

from runtimes.mil.values import Array


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """X · weightᵀ + bias, of [*, i], [o, i] and [o]."""
    result = np.matmul(x.reshape(-1, x.shape[-1]), weight.T)
    if bias is not None:
        result += bias
    return result.reshape(*x.shape[:-1], -1)


def matmul(
    x: Array,
    y: Array,
    transpose_x: Array | bool = False,
    transpose_y: Array | bool = False,
) -> Array:
    """The products of the matrices in the last two axes; the others are broadcast."""
    left = x.swapaxes(-1, -2) if transpose_x and x.ndim > 1 else x
    right = y.swapaxes(-1, -2) if transpose_y and y.ndim > 1 else y
    return np.matmul(left, right)


def einsum(values: tuple[Array, ...], equation: str) -> Array:
    """Sums products over the letters that the equation leaves out of its result."""
    terms, _, wanted = equation.replace(" ", "").partition("->")
    names = terms.split(",")
    if len(names) != 2 or any(len(set(term)) != len(term) for term in (*names, wanted)):
        return np.einsum(equation, *values)
    left, right = names
    both = [name for name in left if name in right]
    batch = [name for name in both if name in wanted]
    summed = [name for name in both if name not in wanted]
    rows, columns = ([n for n in term if n not in both] for term in names)
    if not set(rows + columns) <= set(wanted):
        return np.einsum(equation, *values)
    # NumPy's own einsum doesn't hand products with batches to BLAS.
    x = _arranged(values[0], left, batch, rows, summed)
    y = _arranged(values[1], right, batch, summed, columns)
    sizes = _sizes(values, names)
    product = np.matmul(x, y)
    shape = [*product.shape[:-2], *(sizes[name] for name in rows + columns)]
    return product.reshape(shape).transpose([(batch + rows + columns).index(n) for n in wanted])


def _arranged(x: Array, names: str, batch: list[str], first: list[str], second: list[str]) -> Array:
    """X as [*batch, first, second]."""
    order = [names.index(name) for name in batch + first + second]
    turned = x.transpose(order)
    split = len(batch) + len(first)
    rows = int(np.prod(turned.shape[len(batch) : split]))
    return turned.reshape(*turned.shape[: len(batch)], rows, int(np.prod(turned.shape[split:])))


def _sizes(values: tuple[Array, ...], names: list[str]) -> dict[str, int]:
    return {
        name: size
        for value, term in zip(values, names, strict=True)
        for name, size in zip(term, value.shape, strict=True)
    }
