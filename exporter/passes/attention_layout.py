"""Attention on [b, s, heads·d] in place of [b, heads, s, d]: no transposes around it.

OpenVINO 2026.4 compiles both forms to the same CPU graph (fused, no Softmax left) with bit-equal
results, ONNX Runtime 1.32 runs both equally fast, and MultiHeadAttention takes this form alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from exporter.passes.constants import array_of
from exporter.passes.shapes import Sizes, sizes_of

_SWAP = (0, 2, 1, 3)
"""[b, s, heads, d] ↔ [b, heads, s, d]."""

_MASKED = 4
"""Inputs of Attention with a mask; more are cached keys and values, which are 4-D by definition."""


@dataclass(frozen=True)
class _Heads:
    """A value [b, s, heads·d] and the number of heads that it is split into."""

    packed: ir.Value
    count: int


def attention_layout(model: ir.Model) -> ir.Model:
    """Moves the splitting of heads into Attention, where all its inputs and its output do it.

    The node gets 3-D inputs, `q_num_heads` and `kv_num_heads`; the Reshape and Transpose at each
    input and at the output go. A mask stays as it is. Shapes must have been inferred. Changes the
    model in place and returns it.
    """
    for node in list(model.graph):
        if node.op_type == "Attention" and node.domain == "" and len(node.outputs) == 1:
            _rewrite(model.graph, node)
    return RemoveUnusedNodesPass()(model).model


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    query, key, value = (_split(tensor) for tensor in node.inputs[:3])
    merge = _merge(node.outputs[0])
    if query is None or key is None or value is None or merge is None:
        return
    if key.count != value.count or len(node.inputs) > _MASKED:
        return
    packed = ir.Node(
        "",
        "Attention",
        [query.packed, key.packed, value.packed, *node.inputs[3:]],
        [
            *node.attributes.values(),
            ir.AttrInt64("q_num_heads", query.count),
            ir.AttrInt64("kv_num_heads", key.count),
        ],
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    packed.outputs[0].name = merge.outputs[0].name
    ir.convenience.replace_nodes_and_values(
        graph, merge, [merge], [packed], merge.outputs, packed.outputs
    )


def _split(value: ir.Value | None) -> _Heads | None:
    """What is split into heads where `value` is Transpose(Reshape(·)), [b, heads, s, d]."""
    transpose = _producer(value, "Transpose")
    if transpose is None or tuple(transpose.attributes.get_ints("perm", ())) != _SWAP:
        return None
    reshape = _producer(transpose.inputs[0], "Reshape")
    if reshape is None:
        return None
    packed = reshape.inputs[0]
    assert packed is not None
    count = _head_count(sizes_of(packed), sizes_of(reshape.outputs[0]))
    return _Heads(packed, count) if count and _keeps_batch(reshape) else None


def _merge(value: ir.Value) -> ir.Node | None:
    """The Reshape of Reshape(Transpose(value)) that makes [b, heads, s, d] into [b, s, heads·d]."""
    transpose = _only_user(value, "Transpose")
    if transpose is None or tuple(transpose.attributes.get_ints("perm", ())) != _SWAP:
        return None
    reshape = _only_user(transpose.outputs[0], "Reshape")
    if reshape is None:
        return None
    count = _head_count(sizes_of(reshape.outputs[0]), sizes_of(reshape.inputs[0]))
    return reshape if count and _keeps_batch(reshape) else None


def _head_count(packed: Sizes | None, split: Sizes | None) -> int:
    """Heads where the shapes are [b, s, heads·d] and [b, s, heads, d]; else 0."""
    if packed is None or split is None or len(packed) != 3 or len(split) != 4:
        return 0
    heads, size = split[2:]
    if not isinstance(heads, int) or not isinstance(size, int):
        return 0
    return heads if packed[2] == heads * size else 0


def _keeps_batch(reshape: ir.Node) -> bool:
    """Whether the first axis stays; the heads' being known, the sequence's axis then stays too."""
    before, after = sizes_of(reshape.inputs[0]), sizes_of(reshape.outputs[0])
    if before and after and before[0] is not None and before[0] == after[0]:
        return True
    target = array_of(reshape.inputs[1])
    copies = not reshape.attributes.get_int("allowzero", 0)
    return target is not None and copies and bool(target[0] == 0)


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and (node.domain, node.op_type) == ("", op_type) else None


def _only_user(value: ir.Value, op_type: str) -> ir.Node | None:
    users = value.consumers()
    if len(users) != 1 or value.is_graph_output():
        return None
    return users[0] if (users[0].domain, users[0].op_type) == ("", op_type) else None
