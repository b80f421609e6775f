"""What every captured graph gets: folded constants, no no-ops, no repetition, telling names."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)
from onnxscript.optimizer import fold_constants_ir as fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import unsqueeze_unsqueeze_rule

from exporter.passes.constants import lift_constants, weight_names
from exporter.passes.naming import mark_modules, name_nodes
from exporter.passes.no_ops import drop_no_ops
from exporter.passes.shape_arithmetic import fold_known_sizes, make_reshapes_relative
from exporter.passes.shapes import infer_shapes

_LIMIT = 1 << 16
"""Elements that a folded constant may have: a causal mask of 77 × 77 does, weights don't count."""


def simplify(model: ir.Model) -> ir.Model:
    """Simplifies a graph for any size and any engine.

    Weights keep their names and values; they are neither folded nor read. Shapes and types are
    inferred anew from the graph's inputs. The same capture gives the same bytes. A second run
    changes nothing.

    Args:
        model: a captured graph, bound to weights or not; changed in place.

    Returns:
        The model.
    """
    mark_modules(model)
    fold(model)
    rewrite(model, pattern_rewrite_rules=[unsqueeze_unsqueeze_rule])
    fold(model)
    CommonSubexpressionEliminationPass()(model)
    return finish(model)


def fold(model: ir.Model) -> ir.Model:
    """Folds what doesn't depend on inputs or weights, and what gives back its input, in place."""
    weights = weight_names(model.graph)
    lift_constants(model.graph, weights)
    data = infer_shapes(model)
    fold_known_sizes(model, data)
    make_reshapes_relative(model)
    drop_no_ops(model)
    RemoveUnusedNodesPass()(model)
    fold_constants(
        model,
        input_size_limit=_LIMIT,
        output_size_limit=_LIMIT,
        should_fold=lambda node: False if _reads(node, weights) else None,
    )
    lift_constants(model.graph, weights)
    return model


def finish(model: ir.Model) -> ir.Model:
    """Drops what nothing uses, then infers shapes and names nodes, in place: ends a pass."""
    RemoveUnusedNodesPass()(model)
    RemoveUnusedOpsetsPass()(model)
    infer_shapes(model)
    return name_nodes(model)


def _reads(node: ir.Node, weights: frozenset[str]) -> bool:
    return any(value is not None and value.name in weights for value in node.inputs)
