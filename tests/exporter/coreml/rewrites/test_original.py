"""Attention as products of all heads: masks, scales and the range of half precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.fx import Node

from exporter.coreml.program import Program, evaluate
from exporter.coreml.rewrites import ATTENTIONS, rewrite_attention
from exporter.coreml.rewrites.attention import SDPA
from exporter.errors import CompileError
from tests.exporter.coreml.rewrites.programs import Arrays, assert_close, built, copied

_aten: Any = torch.ops.aten

SHAPES = {"q": (2, 3, 5, 16), "k": (2, 3, 7, 16), "v": (2, 3, 7, 4)}


def attention(program: Program, nodes: dict[str, Node], *rest: Any, **named: Any) -> Node:
    return program.call(SDPA, nodes["q"], nodes["k"], nodes["v"], *rest, **named)


def feeds(shapes: dict[str, tuple[int, ...]], scale: float = 1) -> Arrays:
    random = np.random.default_rng(0)
    return {
        name: random.standard_normal(shape, np.float32) * scale for name, shape in shapes.items()
    }


def rewritten(program: Program) -> Program:
    found = copied(program)
    rewrite_attention(found, "original")
    return found


def test_another_scale_is_kept() -> None:
    program = built(SHAPES, lambda program, nodes: attention(program, nodes, scale=0.7))
    given = feeds(SHAPES)
    assert_close(evaluate(rewritten(program), given, {}), evaluate(program, given, {}))


def test_what_a_mask_hides_has_no_weight() -> None:
    def make(program: Program, nodes: dict[str, Node]) -> Node:
        mask = program.call(_aten.lt.Scalar, nodes["mask"], 0)
        return attention(program, nodes, mask)

    shapes = {**SHAPES, "mask": (2, 1, 5, 7)}
    program, given = built(shapes, make), feeds(shapes, 30)
    assert_close(evaluate(rewritten(program), given, {}), evaluate(program, given, {}))


def test_a_mask_of_numbers_is_added() -> None:
    shapes = {**SHAPES, "mask": (2, 1, 5, 7)}
    program = built(shapes, lambda program, nodes: attention(program, nodes, nodes["mask"]))
    given = feeds(shapes)
    assert_close(evaluate(rewritten(program), given, {}), evaluate(program, given, {}))


def test_one_mask_is_made_once() -> None:
    def make(program: Program, nodes: dict[str, Node]) -> Node:
        mask = program.call(_aten.lt.Scalar, nodes["mask"], 0)
        one, other = (attention(program, nodes, mask, scale=scale) for scale in (1.0, 2.0))
        return program.call(_aten.add.Tensor, one, other)

    program = rewritten(built({**SHAPES, "mask": (2, 1, 5, 7)}, make))
    masks = program.graph.find_nodes(op="call_function", target=_aten.logical_not.default)
    assert len(masks) == 1


def test_scores_stay_in_the_range_of_half_precision() -> None:
    # 64 products of 36 and 36 are 82944; the scores are 1/8 of that.
    shapes = {"q": (1, 1, 2, 64), "k": (1, 1, 3, 64), "v": (1, 1, 3, 4)}
    program = built(shapes, attention, torch.float16)
    given = {"q": np.full(shapes["q"], 36.0), "k": np.full(shapes["k"], 36.0)}
    given["k"][:, :, 1] = 35
    given["v"] = feeds(shapes)["v"]
    found = evaluate(rewritten(program), given, {})["out"]
    np.testing.assert_allclose(
        found, np.repeat((given["v"][:, :, :1] + given["v"][:, :, 2:]) / 2, 2, axis=2), atol=1e-3
    )


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize(
    ("named", "text"),
    [({"is_causal": True}, "is_causal=True"), ({"dropout_p": 0.5}, "dropout_p=0.5")],
)
def test_attention_of_another_kind_is_refused(name: str, named: dict[str, Any], text: str) -> None:
    program = built(SHAPES, lambda program, nodes: attention(program, nodes, **named))
    with pytest.raises(
        CompileError, match=f"scaled_dot_product_attention.*: attention with {text} can't be "
    ):
        rewrite_attention(program, name)


def test_attention_that_was_taken_apart_is_no_program_for_a_rewrite() -> None:
    program = built(
        {"x": (1, 3)}, lambda program, nodes: program.call(_aten.softmax.int, nodes["x"], -1)
    )
    with pytest.raises(AssertionError):
        rewrite_attention(program, "sdpa")
