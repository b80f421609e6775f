"""What simplifying leaves of captured networks, and of small graphs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from exporter.passes.constants import PREFIX, weight_names
from exporter.passes.simplify import simplify
from tests.exporter.passes.networks import NETWORKS, captured, elements

OPSET = '<ir_version: 10, opset_import: ["": 23]>'


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_idle_is_left(name: str) -> None:
    count = operators(simplify(captured(name).fresh()))
    for op_type in ("Identity", "Constant", "CastLike", "Range", "SequenceAt", "SplitToSequence"):
        assert count[op_type] == 0, op_type


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("unet", 833, 386), ("text_encoder", 186, 86), ("vae_decoder", 153, 102)],
)
def test_node_counts(name: str, before: int, after: int) -> None:
    network = captured(name)
    assert len(network.model.graph) == before
    assert len(simplify(network.fresh()).graph) == after


def test_sizes_are_computed_once() -> None:
    count = operators(simplify(captured("unet").fresh()))
    # The batch, height and width of the input, and the batch and channels before the upsampling.
    assert count["Shape"] == 4
    # Of the 10, 5 join feature maps and 2 the time embedding; 3 make shapes.
    assert count["Concat"] == 10


def test_names_tell_modules() -> None:
    model = simplify(captured("unet").fresh())
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    assert "down_blocks.0.resnets.0.conv1/Conv" in names
    assert "mid_block.attentions.0.transformer_blocks.0.attn1/Attention" in names
    values = [value for node in model.graph for value in node.outputs]
    assert len({value.name for value in values}) == len(values)
    assert {value.name for value in model.graph.outputs} == {"out_sample"}


def test_no_trace_of_the_torch_program_is_left() -> None:
    model = simplify(captured("unet").fresh())
    assert all(not node.metadata_props and node.doc_string is None for node in model.graph)


def test_all_values_have_types_and_all_tensors_ranks() -> None:
    model = simplify(captured("unet").fresh())
    for node in model.graph:
        for value in node.outputs:
            assert value.dtype is not None, node.name
            assert value.shape is not None, node.name


def test_constants_are_folded_but_weights_are_not() -> None:
    model = ir.from_onnx_text(f"""{OPSET}
        g (float[n, 2] x) => (float[n, 2] y)
        <float[2] key_a = {{1, 2}}, float[2] key_b = {{1, 2}}>
        {{
            two = Constant <value_float = 2.0> ()
            three = Constant <value_float = 3.0> ()
            six = Mul (two, three)
            a = Mul (key_a, six)
            b = Transpose (key_b)
            c = Add (a, b)
            y = Add (x, c)
        }}""")
    simplify(model)
    assert operators(model) == {"Mul": 1, "Transpose": 1, "Add": 2}
    assert weight_names(model.graph) == {"key_a", "key_b"}
    kept = model.graph.initializers["key_b"].const_value
    assert kept is not None
    assert np.array_equal(kept.numpy(), [1, 2])
    constants = [name for name in model.graph.initializers if name.startswith(PREFIX)]
    assert constants == ["constant.float32[].6.0"]


def test_equal_nodes_and_equal_constants_become_one() -> None:
    model = ir.from_onnx_text(f"""{OPSET}
        g (float[n, 2] x) => (float[n, 2] y)
        {{
            one = Constant <value_ints = [1]> ()
            uno = Constant <value = int64[1] {{1}}> ()
            a = Unsqueeze (x, one)
            b = Unsqueeze (x, uno)
            c = Add (a, b)
            y = Squeeze (c, one)
        }}""")
    simplify(model)
    assert operators(model) == {"Unsqueeze": 1, "Add": 1, "Squeeze": 1}
    assert list(model.graph.initializers) == ["constant.int64[1].1"]


def test_unsqueezes_are_joined() -> None:
    model = ir.from_onnx_text(f"""{OPSET}
        g (float[n, 2] x) => (float[n, 2, 1, 1] y)
        <int64[1] two = {{2}}, int64[1] three = {{3}}>
        {{ a = Unsqueeze (x, two) y = Unsqueeze (a, three) }}""")
    for name in ("two", "three"):
        value = model.graph.initializers.pop(name)
        value.name = f"{PREFIX}{name}"
        model.graph.register_initializer(value)
    simplify(model)
    assert [node.op_type for node in model.graph] == ["Unsqueeze"]
    assert elements(model.graph.node(0).inputs[1]).tolist() == [2, 3]
