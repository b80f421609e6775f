"""Attention as MultiHeadAttention."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from exporter.passes.lower_attention import lower_attention
from exporter.passes.shapes import infer_shapes, sizes_of
from tests.exporter.passes.networks import assert_close, run_onnxruntime

OPSET = '<ir_version: 10, opset_import: ["": 23]>'


def model_of(attributes: str, inputs: str = "", mask: str = "", value: int = 12) -> ir.Model:
    model = ir.from_onnx_text(f"""{OPSET}
        g (float[b, s, 12] q, float[b, t, 12] k, float[b, t, {value}] v{inputs})
            => (float[b, s, {value}] y)
        {{ y = Attention <{attributes}> (q, k, v{mask}) }}""")
    infer_shapes(model)
    return model


def feeds(queries: int, keys: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"q": (2, queries, 12), "k": (2, keys, 12), "v": (2, keys, 12)}
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("attributes", "queries", "keys"),
    [
        ("q_num_heads = 3, kv_num_heads = 3", 64, 64),
        ("q_num_heads = 3, kv_num_heads = 3", 64, 7),
        ("q_num_heads = 1, kv_num_heads = 1", 9, 9),
        ("q_num_heads = 3, kv_num_heads = 3, scale = 0.1", 9, 9),
        ("q_num_heads = 3, kv_num_heads = 3, is_causal = 1", 77, 77),
    ],
)
def test_results_stay(attributes: str, queries: int, keys: int) -> None:
    expected = run_onnxruntime(model_of(attributes), feeds(queries, keys))
    model = lower_attention(model_of(attributes))
    assert [(node.domain, node.op_type) for node in model.graph] == [
        ("com.microsoft", "MultiHeadAttention")
    ]
    assert_close(run_onnxruntime(model, feeds(queries, keys)), expected, tolerance=2e-6)


def test_the_lowered_node_keeps_name_shape_and_imports_its_domain() -> None:
    model = model_of("q_num_heads = 3, kv_num_heads = 3")
    model.graph.node(0).name = "mid_block.attn1/Attention"
    lower_attention(model)
    assert model.graph.opset_imports["com.microsoft"] == 1
    assert model.graph.node(0).name == "mid_block.attn1/Attention"
    infer_shapes(model)
    assert sizes_of(model.graph.node(0).outputs[0]) == ("b", "s", 12)


@pytest.mark.parametrize(
    "model",
    [
        model_of("q_num_heads = 3, kv_num_heads = 3", ", bool[1, 1, s, t] m", ", m"),
        model_of("q_num_heads = 3, kv_num_heads = 3, softcap = 5.0"),
        model_of("q_num_heads = 3, kv_num_heads = 3", value=6),
        ir.from_onnx_text(f"""{OPSET}
            g (float[b, 3, s, 4] q) => (float[b, 3, s, 4] y) {{ y = Attention (q, q, q) }}"""),
        ir.from_onnx_text(f"""{OPSET}
            g (float[b, s, 12] q, float[b, s, 4] k) => (float[b, s, 12] y)
            {{ y = Attention <q_num_heads = 3, kv_num_heads = 1> (q, k, k) }}"""),
    ],
    ids=["mask", "softcap", "narrow values", "4-D", "grouped queries"],
)
def test_what_the_operator_cannot_say_stays(model: ir.Model) -> None:
    lower_attention(model)
    assert [(node.domain, node.op_type) for node in model.graph] == [("", "Attention")]
    assert "com.microsoft" not in model.graph.opset_imports
