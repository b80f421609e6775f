"""Fixes symbolic axes of a graph: an engine that knows all sizes plans better."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from exporter.passes.shapes import sizes_of
from exporter.passes.simplify import finish, fold
from runtimes.errors import UsageError


def fix_sizes(model: ir.Model, sizes: Mapping[str, int]) -> ir.Model:
    """Sets symbolic axes to sizes and folds all shape arithmetic that they settle.

    Args:
        model: a simplified graph; changed in place.
        sizes: axis name → size, ≥ 1, in the axis's own unit; axes left out stay symbolic.

    Returns:
        The model, whose outputs have the sizes that follow.

    Raises:
        UsageError: an axis that no input has, or a size below 1.
    """
    _check(axes_of(model), sizes)
    for value in model.graph.inputs:
        shape = sizes_of(value)
        if shape is not None:
            fixed = [sizes.get(size, size) if isinstance(size, str) else size for size in shape]
            value.shape = ir.Shape(fixed)
    fold(model)
    fold(model)
    CommonSubexpressionEliminationPass()(model)
    return finish(model)


def axes_of(model: ir.Model) -> tuple[str, ...]:
    """Names of the symbolic axes of the graph's inputs, in order."""
    shapes = [sizes_of(value) or () for value in model.graph.inputs]
    return tuple(dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str)))


def _check(axes: tuple[str, ...], sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        if name not in axes:
            known = ", ".join(axes) or "none, all its sizes are fixed"
            raise UsageError(f"the graph has no symbolic axis {name!r}; its axes: {known}.")
        if size < 1:
            raise UsageError(f"axis {name!r} can't have size {size}; sizes are 1 or more.")
