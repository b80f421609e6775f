"""A graph in half precision throughout."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from exporter.passes.half_arithmetic import half_arithmetic
from exporter.passes.shapes import infer_shapes
from exporter.targets.ort import load_session, run_session

MODEL = """
<ir_version: 10, opset_import: ["" : 23]>
agraph (float[1] timestep, float[2, 3] x) => (float[2, 4] y)
<float16[3, 4] weight = {1,2,3,4,5,6,7,8,9,10,11,12},
 float[1] "constant.frequency" = {0.5},
 float[1] "constant.mask" = {-3.0e38}>
{
  angle = Mul(timestep, "constant.frequency")
  wave = Sin(angle)
  widened = Cast<to = 1>(weight)
  product = MatMul(x, widened)
  shifted = Add(product, wave)
  y = Max(shifted, "constant.mask")
}
"""


def _model() -> ir.Model:
    model = ir.from_onnx_text(MODEL)
    infer_shapes(model)
    return model


def _run(model: ir.Model, timestep: float) -> np.ndarray:
    x = np.array([[1, 2, 3], [0.1, 0.2, 0.3]], np.float32)
    feeds = {"timestep": np.array([timestep], np.float32), "x": x}
    return run_session(load_session(model, None), ["y"], feeds)["y"]


def test_all_behind_the_first_weight_is_half() -> None:
    model = half_arithmetic(_model())
    dtypes = {value.name: value.dtype for node in model.graph for value in node.outputs}
    assert {dtypes[name] for name in ("angle", "wave")} == {ir.DataType.FLOAT}
    assert {dtypes[name] for name in ("product", "shifted")} == {ir.DataType.FLOAT16}
    assert "widened" not in dtypes
    assert [value.dtype for value in model.graph.outputs] == [ir.DataType.FLOAT]


@pytest.mark.parametrize("timestep", [1.0, 1999.0])
def test_numbers_stay_but_for_rounding(timestep: float) -> None:
    """In fp16, 1999 · 0.5 would be 1000 in the place of 999.5, and its sine another number."""
    whole, half = _run(_model(), timestep), _run(half_arithmetic(_model()), timestep)
    np.testing.assert_allclose(half, whole, rtol=2e-3)
    assert half.dtype == np.float32
