"""Computed sizes that become constants, and Reshapes that need none."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from exporter.passes.constants import lift_constants
from exporter.passes.shape_arithmetic import fold_known_sizes, make_reshapes_relative
from exporter.passes.shapes import infer_shapes
from tests.exporter.passes.networks import elements, maker


def model_of(inputs: str, body: str, constants: str = "int64[1] c = {8}") -> ir.Model:
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["": 23]>
        g ({inputs}) => (float[] y) <{constants}> {{ {body} }}""")
    model.graph.outputs[0].shape = None
    lift_constants(model.graph, frozenset())
    return model


def reshape_of(model: ir.Model) -> ir.Node:
    return next(node for node in model.graph if node.op_type == "Reshape")


SPLIT = """
    b = Shape <start = 0, end = 1> (x)
    target = Concat <axis = 0> (b, rest)
    y = Reshape <allowzero = 1> (x, target)
"""


@pytest.mark.parametrize(
    ("axes", "rest", "expected"),
    [
        ("batch, length, 8", "-1, 2, 4", [0, 0, 2, 4]),
        ("batch, length, 8", "-1, 4", [0, -1, 4]),
        ("batch, 6, 8", "6, 2, -1", [0, 6, 2, 4]),
        ("2, 6, 8", "6, 2, -1", [2, 6, 2, 4]),
    ],
)
def test_a_reshape_is_said_relative_to_its_input(axes: str, rest: str, expected: list[int]) -> None:
    count = rest.count(",") + 1
    model = model_of(f"float[{axes}] x", SPLIT, f"int64[{count}] rest = {{{rest}}}")
    infer_shapes(model)
    node = reshape_of(make_reshapes_relative(model))
    assert elements(node.inputs[1]).tolist() == expected
    assert "allowzero" not in node.attributes


def test_a_reshape_with_two_open_sizes_keeps_its_arithmetic() -> None:
    model = model_of(
        "float[batch, length, 8] x, float[batch, 8, height, width] like",
        """
        b = Shape <end = 1> (x)
        hw = Shape <start = 2> (like)
        target = Concat <axis = 0> (b, hw, c)
        y = Reshape (x, target)
        """,
    )
    infer_shapes(model)
    node = reshape_of(make_reshapes_relative(model))
    assert maker(node.inputs[1]) == "Concat"


def test_a_size_of_the_same_name_elsewhere_is_not_copied_from_the_wrong_axis() -> None:
    model = model_of(
        "float[a, b, 8] x",
        """
        s = Shape <start = 1, end = 2> (x)
        target = Concat <axis = 0> (s, rest)
        y = Reshape (x, target)
        """,
        "int64[2] rest = {-1, 8}",
    )
    infer_shapes(model)
    node = reshape_of(make_reshapes_relative(model))
    # [b, a, 8] from [a, b, 8]: neither size stands where it stood.
    assert maker(node.inputs[1]) == "Concat"


def test_known_sizes_become_constants_of_the_same_rank_and_type() -> None:
    model = model_of(
        "float[2, 8, 3, 5] x",
        """
        h = Shape <start = 2, end = 3> (x)
        w = Shape <start = 3, end = 4> (x)
        a = Squeeze (h)
        b = Squeeze (w)
        product = Mul (a, b)
        small = Cast <to = 6> (product)
        y = Cast <to = 1> (small)
        """,
    )
    fold_known_sizes(model, infer_shapes(model))
    cast = model.graph.node(len(model.graph) - 1)
    array = elements(cast.inputs[0])
    assert (array.dtype, array.shape, int(array)) == ("int32", (), 15)


def test_a_size_that_is_open_is_not_folded() -> None:
    model = model_of("float[batch, 8, 3, 5] x", "s = Shape <end = 2> (x) y = Cast <to = 1> (s)")
    fold_known_sizes(model, infer_shapes(model))
    assert maker(model.graph.node(1).inputs[0]) == "Shape"


def test_a_computed_size_that_is_an_output_stays() -> None:
    model = model_of("float[2, 8, 3, 5] x", "y = Shape <start = 2> (x)")
    fold_known_sizes(model, infer_shapes(model))
    assert [node.op_type for node in model.graph] == ["Shape"]
    assert [value.name for value in model.graph.outputs] == ["y"]
