"""Shapes and types of all values of a graph, with named axes, without reading a weight.

ONNX's own inference runs node by node, so that no 2 GiB protobuf is built; it loses what shapes
hold once a shape is computed in the graph (`Shape` → `Concat` → `Reshape`). Such values are
followed here: an integer tensor of rank 0 or 1 is known as a list of sizes, names and unknowns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from exporter.passes.constants import array_of

Size = int | str | None
"""A size, the name of an axis, or unknown."""

Sizes = tuple[Size, ...]

_MAX_DATA = 64
_SAME_AS_INPUT = frozenset({("", "GroupNormalization"), ("com.microsoft", "MultiHeadAttention")})
"""Operators that ONNX can't infer node by node, or doesn't know; their output is as their input."""


def infer_shapes(model: ir.Model) -> dict[ir.Value, Sizes]:
    """Infers shapes and types from the graph's inputs and initializers, in place.

    A graph output keeps a declared axis name where the inference finds no size.

    Returns:
        What is known of integer tensors of rank 0 and 1: their elements.
    """
    data: dict[ir.Value, Sizes] = {}
    declared = {value: sizes_of(value) for value in model.graph.outputs}
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
        _infer(node, model.graph.opset_imports, data)
    for value, names in declared.items():
        found = sizes_of(value)
        if names is not None:
            merged = names if found is None else map(_known, found, names)
            value.shape = ir.Shape(list(merged))
    return data


def sizes_of(value: ir.Value | None) -> Sizes | None:
    """A value's shape; None where not even its rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else size.value for size in value.shape)


def data_of(value: ir.Value | None, data: dict[ir.Value, Sizes]) -> Sizes | None:
    """The elements of an integer tensor of rank 0 or 1, as far as they are known."""
    if value is None:
        return None
    if value in data:
        return data[value]
    array = array_of(value)
    if array is None or array.ndim > 1 or array.dtype.kind != "i" or array.size > _MAX_DATA:
        return None
    return tuple(int(item) for item in array.ravel())


def _known(found: Size, declared: Size) -> Size:
    return declared if found is None else found


def _infer(node: ir.Node, opsets: dict[str, int], data: dict[ir.Value, Sizes]) -> None:
    if (node.domain, node.op_type) in _SAME_AS_INPUT:
        _copy_type(node)
        return
    _infer_by_onnx(node, opsets)
    if node.domain != "":
        return
    if node.op_type in _SHAPE_RULES:
        found = _SHAPE_RULES[node.op_type](node, data)
        if found is not None:
            node.outputs[0].shape = ir.Shape(list(found))
    if node.op_type in _DATA_RULES:
        elements = _DATA_RULES[node.op_type](node, data)
        if elements is not None:
            data[node.outputs[0]] = elements


def _copy_type(node: ir.Node) -> None:
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None
    # Not the same type object: setting a value's dtype would then set the other's.
    output.type = None if source.dtype is None else ir.TensorType(source.dtype)
    output.shape = source.shape


def _infer_by_onnx(node: ir.Node, opsets: dict[str, int]) -> None:
    inputs = [value for value in node.inputs if value is not None]
    if node.domain not in opsets or any(value.type is None for value in inputs):
        return
    types = {str(value.name): _type_proto(value) for value in inputs}
    constants = {str(v.name): proto for v in inputs if (proto := _data_proto(v)) is not None}
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        found = onnx.shape_inference.infer_node_outputs(
            schema,
            ir.to_proto(node),
            types,
            constants,
            opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in opsets.items()],
            ir_version=10,
        )
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, RuntimeError):
        return
    for output in node.outputs:
        if output.name in found:
            proto = found[output.name]
            output.type = ir.serde.deserialize_type_proto_for_type(proto)
            output.shape = ir.serde.deserialize_type_proto_for_shape(proto)


def _type_proto(value: ir.Value) -> onnx.TypeProto:
    assert value.type is not None
    proto = ir.serde.serialize_type(value.type)
    if value.shape is not None:
        ir.serde.serialize_shape_into(proto, value.shape)
    return proto


def _data_proto(value: ir.Value) -> onnx.TensorProto | None:
    array = array_of(value)
    if array is None or array.size > _MAX_DATA:
        return None
    return onnx.numpy_helper.from_array(np.asarray(array), value.name)


def _reshape(node: ir.Node, data: dict[ir.Value, Sizes]) -> Sizes | None:
    source, target = sizes_of(node.inputs[0]), data_of(node.inputs[1], data)
    if target is None:
        return None
    copies = not node.attributes.get_int("allowzero", 0)
    sizes = list(target)
    for axis, size in enumerate(target):
        if size == 0 and copies:
            sizes[axis] = None if source is None else source[axis]
    if -1 in sizes:
        sizes[sizes.index(-1)] = _remaining(source, [size for size in sizes if size != -1])
    return tuple(sizes)


def _remaining(source: Sizes | None, others: list[Size]) -> Size:
    """What -1 stands for: the product of the input's sizes over that of the other sizes."""
    if source is None:
        return None
    left = list(source)
    for name in [size for size in others if isinstance(size, str)]:
        if name in left:
            left.remove(name)
            others.remove(name)
    open_sizes = [size for size in left if not isinstance(size, int)]
    product = math.prod(size for size in left if isinstance(size, int))
    divisor = math.prod(size for size in others if isinstance(size, int))
    if divisor == 0 or not all(isinstance(size, int) for size in others):
        return None
    if not open_sizes:
        return product // divisor
    return open_sizes[0] if len(open_sizes) == 1 and product == divisor else None


def _expand(node: ir.Node, data: dict[ir.Value, Sizes]) -> Sizes | None:
    source, target = sizes_of(node.inputs[0]), data_of(node.inputs[1], data)
    if source is None or target is None:
        return None
    rank = max(len(source), len(target))
    old = (1,) * (rank - len(source)) + source
    new = (1,) * (rank - len(target)) + target
    return tuple(_broadcast(a, b) for a, b in zip(old, new, strict=True))


def _broadcast(first: Size, second: Size) -> Size:
    if first == second or second == 1:
        return first
    return second if first == 1 else None


def _resize(node: ir.Node, data: dict[ir.Value, Sizes]) -> Sizes | None:
    return data_of(node.inputs[3], data) if len(node.inputs) > 3 else None


def _shape_data(node: ir.Node, data: dict[ir.Value, Sizes]) -> Sizes | None:
    del data
    sizes = sizes_of(node.inputs[0])
    if sizes is None:
        return None
    end = node.attributes.get_int("end", len(sizes))
    return sizes[node.attributes.get_int("start", 0) : end]


def _first_data(node: ir.Node, data: dict[ir.Value, Sizes]) -> Sizes | None:
    return data_of(node.inputs[0], data)


def _concat_data(node: ir.Node, data: dict[ir.Value, Sizes]) -> Sizes | None:
    elements: list[Size] = []
    for value in node.inputs:
        part = _elements(value, data)
        if part is None:
            return None
        elements.extend(part)
    return tuple(elements)


def _elements(value: ir.Value | None, data: dict[ir.Value, Sizes]) -> Sizes | None:
    """Elements of a part of a shape; unknown ones where only their number is known."""
    known = data_of(value, data)
    sizes = sizes_of(value)
    if known is not None or value is None or value.dtype != ir.DataType.INT64 or sizes is None:
        return known
    return (None,) * sizes[0] if len(sizes) == 1 and isinstance(sizes[0], int) else None


def _product_data(node: ir.Node, data: dict[ir.Value, Sizes]) -> Sizes | None:
    first, second = (data_of(value, data) for value in node.inputs)
    if first is None or second is None or len(first) != 1 or len(second) != 1:
        return None
    (a,), (b,) = first, second
    if isinstance(a, int) and isinstance(b, int):
        return (a * b,)
    return (None if a is None or b is None else f"{a}*{b}",)


_Rule = Callable[[ir.Node, dict[ir.Value, Sizes]], Sizes | None]

_SHAPE_RULES: dict[str, _Rule] = {"Reshape": _reshape, "Expand": _expand, "Resize": _resize}
"""Operators whose output's shape is an input's value."""

_DATA_RULES: dict[str, _Rule] = {
    "Shape": _shape_data,
    "Concat": _concat_data,
    "Mul": _product_data,
    "Squeeze": _first_data,
    "Unsqueeze": _first_data,
    "Reshape": _first_data,
    "Cast": _first_data,
    "Identity": _first_data,
}
"""Operators by which captured graphs compute with sizes."""
