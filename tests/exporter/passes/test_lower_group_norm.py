"""GroupNormalization by InstanceNormalization, against torch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
import torch

from exporter.passes.fix_sizes import fix_sizes
from exporter.passes.lower_group_norm import lower_group_norm
from exporter.passes.shapes import infer_shapes
from tests.exporter.passes.networks import assert_close, captured, run_onnxruntime

GROUPS, CHANNELS = 4, 12


def model_of(shape: str) -> ir.Model:
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["": 23]>
        g (float[{shape}] x, float[{CHANNELS}] scale, float[{CHANNELS}] bias)
            => (float[{shape}] y)
        {{ y = GroupNormalization <num_groups = {GROUPS}, epsilon = 1e-3> (x, scale, bias) }}""")
    infer_shapes(model)
    return model


def feeds(shape: tuple[int, ...], mean: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "x": torch.randn(shape, generator=generator) + mean,
        "scale": torch.randn(CHANNELS, generator=generator),
        "bias": torch.randn(CHANNELS, generator=generator),
    }


@pytest.mark.parametrize(
    ("declared", "shape"),
    [
        ("b, 12, h, w", (3, 12, 9, 13)),
        ("b, 12, 9, w", (3, 12, 9, 13)),
        ("3, 12, 9, 13", (3, 12, 9, 13)),
        ("b, 12, h, w", (1, 12, 64, 64)),
        ("b, 12, l", (3, 12, 117)),
    ],
)
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_lowered_form_is_torchs_group_norm(
    declared: str, shape: tuple[int, ...], mean: float
) -> None:
    given = feeds(shape, mean)
    expected = torch.nn.functional.group_norm(
        given["x"], GROUPS, given["scale"], given["bias"], eps=1e-3
    )
    found = run_onnxruntime(lower_group_norm(model_of(declared)), given)
    assert_close(found, {"y": expected.numpy()}, tolerance=1e-5)


@pytest.mark.parametrize(
    ("shape", "shapes_computed"), [("b, 12, h, w", 1), ("b, 12, 9, w", 0), ("b, 12, l", 0)]
)
def test_a_shape_is_computed_only_where_two_sizes_are_open(
    shape: str, shapes_computed: int
) -> None:
    count = Counter(node.op_type for node in lower_group_norm(model_of(shape)).graph)
    assert count == Counter(
        Reshape=2, InstanceNormalization=1, Mul=1, Add=1, Unsqueeze=2, Shape=shapes_computed
    ) - Counter(Shape=0)


def test_scale_and_bias_stay_as_they_are() -> None:
    model = fix_sizes(captured("unet").fresh(), {"batch": 1, "height": 8, "width": 8})
    users = {
        key: [node.op_type for node in model.graph.initializers[key].consumers()]
        for key in ("conv_norm_out.weight", "conv_norm_out.bias")
    }
    assert users == {key: ["GroupNormalization"] for key in users}
    lower_group_norm(model)
    for key in users:
        (user,) = model.graph.initializers[key].consumers()
        assert user.op_type == "Unsqueeze"


def test_the_number_of_nodes_of_a_network() -> None:
    model = fix_sizes(captured("unet").fresh(), {"batch": 1, "height": 8, "width": 8})
    before = len(model.graph)
    lower_group_norm(model)
    assert len(model.graph) - before == 6 * 21


def test_two_axes_or_an_unknown_rank_stay() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[b, 12] x, float[12] s) => (float[b, 12] y)
        { y = GroupNormalization <num_groups = 4> (x, s, s) }""")
    infer_shapes(model)
    assert [node.op_type for node in lower_group_norm(model).graph] == ["GroupNormalization"]
    model.graph.inputs[0].shape = None
    assert [node.op_type for node in lower_group_norm(model).graph] == ["GroupNormalization"]


def test_large_means_cost_less_than_in_the_engines_own_expansion() -> None:
    given = feeds((1, 12, 64, 64), mean=100.0)
    expected = torch.nn.functional.group_norm(
        given["x"].double(), GROUPS, given["scale"].double(), given["bias"].double(), eps=1e-3
    ).numpy()
    errors = [
        float(np.abs(run_onnxruntime(model, given)["y"] - expected).max())
        for model in (lower_group_norm(model_of("b, 12, h, w")), model_of("b, 12, h, w"))
    ]
    assert errors[0] < 1e-4 < errors[1]
