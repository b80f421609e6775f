"""Binds a captured graph to a weight file: the portable form of a component."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from exporter.weights import layout

GRAPH_NAME = "model.onnx"
WEIGHTS_NAME = "model.safetensors"

Entries = Mapping[str, tuple[str, tuple[int, ...]]]
"""Diffusers key → safetensors dtype and shape."""

_ONNX_DTYPE = {
    "F32": ir.DataType.FLOAT,
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
}


def weight_keys(model: ir.Model) -> list[str]:
    """The initializers that have no value yet: the weights to be bound."""
    initializers = model.graph.initializers
    return [name for name, value in initializers.items() if value.const_value is None]


def bind(model: ir.Model, entries: Entries, file_name: str = WEIGHTS_NAME) -> None:
    """Points the weights of a captured graph into a canonical safetensors file, in place.

    A weight that isn't stored in float32 gets a Cast behind it, so that it stays as it is on disk
    and the graph computes in float32.

    Args:
        model: a captured graph.
        entries: all tensors of the file, which `exporter.weights.layout` places.
        file_name: the file, in the graph's own folder.
    """
    _, offsets = layout(entries)
    for key in weight_keys(model):
        dtype, shape = entries[key]
        value = model.graph.initializers[key]
        tensor = ir.ExternalTensor(
            file_name,
            offsets[key],
            _size_bytes(dtype, shape),
            _ONNX_DTYPE[dtype],
            shape=ir.Shape(shape),
            name=key,
        )
        if dtype != "F32":
            _cast_behind(model, value)
        value.const_value = tensor
        value.dtype = tensor.dtype
        value.shape = ir.Shape(shape)


def unbind(model: ir.Model) -> None:
    """Undoes `bind`, in place: weights lose their values and the Casts behind them."""
    for value in model.graph.initializers.values():
        if not isinstance(value.const_value, ir.ExternalTensor):
            continue
        value.const_value = None
        if value.dtype == ir.DataType.FLOAT:
            continue
        value.dtype = ir.DataType.FLOAT
        (cast,) = (user.node for user in value.uses())
        cast.outputs[0].replace_all_uses_with(value)
        model.graph.remove(cast, safe=True)


def save(model: ir.Model, path: Path) -> None:
    """Writes a graph; weights stay where they are bound to."""
    ir.save(model, path)


def _cast_behind(model: ir.Model, weight: ir.Value) -> None:
    assert weight.name is not None
    node = ir.node("Cast", [weight], {"to": ir.DataType.FLOAT}, name=f"{weight.name}/Cast")
    widened = node.outputs[0]
    widened.name = f"{weight.name}/float32"
    widened.dtype = ir.DataType.FLOAT
    widened.shape = weight.shape
    for user, index in list(weight.uses()):
        if user is not node:
            user.replace_input_with(index, widened)
    model.graph.insert_before(model.graph[0], node)


def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count * (4 if dtype == "F32" else 2)
