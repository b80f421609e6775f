"""Computed sizes: folds those that are known, and does without those that the input tells."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx_ir as ir

from exporter.passes.constants import constant
from exporter.passes.shapes import Size, Sizes, sizes_of


def fold_known_sizes(model: ir.Model, data: dict[ir.Value, Sizes]) -> ir.Model:
    """Makes constants of the computed sizes that are known.

    Args:
        model: changed in place.
        data: what `infer_shapes` knows of the elements of integer tensors.

    Returns:
        The model; what computed the sizes is left without use.
    """
    for value, elements in data.items():
        shape = sizes_of(value)
        if shape is None or value.dtype is None or value.is_graph_output():
            continue
        if not all(isinstance(element, int) for element in elements):
            continue
        array = np.asarray(elements, dtype=value.dtype.numpy()).reshape(cast("tuple[int]", shape))
        ir.convenience.replace_all_uses_with(value, constant(model.graph, array))
    return model


def make_reshapes_relative(model: ir.Model) -> ir.Model:
    """Gives a Reshape a constant target where 0 (as in the input) and one -1 (the rest) do.

    So [batch, height·width, 320] becomes [0, -1, 320], whatever the sizes are, and no node computes
    it. Shapes must have been inferred. Changes the model in place and returns it.
    """
    for node in model.graph:
        if node.op_type != "Reshape" or node.domain != "":
            continue
        target = _relative(sizes_of(node.inputs[0]), sizes_of(node.outputs[0]))
        if target is not None:
            node.replace_input_with(1, constant(model.graph, np.array(target, dtype=np.int64)))
            node.attributes.pop("allowzero", None)
    return model


def _relative(source: Sizes | None, target: Sizes | None) -> list[int] | None:
    """The target in terms of the source; None where more than one size is left open."""
    if target is None:
        return None
    sizes = [_size(source, axis, size) for axis, size in enumerate(target)]
    return None if sizes.count(-1) > 1 or 0 in target else sizes


def _size(source: Sizes | None, axis: int, size: Size) -> int:
    if isinstance(size, int):
        return size
    same = source is not None and axis < len(source) and size is not None and source[axis] == size
    return 0 if same else -1
