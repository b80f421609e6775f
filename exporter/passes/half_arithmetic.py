"""Half precision throughout: weights aren't widened, and what is computed of them is fp16.

Inputs and outputs stay float32. So does what a graph makes of its inputs before the first weight,
such as the sines and cosines of a timestep: fp16 holds no whole number between 1998 and 2000, and
diffusers computes them in float32 as well.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.passes.constants import array_of, constant, is_weight

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16

_STAY_FLOAT = {"Resize": (1, 2)}
"""Operator → inputs that are float32 whatever it computes in: a region and scales."""


def half_arithmetic(model: ir.Model) -> ir.Model:
    """Rewrites a graph that is bound to half weights; changes it in place and returns it."""
    graph = model.graph
    before = _before_weights(graph)
    halves: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        if node in before:
            continue
        if _widens_weight(node):
            _drop(graph, node)
            continue
        for index, value in enumerate(node.inputs):
            if index not in _STAY_FLOAT.get(node.op_type, ()):
                node.replace_input_with(index, _halved(graph, node, value, before, halves))
        if node.op_type == "Cast" and node.attributes.get_int("to", 0) == _FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", _HALF)
        for value in node.outputs:
            if value.dtype == _FLOAT:
                value.dtype = _HALF
    for index, value in enumerate(list(graph.outputs)):
        if value.dtype == _HALF:
            graph.outputs[index] = _widened(graph, value)
    return model


def _before_weights(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that neither read a weight nor anything that was computed of one."""
    found: set[ir.Node] = set()
    for node in graph:
        producers = (value.producer() for value in node.inputs if value is not None)
        reads_weight = any(is_weight(value) for value in node.inputs)
        if not reads_weight and all(each is None or each in found for each in producers):
            found.add(node)
    return found


def _widens_weight(node: ir.Node) -> bool:
    weight = node.inputs[0] if node.op_type == "Cast" else None
    return weight is not None and is_weight(weight) and weight.dtype == _HALF


def _drop(graph: ir.Graph, cast: ir.Node) -> None:
    """Removes a Cast of fp16; its users read what it read."""
    source = cast.inputs[0]
    assert source is not None
    ir.convenience.replace_all_uses_with(cast.outputs[0], source)
    graph.remove(cast, safe=True)


def _halved(
    graph: ir.Graph,
    node: ir.Node,
    value: ir.Value | None,
    before: set[ir.Node],
    halves: dict[ir.Value, ir.Value],
) -> ir.Value | None:
    """What a node of half precision reads in the place of a float32 value."""
    if value is None or value.dtype != _FLOAT:
        return value
    array = array_of(value)
    if array is not None:
        # A number beyond fp16's, such as a mask's, becomes its greatest.
        limit = np.finfo(np.float16).max
        return constant(graph, np.clip(array, -limit, limit).astype(np.float16))
    if value not in halves:
        assert value.is_graph_input() or value.producer() in before, value.name
        halves[value] = _cast(graph, node, value, _HALF, f"{value.name}/float16")
    return halves[value]


def _widened(graph: ir.Graph, output: ir.Value) -> ir.Value:
    """A float32 output under the name that the half one had."""
    producer, name, shape = output.producer(), output.name, output.shape
    assert producer is not None
    output.name = f"{name}/float16"
    node = ir.node("Cast", [output], {"to": _FLOAT}, name=f"{name}/Cast")
    graph.append(node)
    widened = node.outputs[0]
    widened.name, widened.dtype, widened.shape = name, _FLOAT, shape
    return widened


def _cast(
    graph: ir.Graph, user: ir.Node, value: ir.Value, dtype: ir.DataType, name: str
) -> ir.Value:
    node = ir.node("Cast", [value], {"to": dtype}, name=f"{name}/Cast")
    graph.insert_before(user, node)
    result = node.outputs[0]
    result.name, result.dtype, result.shape = name, dtype, value.shape
    return result
