"""Compressed weights in a MIL program: the `constexpr_…` operators of its deployment target."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from exporter.coreml.compress.linear import Affine, Blockwise
from exporter.coreml.compress.palette import Palette
from exporter.coreml.compress.tensor import Compressed
from exporter.coreml.targets import Deployment, check_target

_BLOCKWISE_SINCE = check_target("iOS18")
"""iOS 18 has an operator for both of its forms, and coremltools uses no older one for it."""


def emit(name: str, compressed: Compressed, deployment: Deployment) -> Any:
    """Adds the operator that stands for a compressed weight to the function that is being built.

    Args:
        name: of the operator, as MIL allows it: letters, digits and underscores.
        compressed: the weight.
        deployment: that its scheme was checked for.

    Returns:
        coremltools' `Var`, of the weight's shape and of the dtype of its tables or scales.
    """
    from coremltools.converters.mil import Builder

    return _emit(compressed, Builder, name, deployment >= _BLOCKWISE_SINCE)


def emit_rounded(name: str, read: Any, scale: float) -> Any:
    """Adds what rounds a layer's input to int8 and back: `quantize` and `dequantize` of iOS 17.

    Args:
        name: of the second operator; the first has "_quantize" behind it.
        read: coremltools' `Var` of the input, float16 or float32.
        scale: of the int8, from `Activations`.

    Returns:
        coremltools' `Var` of the input's shape and dtype.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import types

    own: Any = Builder
    stored = np.array(scale, types.nptype_from_builtin(read.dtype))[()]
    quantized = own.quantize(input=read, scale=stored, output_dtype="int8", name=f"{name}_quantize")
    return own.dequantize(input=quantized, scale=stored, name=name)


@singledispatch
def _emit(compressed: object, mb: Any, name: str, blockwise: bool) -> Any:
    raise AssertionError(type(compressed))


@_emit.register
def _(compressed: Palette, mb: Any, name: str, blockwise: bool) -> Any:
    if blockwise:
        indices = _of_bits(compressed.indices, f"uint{compressed.bits}")
        return mb.constexpr_lut_to_dense(indices=indices, lut=compressed.lut(), name=name)
    assert len(compressed.tables) == 1, name
    return mb.constexpr_lut_to_dense(
        indices=compressed.packed(),
        lut=compressed.tables[0],
        shape=np.array(compressed.indices.shape, np.uint32),
        name=name,
    )


@_emit.register
def _(compressed: Affine, mb: Any, name: str, blockwise: bool) -> Any:
    if blockwise:
        scale = compressed.blockwise_scale()
        return mb.constexpr_blockwise_shift_scale(data=compressed.data, scale=scale, name=name)
    return mb.constexpr_affine_dequantize(
        quantized_data=compressed.data,
        zero_point=np.int8(0),
        scale=compressed.scale,
        axis=np.int32(0),
        name=name,
    )


@_emit.register
def _(compressed: Blockwise, mb: Any, name: str, blockwise: bool) -> Any:
    assert blockwise, name
    data = _of_bits(compressed.data, "int4")
    return mb.constexpr_blockwise_shift_scale(data=data, scale=compressed.scale, name=name)


def _of_bits(values: Any, type_name: str) -> Any:
    """The same array in the dtype by which coremltools knows that a byte holds fewer bits."""
    from coremltools.converters.mil.mil import types

    return values.view(types.nptype_from_builtin(types.string_to_builtin(type_name)))
