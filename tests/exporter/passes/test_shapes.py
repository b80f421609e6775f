"""Inference of shapes and of computed sizes, with named axes."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from exporter.passes.constants import lift_constants
from exporter.passes.shapes import infer_shapes, sizes_of
from tests.exporter.passes.networks import NETWORKS, captured

OPSET = '<ir_version: 10, opset_import: ["": 23, "com.microsoft": 1]>'


def inferred(body: str, inputs: str, constants: str = "") -> dict[str, tuple[object, ...] | None]:
    """Shapes of all values of a graph whose initializers are constants."""
    header = f"g ({inputs}) => (float[] out) <{constants}>" if constants else ""
    model = ir.from_onnx_text(
        f"{OPSET} {header or f'g ({inputs}) => (float[] out)'} {{ {body} out = Identity (y) }}"
    )
    model.graph.outputs[0].shape = None
    lift_constants(model.graph, frozenset())
    infer_shapes(model)
    return {str(value.name): sizes_of(value) for node in model.graph for value in node.outputs}


@pytest.mark.parametrize(
    ("target", "allowzero", "expected"),
    [
        ("0, -1, 8", 0, ("batch", "length", 8)),
        ("0, -1, 4", 0, ("batch", None, 4)),
        ("0, 5, 8", 1, (0, 5, 8)),
        ("0, 0, 2, 4", 0, ("batch", "length", 2, 4)),
        ("0, -1, 2, 4", 0, ("batch", "length", 2, 4)),
        ("0, 0, -1, 4", 0, ("batch", "length", 2, 4)),
        ("-1, 8", 0, (None, 8)),
        ("3, 5, 8", 1, (3, 5, 8)),
    ],
)
def test_reshape(target: str, allowzero: int, expected: tuple[object, ...]) -> None:
    rank = target.count(",") + 1
    shapes = inferred(
        f"y = Reshape <allowzero = {allowzero}> (x, t)",
        "float[batch, length, 8] x",
        f"int64[{rank}] t = {{{target}}}",
    )
    assert shapes["y"] == expected


def test_reshape_to_computed_sizes() -> None:
    shapes = inferred(
        """
        all = Shape (x)
        b = Shape <start = 0, end = 1> (x)
        hw = Shape <start = 2, end = 4> (x)
        axis = Shape <start = 2, end = 3> (x)
        h = Squeeze (axis)
        last = Shape <start = 3, end = 4> (x)
        w = Squeeze (last)
        product = Mul (h, w)
        flat = Reshape (product, one)
        target = Concat <axis = 0> (b, flat, c)
        moved = Transpose <perm = [0, 2, 3, 1]> (x)
        packed = Reshape (moved, target)
        back = Concat <axis = 0> (b, hw, c)
        y = Reshape (packed, back)
        """,
        "float[batch, 8, height, width] x",
        "int64[1] one = {-1}, int64[1] c = {8}",
    )
    assert shapes["packed"] == ("batch", "height*width", 8)
    assert shapes["y"] == ("batch", "height", "width", 8)


def test_resize_and_expand_to_computed_sizes() -> None:
    shapes = inferred(
        """
        first = Shape <end = 2> (x)
        sizes = Concat <axis = 0> (first, hw)
        large = Resize <mode = "nearest"> (x, , , sizes)
        b = Shape <end = 1> (x)
        y = Expand (one, b)
        """,
        "float[batch, 8, height, width] x",
        "int64[2] hw = {6, 10}, float[1] one = {1}",
    )
    assert shapes["large"] == ("batch", 8, 6, 10)
    assert shapes["y"] == ("batch",)


def test_group_normalization_and_multi_head_attention() -> None:
    shapes = inferred(
        """
        n = GroupNormalization <num_groups = 2> (x, s, s)
        y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, q, q)
        """,
        "float[batch, 4, h, w] x, float[4] s, float[batch, length, 8] q",
    )
    assert shapes["n"] == ("batch", 4, "h", "w")
    assert shapes["y"] == ("batch", "length", 8)


def test_unknown_sizes_stay_unknown() -> None:
    shapes = inferred(
        "y = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, k)",
        "float[batch, 8, height, width] x, float[16, 8, 3, 3] k",
    )
    assert shapes["y"] == ("batch", 16, None, None)


def test_an_operator_without_a_schema_leaves_the_rest_inferred() -> None:
    shapes = inferred("a = Relu (x) y = custom.Thing (a)", "float[batch, 8] x")
    assert shapes["a"] == ("batch", 8)
    assert shapes["y"] is None


def test_an_output_keeps_its_declared_axes_where_nothing_better_is_known() -> None:
    model = ir.from_onnx_text(f"""{OPSET}
        g (float[b, 8, h, w] x, float[16, 8, 3, 3] k) => (float[b, 16, half_h, 7] y)
        {{ y = Conv <strides = [2, 2]> (x, k) }}""")
    infer_shapes(model)
    assert sizes_of(model.graph.outputs[0]) == ("b", 16, "half_h", 7)


@pytest.mark.parametrize("name", NETWORKS)
def test_values_dont_share_type_objects(name: str) -> None:
    model = captured(name).fresh()
    infer_shapes(model)
    values = [value for node in model.graph for value in node.outputs]
    types = [id(value.type) for value in values if value.type is not None]
    assert len(set(types)) == len(types)
