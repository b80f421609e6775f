"""Names of nodes and of the values between them: the module's path and the operator."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

MODULE_KEY = "latedge.module"
"""Node metadata of a capture: the path of the torch module that a node comes from."""

_ORIGINS_KEY = "latedge.origins"

Origins = dict[str, tuple[str, ...]]
"""Value → what torch's program calls the values that it is equal to."""


def origins_of(graph: ir.Graph) -> Origins:
    """Where the values of a graph come from, as far as passes kept track; never written to a file.

    Passes keep the name of what they replace, so only what renames or merges values adds to it.
    """
    return graph.meta.setdefault(_ORIGINS_KEY, {})


def set_origins(graph: ir.Graph, origins: Origins) -> None:
    """Says where the values of a graph come from, before passes run on it."""
    graph.meta[_ORIGINS_KEY] = dict(origins)


def merge_origins(graph: ir.Graph, kept: str, dropped: str) -> None:
    """Notes that a value now stands for another one that equals it; names as before the merge."""
    origins = origins_of(graph)
    found = origins.get(kept, ()) + origins.get(dropped, ())
    if found:
        origins[kept] = found


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
    origins, renamed = origins_of(model.graph), Origins()
    for node, path in paths:
        stem = f"{path}/{node.op_type}"
        node.name = f"{stem}.{seen[stem]}" if seen[stem] else stem
        seen[stem] += 1
        node.metadata_props.clear()
        for index, value in enumerate(node.outputs):
            value.metadata_props.clear()
            before = value.name or ""
            if not value.is_graph_output():
                value.name = f"{node.name}:{index}" if index else node.name
            if before in origins and value.name is not None:
                renamed[value.name] = origins[before]
    inputs = {value.name for value in model.graph.inputs}
    kept = {name: found for name, found in origins.items() if name in inputs}
    set_origins(model.graph, kept | renamed)
    return model


def module_of(node: ir.Node) -> str:
    """The path of the module that a node comes from; of its input's where a pass made the node."""
    if MODULE_KEY in node.metadata_props:
        return node.metadata_props[MODULE_KEY]
    if node.name and "/" in node.name:
        return node.name.rpartition("/")[0]
    producers = [value.producer() for value in node.inputs if value is not None]
    return next((module_of(producer) for producer in producers if producer is not None), "")
