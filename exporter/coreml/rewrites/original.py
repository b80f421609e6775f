"""Attention in matrix products of all heads at once: Apple's ORIGINAL, for the GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.program import Program, value_of
from exporter.coreml.rewrites.attention import Attention, attention_nodes, attention_of

_aten: Any = torch.ops.aten

HIDDEN = -1e4
"""Added to the scores of keys that a query mustn't see: exp gives 0 in either precision, and unlike
minus infinity it leaves no NaN where a query sees none."""


def original(program: Program) -> None:
    """Writes every `scaled_dot_product_attention` as products, softmax and products.

    The queries are scaled, not the scores: products of half-precision queries and keys can exceed
    65504 (Stable Diffusion 2.1's do), and 1/√d times as much is 6 to 23 times further from it.
    The rounding that this adds is that of one operator on the queries, none where d is 64.
    """
    biases: dict[Node, Node] = {}
    for node in attention_nodes(program):
        attention = attention_of(node)
        with program.graph.inserting_before(node):
            program.replace(node, _products(program, attention, biases))


def _products(program: Program, attention: Attention, biases: dict[Node, Node]) -> Node:
    scaled = program.call(_aten.mul.Tensor, attention.query, attention.scale)
    keys = program.call(_aten.transpose.int, attention.key, -2, -1)
    scores = program.call(_aten.matmul.default, scaled, keys)
    if attention.mask is not None:
        if attention.mask not in biases:
            biases[attention.mask] = _bias(program, attention.mask, value_of(scores).dtype)
        scores = program.call(_aten.add.Tensor, scores, biases[attention.mask])
    weights = program.call(_aten.softmax.int, scores, -1)
    return program.call(_aten.matmul.default, weights, attention.value)


def _bias(program: Program, mask: Node, dtype: torch.dtype) -> Node:
    """What is added to the scores."""
    if value_of(mask).dtype != torch.bool:
        return mask
    hidden = program.call(_aten.logical_not.default, mask)
    number = program.call(_aten._to_copy.default, hidden, dtype=dtype)
    return program.call(_aten.mul.Tensor, number, HIDDEN)
