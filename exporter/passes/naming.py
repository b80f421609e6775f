"""Names of nodes and of the values between them: the module's path and the operator."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

MODULE_KEY = "latedge.module"
"""Node metadata of a capture: the path of the torch module that a node comes from."""


def mark_modules(model: ir.Model) -> ir.Model:
    """Says of each node of a fresh capture which module it comes from, in its metadata.

    Nodes outside all modules say so too, which sets them apart from nodes that a pass adds. Nodes
    named by `name_nodes` are left alone. Changes the model in place and returns it.
    """
    for node in model.graph:
        path = node.metadata_props.get(MODULE_KEY, "")
        if path.startswith("_"):  # torch's placeholder for nodes that it added itself
            path = ""
        if path or "/" not in (node.name or ""):
            node.metadata_props[MODULE_KEY] = path
    return model


def name_nodes(model: ir.Model) -> ir.Model:
    """Names nodes `<module path>/<operator>`, numbered from the second on, and values after them.

    Graph inputs, outputs and initializers keep their names. The same graph gets the same names,
    whatever passes made it. Changes the model in place and returns it.
    """
    paths = [(node, module_of(node)) for node in model.graph]
    seen: Counter[str] = Counter()
    for node, path in paths:
        stem = f"{path}/{node.op_type}"
        node.name = f"{stem}.{seen[stem]}" if seen[stem] else stem
        seen[stem] += 1
        node.metadata_props.clear()
        for index, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if not value.is_graph_output():
                value.name = f"{node.name}:{index}" if index else node.name
    return model


def module_of(node: ir.Node) -> str:
    """The path of the module that a node comes from; of its input's where a pass made the node."""
    if MODULE_KEY in node.metadata_props:
        return node.metadata_props[MODULE_KEY]
    if node.name and "/" in node.name:
        return node.name.rpartition("/")[0]
    producers = [value.producer() for value in node.inputs if value is not None]
    return next((module_of(producer) for producer in producers if producer is not None), "")
