"""The Neural Engine's layout on programs made by hand: what has a rule, what has none."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx import Node

from exporter.coreml.program import Program, evaluate, shape_of
from exporter.coreml.rewrites import rewrite_attention
from exporter.coreml.rewrites.attention import SDPA
from tests.exporter.coreml.rewrites.programs import Arrays, assert_close, built, copied

_aten: Any = torch.ops.aten

B, C, H, W = 2, 12, 3, 5
SHAPES = {
    "picture": (B, C, H, W),
    "plain": (B, H * W, C),
    "weight": (8, C),
    "bias": (8,),
    "scale": (C,),
    "mask": (B, 1, H * W, H * W),
}
MOVES = {_aten.permute.default, _aten.transpose.int}

Values = dict[str, Node]
Body = Callable[[Program, Values, Node], Node]


def transformer(body: Body) -> Callable[[Program, Values], Node]:
    """A picture, its channels put last, what `body` makes of [b, s, c], and back to a picture."""

    def make(program: Program, given: Values) -> Node:
        last = program.call(_aten.permute.default, given["picture"], [0, 2, 3, 1])
        tokens = program.call(_aten.reshape.default, last, [B, H * W, C])
        found = body(program, given, tokens)
        picture = program.call(_aten.reshape.default, found, [B, H, W, shape_of(found)[-1]])
        return program.call(_aten.permute.default, picture, [0, 3, 1, 2])

    return make


def linear(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.linear.default, x, given["weight"], given["bias"])


def unbiased(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.linear.default, x, given["weight"])


def named(program: Program, given: Values, x: Node) -> Node:
    x = program.call(_aten.layer_norm.default, x, [C], bias=given["scale"], eps=0.5)
    x = program.call(_aten.linear.default, x, given["weight"], bias=given["bias"])
    pieces = program.call(_aten.split.Tensor, x, 2, dim=2)
    parts = [program.call(operator.getitem, pieces, n) for n in range(4)]
    return program.call(_aten.cat.default, parts[::-1], dim=-1)


def norm(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.layer_norm.default, x, [C], given["scale"], given["scale"], 1e-3)


def plain_norm(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.layer_norm.default, x, [C])


def gated(program: Program, given: Values, x: Node) -> Node:
    pieces = program.call(_aten.split.Tensor, x, 6, -1)
    one, other = (program.call(operator.getitem, pieces, n) for n in (0, 1))
    gate = program.call(_aten.gelu.default, other, approximate="tanh")
    return program.call(_aten.mul.Tensor, one, gate)


def quick_gelu(program: Program, given: Values, x: Node) -> Node:
    gate = program.call(_aten.sigmoid.default, program.call(_aten.mul.Tensor, x, 1.702))
    return program.call(_aten.mul.Tensor, x, gate)


def residual(program: Program, given: Values, x: Node) -> Node:
    copy = program.call(_aten.clone.default, program.call(_aten.silu.default, x))
    return program.call(_aten.sub.Tensor, x, program.call(_aten.div.Tensor, copy, 2.0))


def concat(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.cat.default, [x, program.call(_aten.silu.default, x)], 2)


def flattened_concat(program: Program, given: Values, x: Node) -> Node:
    joined = program.call(_aten.cat.default, [x, x], 1)
    return program.call(_aten.reshape.default, joined, [B, H * W, 2 * C])


def attend(program: Program, x: Node, *rest: Any) -> Node:
    parted = program.call(_aten.reshape.default, x, [B, H * W, 3, C // 3])
    heads = program.call(_aten.transpose.int, parted, 1, 2)
    found = program.call(SDPA, heads, heads, heads, *rest)
    back = program.call(_aten.transpose.int, found, 1, 2)
    return program.call(_aten.reshape.default, back, [B, H * W, C])


def attention(program: Program, given: Values, x: Node) -> Node:
    return attend(program, x)


def added(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.add.Tensor, x, given["plain"])


def scaled(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.mul.Tensor, x, given["scale"])


def unknown(program: Program, given: Values, x: Node) -> Node:
    return program.call(_aten.cumsum.default, x, 1)


def masked(program: Program, given: Values, x: Node) -> Node:
    return attend(program, x, given["mask"])


def split_rows(program: Program, given: Values, x: Node) -> Node:
    pieces = program.call(_aten.split.Tensor, x, 10, 1)
    one, other = (program.call(operator.getitem, pieces, n) for n in (0, 1))
    return program.call(_aten.cat.default, [other, one], 1)


def unknown_amid(program: Program, given: Values, x: Node) -> Node:
    return unbiased(program, given, unknown(program, given, x))


def feeds() -> Arrays:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


def rewrite(body: Body) -> tuple[Program, Program]:
    program = built(SHAPES, transformer(body))
    found = copied(program)
    rewrite_attention(found, "split-einsum")
    return program, found


def moves(program: Program) -> int:
    counted = Counter(node.target for node in program.graph.nodes)
    return sum(counted[target] for target in MOVES)


def test_behind_an_operator_without_a_rule_the_layout_goes_on() -> None:
    _, found = rewrite(unknown_amid)
    counted = Counter(node.target for node in found.graph.nodes)
    assert (counted[_aten.conv2d.default], counted[_aten.linear.default]) == (1, 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (linear, 0),
        (unbiased, 0),
        (named, 0),
        (norm, 0),
        (plain_norm, 0),
        (gated, 0),
        (quick_gelu, 0),
        (residual, 0),
        (concat, 0),
        # The keys, once.
        (attention, 1),
        # A value from elsewhere is brought in.
        (added, 1),
        # Out and in again; masked attention's keys besides.
        (scaled, 2),
        (unknown, 2),
        (masked, 3),
        # Out, and plain to the end: what comes has another shape.
        (split_rows, 2),
        (flattened_concat, 2),
    ],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
def test_results_stay_and_transpositions_are_few(body: Body, expected: int) -> None:
    program, found = rewrite(body)
    assert_close(evaluate(found, feeds(), {}), evaluate(program, feeds(), {}))
    assert moves(found) == expected


def test_a_value_within_a_transformer_may_be_an_output() -> None:
    def make(program: Program, given: Values) -> Node:
        whole = transformer(residual)(program, given)
        return next(node for node in whole.graph.nodes if node.target is _aten.silu.default)

    program = built(SHAPES, make)
    found = copied(program)
    rewrite_attention(found, "split-einsum")
    assert_close(evaluate(found, feeds(), {}), evaluate(program, feeds(), {}))
    assert shape_of(found.outputs["out"]) == (B, H * W, C)
