"""Masks that are causal, and masks that are nearly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from exporter.passes.causal_masks import causal_masks
from exporter.passes.constants import constant
from exporter.passes.shapes import infer_shapes
from exporter.passes.simplify import simplify
from tests.exporter.passes.networks import ENGINES, assert_close, captured

LENGTH = 5
LOWER = np.tril(np.ones((LENGTH, LENGTH), dtype=np.bool_))


def model_of(mask: np.ndarray, keys: str = "5", expand: bool = False) -> ir.Model:
    """Attention of 2 heads of 4, with a constant mask, expanded to the batch if asked."""
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["": 23]>
        g (float[b, 2, 5, 4] q, float[b, 2, {keys}, 4] k, float[b, 2, {keys}, 4] v)
            => (float[b, 2, 5, 4] y)
        <int64[3] rest = {{1, 5, 5}}, bool m = {{1}}>
        {{
            n = Shape <end = 1> (q)
            target = Concat <axis = 0> (n, rest)
            e = Expand (m, target)
            y = Attention (q, k, v, e)
        }}""")
    value = constant(model.graph, mask)
    expansion, attention = model.graph.node(2), model.graph.node(3)
    expansion.replace_input_with(0, value)
    if not expand:
        attention.replace_input_with(3, value)
    infer_shapes(model)
    return model


def is_causal(model: ir.Model) -> bool:
    node = next(node for node in model.graph if node.op_type == "Attention")
    return bool(node.attributes.get_int("is_causal", 0)) and len(node.inputs) == 3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("expand", [False, True])
def test_results_stay(engine: str, expand: bool) -> None:
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal((3, 2, LENGTH, 4), np.float32) for name in "qkv"}
    mask = LOWER[np.newaxis, np.newaxis]
    expected = ENGINES[engine](model_of(mask, expand=expand), feeds)
    model = causal_masks(model_of(mask, expand=expand))
    assert [node.op_type for node in model.graph] == ["Attention"]
    assert is_causal(model)
    assert_close(ENGINES[engine](model, feeds), expected, tolerance=1e-6)


def one_more() -> np.ndarray:
    mask = LOWER.copy()
    mask[0, LENGTH - 1] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "keys"),
    [
        (one_more(), "5"),
        (LOWER.T, "5"),
        (np.ones_like(LOWER), "5"),
        (LOWER.astype(np.float32), "5"),  # added to the scores, masks nothing out
        (LOWER, "7"),
        (LOWER, "t"),
        (np.stack([LOWER, one_more()])[np.newaxis], "5"),  # one head differs
    ],
    ids=["one more", "upper", "full", "float", "other length", "unknown length", "per head"],
)
def test_other_masks_stay(mask: np.ndarray, keys: str) -> None:
    assert not is_causal(causal_masks(model_of(mask, keys)))


def test_clip_is_causal() -> None:
    model = causal_masks(simplify(captured("text_encoder").fresh()))
    attentions = [node for node in model.graph if node.op_type == "Attention"]
    assert len(attentions) == 2
    for node in attentions:
        assert node.attributes.get_int("is_causal") == 1
        assert len(node.inputs) == 3
    assert not [name for name in model.graph.initializers if name.startswith("constant.bool")]


def test_a_unets_attention_is_not() -> None:
    model = causal_masks(simplify(captured("unet").fresh()))
    attentions = [node for node in model.graph if node.op_type == "Attention"]
    assert [node.attributes.get_int("is_causal", 0) for node in attentions] == [0] * 8
