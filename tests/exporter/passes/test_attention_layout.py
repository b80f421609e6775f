"""Attention on packed heads: where the rewrite applies, and where it must not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from exporter.passes.attention_layout import attention_layout
from exporter.passes.constants import lift_constants
from exporter.passes.shapes import infer_shapes
from exporter.passes.simplify import simplify
from tests.exporter.passes.networks import ENGINES, NETWORKS, assert_close, captured

OPSET = '<ir_version: 10, opset_import: ["": 23]>'
GRAPH = """{opset}
    g (float[b, s, 12] q, float[b, t, 12] k, float[b, t, 12] v{inputs}) => (float[b, s, 12] y)
    <int64[4] split = {{0, -1, 3, 4}}, int64[3] merge = {{0, -1, 12}}>
    {{
        q1 = Reshape (q, split)
        k1 = Reshape (k, split)
        v1 = Reshape (v, split)
        q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
        k2 = Transpose <perm = [{key_perm}]> (k1)
        v2 = Transpose <perm = [0, 2, 1, 3]> (v1)
        a = Attention <is_causal = {causal}, scale = 0.3> (q2, k2, v2{mask})
        a1 = Transpose <perm = [0, 2, 1, 3]> (a)
        {end}
    }}"""


def model_of(
    causal: int = 0,
    inputs: str = "",
    mask: str = "",
    key_perm: str = "0, 2, 1, 3",
    end: str = "y = Reshape (a1, merge)",
) -> ir.Model:
    text = GRAPH.format(
        opset=OPSET, causal=causal, inputs=inputs, mask=mask, key_perm=key_perm, end=end
    )
    model = ir.from_onnx_text(text)
    lift_constants(model.graph, frozenset())
    infer_shapes(model)
    return model


def feeds(keys: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"q": (2, 5, 12), "k": (2, keys, 12), "v": (2, keys, 12)}
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("causal", [0, 1])
def test_results_stay(engine: str, causal: int) -> None:
    expected = ENGINES[engine](model_of(causal), feeds())
    model = attention_layout(model_of(causal))
    assert [node.op_type for node in model.graph] == ["Attention"]
    assert_close(ENGINES[engine](model, feeds()), expected, tolerance=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_results_stay_with_a_mask(engine: str) -> None:
    def masked() -> ir.Model:
        return model_of(inputs=", bool[1, 1, 5, 7] m", mask=", m")

    mask = np.random.default_rng(1).random((1, 1, 5, 7)) < 0.7
    mask[..., 0] = True
    given = {**feeds(keys=7), "m": mask}
    expected = ENGINES[engine](masked(), given)
    model = attention_layout(masked())
    assert [node.op_type for node in model.graph] == ["Attention"]
    assert_close(ENGINES[engine](model, given), expected, tolerance=1e-6)


def test_heads_and_attributes_are_said() -> None:
    node = attention_layout(model_of(causal=1)).graph.node(0)
    assert node.attributes.get_int("q_num_heads") == 3
    assert node.attributes.get_int("kv_num_heads") == 3
    assert node.attributes.get_int("is_causal") == 1
    assert node.attributes.get_float("scale") == pytest.approx(0.3)
    assert [value and value.name for value in node.inputs] == ["q", "k", "v"]


@pytest.mark.parametrize(
    "model",
    [
        model_of(key_perm="0, 2, 3, 1"),
        model_of(end="t = Reshape (a1, merge) c = Relu (a1) d = Reshape (c, merge) y = Add (t, d)"),
        model_of(end="r = Relu (a1) y = Reshape (r, merge)"),
    ],
    ids=["other transpose", "split output used as well", "no reshape behind"],
)
def test_near_misses_stay(model: ir.Model) -> None:
    before = Counter(node.op_type for node in model.graph)
    assert Counter(node.op_type for node in attention_layout(model).graph) == before


def test_a_reshape_that_mixes_batch_and_sequence_stays() -> None:
    model = model_of()
    target = next(node for node in model.graph if node.op_type == "Reshape")
    model.graph.initializers["constant.x"] = value = ir.Value(
        name="constant.x", const_value=ir.tensor(np.array([-1, 6, 3, 4])), shape=ir.Shape([4])
    )
    value.dtype = ir.DataType.INT64
    target.replace_input_with(1, value)
    infer_shapes(model)
    attention_layout(model)
    assert Counter(node.op_type for node in model.graph)["Transpose"] == 4


@pytest.mark.parametrize(
    ("name", "attentions"),
    [("unet", 8), ("text_encoder", 2), ("vae_decoder", 1), ("vae_encoder", 1)],
)
def test_every_attention_of_a_network_is_rewritten(name: str, attentions: int) -> None:
    model = simplify(captured(name).fresh())
    before = Counter(node.op_type for node in model.graph)
    attention_layout(model)
    after = Counter(node.op_type for node in model.graph)
    assert after["Attention"] == attentions
    assert before["Transpose"] - after["Transpose"] == 4 * attentions
    assert before["Reshape"] - after["Reshape"] == 4 * attentions
    assert all("q_num_heads" in n.attributes for n in model.graph if n.op_type == "Attention")


def test_all_networks_are_covered() -> None:
    assert set(NETWORKS) == {"unet", "text_encoder", "vae_decoder", "vae_encoder"}
