"""Drops nodes that give back their input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from exporter.passes.constants import array_of
from exporter.passes.naming import merge_origins
from exporter.passes.shapes import Sizes, sizes_of


def drop_no_ops(model: ir.Model) -> ir.Model:
    """Removes Identity and what amounts to it: ÷1, ×1, whole slices, reshapes to the same shape.

    Shapes must have been inferred. Changes the model in place and returns it.
    """
    for node in list(model.graph):
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        if rule is not None and rule(node):
            _bypass(model.graph, node)
    return model


def _bypass(graph: ir.Graph, node: ir.Node) -> None:
    """Gives a node's users its input; an output of the graph keeps its name and declared shape."""
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None
    named = source.is_graph_input() or source.is_initializer() or source.is_graph_output()
    if output.is_graph_output() and named:
        return  # a value has one name: the node is needed for the second
    assert source.name is not None
    assert output.name is not None
    merge_origins(graph, source.name, output.name)
    if output.is_graph_output():
        merge_origins(graph, output.name, source.name)
        source.name, source.shape = output.name, output.shape
    ir.convenience.replace_all_uses_with(output, source, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _is_identity(node: ir.Node) -> bool:
    del node
    return True


def _by_one(node: ir.Node) -> bool:
    factor = array_of(node.inputs[1])
    # A factor of rank 0 can't broadcast the other side to more axes.
    return factor is not None and factor.shape == () and bool(factor == 1)


def _whole_slice(node: ir.Node) -> bool:
    starts, ends, axes, steps = (array_of(value) for value in [*node.inputs[1:], None, None][:4])
    if starts is None or ends is None or np.any(starts != 0):
        return False
    if steps is not None and np.any(steps != 1):
        return False
    places = range(len(ends)) if axes is None else axes.tolist()
    sizes = sizes_of(node.inputs[0])
    return all(_reaches(end, sizes, axis) for end, axis in zip(ends.tolist(), places, strict=True))


def _reaches(end: int, sizes: Sizes | None, axis: int) -> bool:
    """Whether a slice ends where the axis does."""
    size = None if sizes is None else sizes[axis]
    return end == _LAST or (isinstance(size, int) and end >= size)


def _same_shape(node: ir.Node) -> bool:
    before, after = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    return before is not None and None not in before and before == after


def _same_type(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype == node.attributes["to"].as_int()


_LAST = np.iinfo(np.int64).max
"""How torch writes the end of an axis."""

_RULES: dict[str, Callable[[ir.Node], bool]] = {
    "Cast": _same_type,
    "Div": _by_one,
    "Expand": _same_shape,
    "Identity": _is_identity,
    "Mul": _by_one,
    "Reshape": _same_shape,
    "Slice": _whole_slice,
}
"""Operator → whether a node of it gives back its first input."""
