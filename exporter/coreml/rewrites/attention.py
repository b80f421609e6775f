"""Attention in a captured program: where it is and what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.program import Program, shape_of
from exporter.errors import CompileError

_aten: Any = torch.ops.aten

SDPA: Any = _aten.scaled_dot_product_attention.default

_PLACES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")


@dataclass(frozen=True)
class Attention:
    """softmax(scale · query · keyᵀ + mask) · value.

    Attributes:
        query: [b, heads, s, d].
        key: [b, heads, t, d].
        value: [b, heads, t, e].
        mask: which keys a query sees, bool, or what is added to its scores; its shape broadcasts
            to [b, heads, s, t]. None where all see all.
        scale: of the scores.
    """

    query: Node
    key: Node
    value: Node
    mask: Node | None
    scale: float


def attention_nodes(program: Program) -> list[Node]:
    """The program's attentions, as far as they are whole, in order."""
    return [node for node in program.graph.nodes if node.target is SDPA]


def assert_whole(program: Program) -> None:
    """Makes sure that the capture took no attention apart: a rewrite would pass it over.

    Raises:
        AssertionError: there is a softmax outside of attention.
    """
    parts = (_aten.softmax.int, _aten._softmax.default)
    apart = [node for node in program.graph.nodes if node.target in parts]
    assert not apart, apart


def attention_of(node: Node) -> Attention:
    """What a `scaled_dot_product_attention` computes.

    Raises:
        CompileError: it is of a kind that no rewrite covers.
    """
    given: dict[str, Any] = {**dict(zip(_PLACES, node.args, strict=False)), **node.kwargs}
    for name in ("dropout_p", "is_causal", "enable_gqa"):
        if given.get(name):
            raise CompileError(
                f"{node.name}: attention with {name}={given[name]} can't be rewritten; known is "
                "attention with a mask or without."
            )
    query, scale = given["query"], given.get("scale")
    return Attention(
        query=query,
        key=given["key"],
        value=given["value"],
        mask=given.get("attn_mask"),
        scale=shape_of(query)[-1] ** -0.5 if scale is None else float(scale),
    )
