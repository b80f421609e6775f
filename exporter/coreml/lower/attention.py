"""Rules of what attention is made of."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.lower.rules import Lowering, Var, argument, rule
from exporter.coreml.program import shape_of
from exporter.errors import CompileError

_aten: Any = torch.ops.aten


@rule(_aten.scaled_dot_product_attention.default)
def scaled_dot_product_attention(low: Lowering, node: Node) -> Var:
    """The one operator for all of it, from iOS 18 on, which scales by the root of the width.

    Raises:
        CompileError: it is scaled otherwise, or causal without a mask.
    """
    query, key, value = node.args[:3]
    assert isinstance(query, Node)
    width = shape_of(query)[-1]
    scale = node.kwargs.get("scale")
    if scale is not None and not math.isclose(float(str(scale)), width**-0.5, rel_tol=1e-6):
        raise CompileError(f"{node.name}: attention is scaled by {scale}, not by {width**-0.5}.")
    if argument(node, 5, "is_causal", False):
        raise CompileError(f"{node.name}: causal attention without a mask can't be lowered.")
    mask = argument(node, 3, "attn_mask")
    given = {} if mask is None else {"attn_mask": low.var(mask)}
    return low.mb.scaled_dot_product_attention(
        query=low.var(query), key=low.var(key), value=low.var(value), **given
    )


@rule(_aten.softmax.int, _aten._softmax.default)
def softmax(low: Lowering, node: Node) -> Var:
    """Over one axis."""
    return low.mb.softmax(x=low.var(node.args[0]), axis=int(argument(node, 1, "dim")))


@rule(_aten.matmul.default, _aten.bmm.default)
def matmul(low: Lowering, node: Node) -> Var:
    """Products of matrices along the last two axes."""
    return low.mb.matmul(x=low.var(node.args[0]), y=low.var(node.args[1]))


@rule(_aten.einsum.default)
def einsum(low: Lowering, node: Node) -> Var:
    """A contraction of two tensors in the one form that MIL has for four axes, or turned to it.

    Raises:
        CompileError: it has another form.
    """
    listed: Any = node.args[1]
    terms, _, result = str(node.args[0]).replace(" ", "").partition("->")
    pairs = list(zip(terms.split(","), listed, strict=True))
    for one, other in (pairs, pairs[::-1]):
        if _renamed(one[0], other[0], result) == _EINSUM:
            values = (low.var(one[1]), low.var(other[1]))
            return low.mb.einsum(values=values, equation=_EINSUM)
    raise CompileError(f"{node.name}: MIL has no contraction such as {node.args[0]}.")


_EINSUM = "nchw,nwhu->nchu"


def _renamed(one: str, other: str, result: str) -> str:
    """An equation with the letters of `_EINSUM`, as far as its first term gives them."""
    letters = dict(zip(one, "nchw", strict=False))
    letters |= {letter: "u" for letter in other if letter not in letters}
    return "->".join(
        ",".join("".join(letters.get(letter, "?") for letter in term) for term in side)
        for side in ((one, other), (result,))
    )
