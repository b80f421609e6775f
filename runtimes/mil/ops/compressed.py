"""Compressed constants, `constexpr_…`: how they are made dense.

Those of iOS 16 hold packed bytes and a shape, those of iOS 18 tensors of small integers. They take
their constants in the stored dtype, and give the dtype of the table, the scale or the data.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from runtimes.mil.ops.quantization import dequantize
from runtimes.mil.packed_bits import unpack_bits
from runtimes.mil.values import Array


def constexpr_affine_dequantize(
    quantized_data: Array, zero_point: Array, scale: Array, axis: Array
) -> Array:
    """Scale · (data - zero point), each one number or one for each place along an axis."""
    return dequantize(quantized_data, scale, zero_point, axis)


def constexpr_blockwise_shift_scale(
    data: Array, scale: Array, offset: Array | None = None
) -> Array:
    """Scale · (data - offset), with one scale for each block of as many as divides the data."""
    levels = data.astype(np.float32)
    if offset is not None:
        levels -= _by_block(offset, data.shape)
    levels *= _by_block(scale, data.shape)
    return levels


def constexpr_cast(source_val: Array, output_dtype: Literal["fp32"]) -> Array:
    """Half precision → single."""
    del output_dtype
    return source_val.astype(np.float32)


def constexpr_lut_to_dense(
    indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None
) -> Array:
    """The table's entries at the indices.

    With a shape (iOS 16) the indices are packed and the table has one dimension. Without (iOS 18)
    the table is [*groups, entries, vector]: one for each block of indices; of an entry of several
    numbers, those go along `vector_axis`.
    """
    if shape is not None:
        bits = int(math.log2(lut.size))
        return lut[unpack_bits(indices, bits, int(np.prod(shape)))].reshape(shape)
    found = np.empty((*indices.shape, lut.shape[-1]), lut.dtype)
    blocks = [size // count for size, count in zip(indices.shape, lut.shape[:-2], strict=True)]
    for group in np.ndindex(lut.shape[:-2]):
        place = tuple(
            slice(g * size, (g + 1) * size) for g, size in zip(group, blocks, strict=True)
        )
        found[place] = lut[group][indices[place]]
    if vector_axis is None:
        return found[..., 0]
    return _unrolled(found, int(vector_axis) % indices.ndim)


def constexpr_lut_to_sparse(
    indices_mask: Array,
    indices_nonzero_data: Array,
    lut: Array,
    vector_axis: Array | None = None,
) -> tuple[Array, Array]:
    """The mask of what isn't zero, and the table's entries there."""
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    dense = constexpr_lut_to_dense(indices, lut, vector_axis=vector_axis)
    mask = indices_mask
    if vector_axis is not None:
        mask = np.repeat(indices_mask, lut.shape[-1], int(vector_axis))
    return mask, dense[mask != 0]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """The mask of what isn't zero, and what is there, scaled as a dense tensor would be."""
    dense = constexpr_sparse_to_dense(nonzero_data, data_mask)
    return data_mask, constexpr_blockwise_shift_scale(dense, scale, offset)[data_mask != 0]


def constexpr_sparse_to_dense(
    nonzero_data: Array, mask: Array, shape: Array | None = None
) -> Array:
    """Zeros, but for what the mask marks; with a shape (iOS 16) the mask is packed."""
    if shape is not None:
        mask = unpack_bits(mask, 1, int(np.prod(shape))).reshape(shape)
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


def _by_block(values: Array, shape: tuple[int, ...]) -> Array:
    """Float32, repeated along the axes that have a block of more than one and fewer than all."""
    found = values.astype(np.float32)
    for axis, size in enumerate(shape):
        if 1 < found.shape[axis] < size:
            found = np.repeat(found, size // found.shape[axis], axis)
    return found


def _unrolled(found: Array, axis: int) -> Array:
    """[*sizes, vector] with the vectors along an axis."""
    sizes = list(found.shape[:-1])
    sizes[axis] *= found.shape[-1]
    return np.moveaxis(found, -1, axis + 1).reshape(sizes)
