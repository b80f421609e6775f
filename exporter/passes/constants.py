"""Weights and constants: the two kinds of initializer, and the one kind that a pass may touch.

A weight is an initializer that the capture gave: it carries a Diffusers key, has no value or points
into a file, and no pass renames, merges, folds or reads it. A constant is small, has its value in
the graph and is named by its content (`constant.int64[3].0_-1_320`), so equal ones are one.
"""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

PREFIX = "constant."
_READABLE = 8
"""Constants of up to so many elements show their values in their name."""

Array = NDArray[np.generic]


def is_weight(value: ir.Value | None) -> bool:
    """Whether a value is an initializer that the capture gave."""
    if value is None or not value.is_initializer():
        return False
    return value.name is None or not value.name.startswith(PREFIX)


def weight_names(graph: ir.Graph) -> frozenset[str]:
    """Names of the weights: all initializers but the constants."""
    return frozenset(name for name in graph.initializers if not name.startswith(PREFIX))


def constant(graph: ir.Graph, array: Array) -> ir.Value:
    """The graph's constant of this value, made where there is none yet."""
    name = _content_name(array)
    if name not in graph.initializers:
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), const_value=tensor)
        value.shape = ir.Shape(array.shape)
        graph.register_initializer(value)
    return graph.initializers[name]


def array_of(value: ir.Value | None) -> Array | None:
    """The value of a constant or of a Constant node; None for weights and for all else."""
    if value is None or is_weight(value):
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def lift_constants(graph: ir.Graph, weights: frozenset[str]) -> None:
    """Makes constants of Constant nodes and of initializers that aren't weights, in place."""
    for node in list(graph):
        if node.op_type == "Constant" and node.domain == "":
            tensor = ir.convenience.get_const_tensor(node.outputs[0])
            assert tensor is not None
            ir.convenience.replace_all_uses_with(
                node.outputs[0], constant(graph, tensor.numpy()), replace_graph_outputs=True
            )
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if name not in weights and not name.startswith(PREFIX):
            assert value.const_value is not None
            lifted = constant(graph, value.const_value.numpy())
            ir.convenience.replace_all_uses_with(value, lifted)
            del graph.initializers[name]


def _content_name(array: Array) -> str:
    shape = "x".join(str(size) for size in array.shape)
    if array.size <= _READABLE:
        content = "_".join(str(item) for item in array.ravel().tolist())
    else:
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
    return f"{PREFIX}{array.dtype}[{shape}].{content}"
