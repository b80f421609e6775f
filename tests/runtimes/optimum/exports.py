"""Folders as Optimum and Optimum-Intel export them, made from bundles: their manifest is gone and
their graphs are changed to what those write."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
from openvino import Type
from openvino.preprocess import PrePostProcessor

from runtimes.manifest import MANIFEST_NAME

PARTS = ("text_encoder", "unet", "vae_decoder", "vae_encoder")


def as_optimum(bundle: Path, output: Path) -> Path:
    """From an ONNX Runtime bundle: weights within the graph, a timestep without axes."""
    _copy(bundle, output)
    for name in PARTS:
        path = output / name / "model.onnx"
        model = onnx.load(path)
        (output / name / "model.safetensors").unlink()
        if name == "unet":
            _scalar_timestep(model)
        onnx.save(model, path)
    return output


def _scalar_timestep(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["timestep_1" if i == "timestep" else i for i in node.input]
    (port,) = [port for port in model.graph.input if port.name == "timestep"]
    port.CopyFrom(onnx.helper.make_tensor_value_info("timestep", onnx.TensorProto.FLOAT, []))
    axes = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "timestep_axes")
    model.graph.initializer.append(axes)
    node = onnx.helper.make_node("Unsqueeze", ["timestep", "timestep_axes"], ["timestep_1"])
    model.graph.node.insert(0, node)


def as_optimum_intel(bundle: Path, output: Path) -> Path:
    """From an OpenVINO bundle: an int64 timestep of any length."""
    _copy(bundle, output)
    path = output / "unet" / "openvino_model.xml"
    # Read from the bundle: what is written may not be mapped.
    model = ov.Core().read_model(bundle / "unet" / "openvino_model.xml")
    adapted = PrePostProcessor(model)
    adapted.input("timestep").tensor().set_element_type(Type.i64)
    model = adapted.build()
    model.reshape({"timestep": ov.PartialShape([-1])})
    ov.save_model(model, path, compress_to_fp16=False)
    return output


def _copy(bundle: Path, output: Path) -> None:
    shutil.copytree(bundle, output)
    (output / MANIFEST_NAME).unlink()
    for name in PARTS:
        (output / name / "weight_map.json").unlink()
