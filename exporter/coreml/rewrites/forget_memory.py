"""Frees a program of how torch laid its values out in memory, which a rewrite may change."""

from __future__ import annotations

from typing import Any

import torch

from exporter.coreml.program import Program

_aten: Any = torch.ops.aten


def forget_memory(program: Program) -> None:
    """Drops assertions about dtype and layout, and makes views reshapes, which may copy.

    An assertion would keep a value alive that nothing else uses. A view in torch fails where the
    value before it has other strides than at the capture; what it computes is a reshape.
    """
    for node in list(program.graph.nodes):
        if node.target is _aten._assert_tensor_metadata.default:
            program.graph.erase_node(node)
        elif node.target is _aten.view.default:
            node.target = _aten.reshape.default
