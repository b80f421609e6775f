"""Values of an IR, computed apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from exporter.compile import compile
from exporter.probes.ov import OvProbe
from exporter.weights import read_header
from runtimes.bundle import open_bundle
from runtimes.noise import Generator

Export = Callable[[str], Path]


def test_value_that_is_a_result_too_can_be_given(exported: Export, tmp_path: Path) -> None:
    """A text encoder hands out its hidden states, and its next layer reads them."""
    compile(exported("tiny-sd15"), tmp_path / "b", target="openvino", precision="fp32")
    weights = read_header(exported("tiny-sd15") / "text_encoder" / "model.safetensors")
    bundle = open_bundle(tmp_path / "b")
    path = bundle.path / "text_encoder" / "openvino_model.xml"
    probe = OvProbe(path, weights.keys(), bundle.graph("text_encoder"))
    assert "hidden_states.0" in probe.outputs
    norm = "text_model.encoder.layers.0.layer_norm1"
    value = next(step.outputs[0] for step in probe.steps if f"{norm}.bias" in step.weights)
    states = Generator(0).randn((1, 77, weights[f"{norm}.bias"].shape[0]))
    found = probe.apart([value], {"hidden_states.0": states}, {})[value]
    scale, bias = (weights[f"{norm}.{name}"].read() for name in ("weight", "bias"))
    centred = states - states.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    # float32 sums over 32 channels, in another order.
    np.testing.assert_allclose(found, normed * scale + bias, rtol=1e-5, atol=1e-6)
