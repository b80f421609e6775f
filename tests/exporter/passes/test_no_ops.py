"""Which nodes give back their input, and which only look like it."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from exporter.passes.constants import lift_constants
from exporter.passes.no_ops import drop_no_ops
from exporter.passes.shapes import infer_shapes

LAST = 9223372036854775807


def left(body: str, constants: str = "int64[1] none = {0}") -> list[str]:
    """Operators that stay, of a graph of x [batch, 4] and the given constants."""
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["": 23]>
        g (float[batch, 4] x) => (float[] y) <{constants}> {{ {body} y = Relu (r) }}""")
    model.graph.outputs[0].shape = None
    lift_constants(model.graph, frozenset())
    infer_shapes(model)
    return [node.op_type for node in drop_no_ops(model).graph]


SLICE = "int64[1] s = {{{0}}}, int64[1] e = {{{1}}}, int64[1] a = {{{2}}}, int64[1] t = {{{3}}}"


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("r = Identity (x)", "float one = {1}"),
        ("r = Div (x, one)", "float one = {1}"),
        ("r = Mul (x, one)", "float one = {1}"),
        ("r = Cast <to = 1> (x)", "float one = {1}"),
        ("r = Slice (x, s, e, a, t)", SLICE.format(0, LAST, 0, 1)),
        ("r = Slice (x, s, e, a, t)", SLICE.format(0, 4, 1, 1)),
        ("r = Slice (x, s, e, a)", SLICE.format(0, 5, 1, 1)),
        ("r = Slice (x, s, e)", "int64[2] s = {0, 0}, int64[2] e = {9223372036854775807, 4}"),
        ("r = Reshape (x, t)", "int64[2] t = {0, 4}"),
        ("r = Reshape (x, t)", "int64[2] t = {-1, 4}"),
        ("n = Shape (x) r = Expand (x, n)", "float one = {1}"),
    ],
)
def test_no_ops_go(body: str, constants: str) -> None:
    assert [op for op in left(body, constants) if op != "Shape"] == ["Relu"]


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("r = Div (x, two)", "float two = {2}"),
        ("r = Div (one, x)", "float one = {1}"),
        ("r = Mul (x, one)", "float[1, 1, 1] one = {1}"),  # adds an axis
        ("r = Slice (x, s, e, a, t)", SLICE.format(1, LAST, 0, 1)),
        ("r = Slice (x, s, e, a, t)", SLICE.format(0, 4, 0, 1)),  # the batch may be larger
        ("r = Slice (x, s, e, a, t)", SLICE.format(0, 3, 1, 1)),
        ("r = Slice (x, s, e, a, t)", SLICE.format(0, LAST, 1, 2)),
        ("r = Slice (x, s, e, a, t)", SLICE.format(0, -1, 1, 1)),
        ("r = Reshape (x, t)", "int64[2] t = {-1, 2}"),
        ("r = Reshape (x, t)", "int64[2] t = {4, -1}"),
        ("r = Expand (x, n)", "int64[2] n = {3, 4}"),
    ],
)
def test_what_only_looks_like_a_no_op_stays(body: str, constants: str) -> None:
    assert len(left(body, constants)) == 2


def test_a_cast_to_another_type_stays() -> None:
    assert left("h = Cast <to = 10> (x) r = Cast <to = 1> (h)") == ["Cast", "Cast", "Relu"]


def test_an_output_that_a_no_op_makes_keeps_its_name() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[b, 4] x) => (float[b, 4] y) <float one = {1}>
        { r = Relu (x) y = Div (r, one) }""")
    lift_constants(model.graph, frozenset())
    infer_shapes(model)
    drop_no_ops(model)
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_an_input_that_is_an_output_keeps_its_identity_node() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[b, 4] x) => (float[b, 4] y) { y = Identity (x) }""")
    infer_shapes(model)
    assert [node.op_type for node in drop_no_ops(model).graph] == ["Identity"]


def test_an_output_that_is_another_output_keeps_its_identity_node() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[b, 4] x) => (float[b, 4] y, float[b, 4] z) { y = Relu (x) z = Identity (y) }""")
    infer_shapes(model)
    assert [node.op_type for node in drop_no_ops(model).graph] == ["Relu", "Identity"]
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
