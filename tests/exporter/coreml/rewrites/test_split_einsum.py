"""Attention head by head: other widths, keys of another length, the range of half precision."""

from __future__ import annotations

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

HEADS, TOKENS = 3, 7
SHAPES = {
    "picture": (2, HEADS * 16, 20, 30),
    "keys": (2, TOKENS, HEADS * 16),
    "values": (2, TOKENS, HEADS * 4),
}


def by_head(program: Program, value: Node) -> Node:
    batch, length, width = shape_of(value)
    parted = program.call(_aten.reshape.default, value, [batch, length, HEADS, width // HEADS])
    return program.call(_aten.transpose.int, parted, 1, 2)


def attention(program: Program, given: dict[str, Node]) -> Node:
    """600 queries from a picture, keys and values from elsewhere."""
    batch, width, height, columns = shape_of(given["picture"])
    last = program.call(_aten.permute.default, given["picture"], [0, 2, 3, 1])
    queries = program.call(_aten.reshape.default, last, [batch, height * columns, width])
    parts = [by_head(program, value) for value in (queries, given["keys"], given["values"])]
    found = program.call(_aten.transpose.int, program.call(SDPA, *parts), 1, 2)
    return program.call(_aten.reshape.default, found, [batch, height, columns, HEADS * 4])


def feeds() -> Arrays:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


def rewritten(program: Program, name: str) -> Program:
    found = copied(program)
    rewrite_attention(found, name)
    return found


@pytest.mark.parametrize(
    ("name", "queries"), [("split-einsum", [600]), ("split-einsum-v2", [512, 88])]
)
def test_values_may_be_of_another_width_and_length(name: str, queries: list[int]) -> None:
    program = built(SHAPES, attention)
    found = rewritten(program, name)
    assert_close(evaluate(found, feeds(), {}), evaluate(program, feeds(), {}))
    softmax = found.graph.find_nodes(op="call_function", target=_aten.softmax.int)
    assert [shape_of(node) for node in softmax] == [(2, TOKENS, 1, n) for n in queries] * HEADS


def test_scores_stay_in_the_range_of_half_precision() -> None:
    # 16 products of 70 and 70 are 78400; the scores are a quarter of that.
    program = built(SHAPES, attention, torch.float16)
    given = feeds()
    given["picture"] = np.full(SHAPES["picture"], 70, np.float32)
    given["keys"] = np.full(SHAPES["keys"], 70, np.float32)
    given["keys"][:, 2:] = 60
    found = evaluate(rewritten(program, "split-einsum"), given, {})["out"]
    expected = given["values"][:, :2].mean(axis=1)[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=2e-3)
