"""A bundle with one small graph, and the same mathematics in NumPy.

`out_sample` is a 3×3 convolution of `sample` plus `timestep`, `projected` a product of `context`
with a transposed matrix, `echo` is `sample` untouched. The weights are fp16 in a safetensors file,
behind Casts, as the exporter leaves them. Core ML's package has the sizes of `feeds()` alone.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper

from runtimes.bundle import hash_file
from runtimes.engine import Array
from runtimes.manifest import (
    MANIFEST_NAME,
    Component,
    Defaults,
    File,
    Graph,
    Latents,
    Manifest,
    Port,
    Provenance,
    encode_manifest,
)
from tests.runtimes.engines.core_ml_packages import MODEL, WEIGHTS, builder, save

CHANNELS, CONTEXT, WIDTH = 4, 6, 5

Floats = NDArray[np.float32]
Shapes = dict[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class Model:
    """The weights, in fp16."""

    weights: dict[str, NDArray[np.float16]]

    @classmethod
    def random(cls, seed: int = 0) -> Model:
        rng = np.random.default_rng(seed)
        shapes: dict[str, tuple[int, ...]] = {
            "conv.weight": (CHANNELS, CHANNELS, 3, 3),
            "conv.bias": (CHANNELS,),
            "linear.weight": (WIDTH, CONTEXT),
        }
        return cls({k: rng.standard_normal(s).astype(np.float16) for k, s in shapes.items()})

    def __call__(self, feeds: dict[str, Floats]) -> dict[str, Array]:
        weight, bias, linear = (self.weights[k].astype(np.float32) for k in self.weights)
        padded = np.pad(feeds["sample"], ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(padded, (3, 3), axis=(2, 3))
        convolved = np.einsum("bchwij,ocij->bohw", windows, weight) + bias[:, None, None]
        return {
            "out_sample": (convolved + feeds["timestep"]).astype(np.float32),
            "projected": feeds["context"] @ linear.T,
            "echo": feeds["sample"],
        }


def feeds(batch: int = 2, height: int = 5, width: int = 7, seed: int = 1) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    return {
        "sample": rng.standard_normal((batch, CHANNELS, height, width), dtype=np.float32),
        "timestep": rng.standard_normal((1,), dtype=np.float32),
        "context": rng.standard_normal((batch, CONTEXT), dtype=np.float32),
    }


IMAGE = ("batch", CHANNELS, "height", "width")
INPUTS: Shapes = {"sample": IMAGE, "timestep": (1,), "context": ("batch", CONTEXT)}
OUTPUTS: Shapes = {"out_sample": IMAGE, "projected": ("batch", WIDTH), "echo": IMAGE}


def ports(shapes: Shapes) -> tuple[Port, ...]:
    return tuple(Port(role=k, name=k, dtype="float32", shape=s) for k, s in shapes.items())


def write_bundle(folder: Path, engine: str, model: Model) -> Graph:
    """Writes the graph for an engine, and a manifest that lists its files."""
    (folder / "unet").mkdir(parents=True)
    if engine == "coreml":
        return _write_package(folder, model)
    _write_onnx(folder / "unet", model)
    names = ("unet/model.onnx", "unet/model.safetensors")
    if engine == "openvino":
        names = ("unet/openvino_model.xml", "unet/openvino_model.bin")
        _convert(folder / "unet/model.onnx", folder / names[0])
    graph = Graph(
        file=names[0],
        inputs=ports(INPUTS),
        outputs=ports(OUTPUTS),
        weights=names[1:],
        precision="fp16",
        engine=engine,
    )
    write_manifest(folder, graph)
    return graph


def _write_package(folder: Path, model: Model) -> Graph:
    package = "unet/Unet.mlpackage"
    save(_program(model), folder / package)
    fed = feeds()
    sizes: dict[int | str, int] = dict(zip(IMAGE, fed["sample"].shape, strict=True))

    def fixed(shapes: Shapes) -> Shapes:
        return {name: tuple(sizes.get(axis, axis) for axis in s) for name, s in shapes.items()}

    graph = Graph(
        file=f"{package}/{MODEL}",
        inputs=ports(fixed(INPUTS)),
        outputs=ports(fixed(OUTPUTS)),
        weights=(f"{package}/{WEIGHTS}",),
        precision="fp16",
        engine="coreml",
    )
    write_manifest(folder, graph)
    return graph


def _program(model: Model) -> Any:
    import coremltools as ct

    mb = builder()
    specs = [mb.TensorSpec(array.shape) for array in feeds().values()]

    @mb.program(input_specs=specs, opset_version=ct.target.iOS18)
    def main(sample: Any, timestep: Any, context: Any) -> Any:
        weight, bias, linear = (mb.cast(x=w, dtype="fp32") for w in model.weights.values())
        convolved = mb.conv(x=sample, weight=weight, pad_type="same")
        convolved = mb.add(x=convolved, y=mb.reshape(x=bias, shape=[1, CHANNELS, 1, 1]))
        return (
            mb.add(x=convolved, y=timestep, name="out_sample"),
            mb.matmul(x=context, y=linear, transpose_y=True, name="projected"),
            mb.identity(x=sample, name="echo"),
        )

    return main


def write_manifest(folder: Path, graph: Graph) -> None:
    files = {
        name: File(size=(folder / name).stat().st_size, sha256=hash_file(folder / name))
        for name in (graph.file, *graph.weights)
    }
    (folder / "scheduler_config.json").write_bytes(b"{}")
    files["scheduler_config.json"] = File(size=2, sha256="0" * 64)
    manifest = Manifest(
        schema="1.0",
        family="sd1",
        tasks=("text-to-image",),
        prediction_type="epsilon",
        scheduler="scheduler_config.json",
        tokenizers={},
        latents=Latents(channels=4, scaling_factor=1.0, vae_factor=8),
        defaults=Defaults(
            height=64, width=64, num_inference_steps=1, guidance_scale=1.0, sampler="ddim"
        ),
        components={"unet": Component(graphs={"model": graph})},
        files=files,
        provenance=Provenance(source_sha256="0" * 64, tools={}, options={}),
    )
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(manifest))


def _write_onnx(folder: Path, model: Model) -> None:
    places = _write_safetensors(folder / "model.safetensors", model)
    nodes = [helper.make_node("Cast", [k], [f"{k}.f32"], to=TensorProto.FLOAT) for k in places]
    nodes += [
        helper.make_node(
            "Conv", ["sample", "conv.weight.f32", "conv.bias.f32"], ["convolved"], pads=[1] * 4
        ),
        helper.make_node("Add", ["convolved", "timestep"], ["out_sample"]),
        helper.make_node("Transpose", ["linear.weight.f32"], ["linear.t"], perm=[1, 0]),
        helper.make_node("MatMul", ["context", "linear.t"], ["projected"]),
        helper.make_node("Identity", ["sample"], ["echo"]),
    ]
    graph = helper.make_graph(nodes, "unet", _values(INPUTS), _values(OUTPUTS))
    graph.initializer.extend(_external(model, places))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


def _values(shapes: Shapes) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in shapes.items()]


def _write_safetensors(path: Path, model: Model) -> dict[str, tuple[int, int]]:
    """Returns the (offset in the file, length) of each tensor, in bytes."""
    header: dict[str, object] = {}
    start = 0
    for name, array in model.weights.items():
        offsets = [start, start := start + array.nbytes]
        header[name] = {"dtype": "F16", "shape": array.shape, "data_offsets": offsets}
    encoded = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in model.weights.values())
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    places: dict[str, tuple[int, int]] = {}
    start = 8 + len(encoded)
    for name, array in model.weights.items():
        places[name] = (start, array.nbytes)
        start += array.nbytes
    return places


def _external(model: Model, places: dict[str, tuple[int, int]]) -> list[onnx.TensorProto]:
    tensors: list[onnx.TensorProto] = []
    for name, (offset, length) in places.items():
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16)
        tensor.dims.extend(model.weights[name].shape)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": "model.safetensors", "offset": offset, "length": length}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    return tensors


def _convert(source: Path, target: Path) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(source), target, compress_to_fp16=True)
