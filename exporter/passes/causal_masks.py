"""Says causal attention as an attribute instead of a mask: engines then skip half of the work."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from exporter.passes.constants import Array, array_of
from exporter.passes.shapes import sizes_of

_MASK = 3
"""Position of the mask among the inputs of Attention."""


def causal_masks(model: ir.Model) -> ir.Model:
    """Sets `is_causal` on Attention nodes whose constant mask is the lower triangle, in place.

    The mask may be expanded to the batch. Shapes must have been inferred.
    """
    for node in model.graph:
        if node.op_type == "Attention" and node.domain == "" and _is_causal(node):
            node.replace_input_with(_MASK, None)
            node.resize_inputs(_MASK)
            node.attributes["is_causal"] = ir.AttrInt64("is_causal", 1)
    return RemoveUnusedNodesPass()(model).model


def _is_causal(node: ir.Node) -> bool:
    if len(node.inputs) != _MASK + 1 or node.attributes.get_int("is_causal", 0):
        return False
    mask = _array(node.inputs[_MASK])
    if mask is None or mask.dtype != np.bool_ or mask.ndim < 2:
        return False
    length = mask.shape[-1]
    triangle = np.tril(np.ones((length, length), dtype=np.bool_))
    same_lengths = _length(node.inputs[0]) == _length(node.inputs[1]) == length
    return same_lengths and mask.size == triangle.size and bool(np.all(mask == triangle))


def _array(value: ir.Value | None) -> Array | None:
    """The mask before it is expanded to the batch."""
    node = None if value is None else value.producer()
    expanded = node is not None and node.op_type == "Expand" and node.domain == ""
    return array_of(node.inputs[0] if node is not None and expanded else value)


def _length(value: ir.Value | None) -> object:
    """Sequence length: the last axis but one, in [b, s, c] as in [b, heads, s, c]."""
    sizes = sizes_of(value)
    return None if sizes is None else sizes[-2]
