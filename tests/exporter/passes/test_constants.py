"""Names of constants, and what tells them from weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from exporter.passes.constants import (
    array_of,
    constant,
    is_weight,
    lift_constants,
    weight_names,
)
from tests.exporter.passes.networks import elements


@pytest.fixture
def graph() -> ir.Graph:
    return ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[2] x) => (float[2] y) <float[2] key = {1, 2}>
        { c = Constant <value_floats = [3.0, 4.0]> () s = Mul (x, c) y = Add (s, key) }""").graph


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (np.array([0, -1, 320]), "constant.int64[3].0_-1_320"),
        (np.array(1), "constant.int64[].1"),
        (np.array([1]), "constant.int64[1].1"),
        (np.array([[1]], dtype=np.int32), "constant.int32[1x1].1"),
        (np.float32(1.5).reshape(()), "constant.float32[].1.5"),
        (np.array([], dtype=np.int64), "constant.int64[0]."),
        (np.arange(9), "constant.int64[9].419ce84f0e9d"),
    ],
)
def test_a_constant_is_named_by_its_content(graph: ir.Graph, array: np.ndarray, name: str) -> None:
    value = constant(graph, array)
    assert value.name == name
    assert np.array_equal(elements(value), array)
    assert elements(value).shape == array.shape
    assert value.dtype == ir.DataType.from_numpy(array.dtype)


def test_equal_constants_are_one_and_unequal_ones_are_not(graph: ir.Graph) -> None:
    first = constant(graph, np.array([1, 2]))
    assert constant(graph, np.array([1, 2])) is first
    for other in ([1, 3], [[1, 2]], [1.0, 2.0], [12]):
        assert constant(graph, np.array(other)) is not first


def test_large_constants_that_differ_have_different_names(graph: ir.Graph) -> None:
    first = np.arange(100)
    second = first.copy()
    second[50] = 0
    assert constant(graph, first) is not constant(graph, second)


def test_weights_are_the_initializers_of_the_capture(graph: ir.Graph) -> None:
    made = constant(graph, np.array([1]))
    assert weight_names(graph) == {"key"}
    assert is_weight(graph.initializers["key"])
    assert not is_weight(made)
    assert not is_weight(graph.inputs[0])
    assert not is_weight(None)


def test_a_weights_value_is_not_given(graph: ir.Graph) -> None:
    assert array_of(graph.initializers["key"]) is None
    assert array_of(graph.inputs[0]) is None
    assert array_of(None) is None
    assert elements(graph.node(0).outputs[0]).tolist() == [3, 4]
    assert elements(constant(graph, np.array([5]))).tolist() == [5]


def test_lifting_names_all_but_weights(graph: ir.Graph) -> None:
    folded = ir.Value(name="val_7", const_value=ir.tensor(np.array([3, 4], dtype=np.float32)))
    graph.register_initializer(folded)
    lift_constants(graph, frozenset({"key"}))
    assert list(graph.initializers) == ["key", "constant.float32[2].3.0_4.0"]
    assert [node.op_type for node in graph] == ["Mul", "Add"]
    assert graph.node(0).inputs[1] is graph.initializers["constant.float32[2].3.0_4.0"]
