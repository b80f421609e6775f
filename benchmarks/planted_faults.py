"""Faults of many kinds, planted in a copy of a bundle's component at a node drawn from a seed.

A wrong weight, a swapped activation, a drop in precision, … The copy passes the bundle's own
checks; only its numbers are wrong. `benchmarks.find_faults` shows that verification names the node.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper

from exporter.staged_files import list_files, write_manifest
from exporter.weights import Tensor, decode, read_header
from runtimes.manifest import MANIFEST_NAME, read_manifest

Array = np.ndarray
Random = np.random.Generator


@dataclass(frozen=True)
class Planted:
    """A fault.

    Attributes:
        kind: which of `KINDS`.
        node: name of the node whose output it spoils.
        what: what was done, in words.
    """

    kind: str
    node: str
    what: str


class Plot:
    """A component in which a fault is planted: its graph in memory, its weight file on disk."""

    def __init__(self, folder: Path, random: Random) -> None:
        """Reads the graph of a component's folder, weights aside."""
        self.folder, self.random = folder, random
        self.model = onnx.load(folder / "model.onnx", load_external_data=False)
        self.tensors = read_header(folder / "model.safetensors")
        self.graph = self.model.graph

    def nodes(self, *ops: str) -> list[onnx.NodeProto]:
        """Nodes of some operators."""
        return [node for node in self.graph.node if node.op_type in ops]

    def pick(self, nodes: Sequence[onnx.NodeProto]) -> onnx.NodeProto:
        """One of the nodes.

        Raises:
            LookupError: there is none.
        """
        if not nodes:
            raise LookupError("the graph has no node for this kind of fault")
        return nodes[int(self.random.integers(len(nodes)))]

    def weight_of(self, node: onnx.NodeProto, position: int = 1) -> str:
        """Key of the weight that a node reads, behind Cast and Transpose."""
        makers = {name: maker for maker in self.graph.node for name in maker.output}
        name = node.input[position]
        while name not in self.tensors:
            name = makers[name].input[0]
        return name

    def has_weight(self, node: onnx.NodeProto, position: int = 1) -> bool:
        """Whether a node reads a weight at that place."""
        try:
            self.weight_of(node, position)
        except (KeyError, IndexError):
            return False
        return True

    def write_weight(self, key: str, values: Array) -> None:
        """Puts other values in a weight's place in the file."""
        tensor = self.tensors[key]
        with tensor.file.open("r+b") as file:
            file.seek(tensor.offset)
            file.write(_encode(values, tensor))

    def insert_before(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        """Adds a node in front of another."""
        place = next(i for i, found in enumerate(self.graph.node) if found.name == node.name)
        self.graph.node.insert(place, new)

    def save(self) -> None:
        """Writes the graph back."""
        (self.folder / "model.onnx").write_bytes(self.model.SerializeToString())


def _encode(values: Array, tensor: Tensor) -> bytes:
    flat = np.ascontiguousarray(values, np.float32)
    if tensor.dtype == "BF16":
        return (flat.view(np.uint32) >> 16).astype("<u2").tobytes()
    return flat.astype({"F32": "<f4", "F16": "<f2"}[tensor.dtype]).tobytes()


def other_weight(plot: Plot) -> tuple[str, str]:
    """A convolution gets the weight of another one."""
    nodes = [node for node in plot.nodes("Conv") if plot.has_weight(node)]
    keys = {node.name: plot.weight_of(node) for node in nodes}
    twins = [
        (node, other)
        for node in nodes
        for other in keys.values()
        if other != keys[node.name]
        and plot.tensors[other].shape == plot.tensors[keys[node.name]].shape
    ]
    node, other = twins[int(plot.random.integers(len(twins)))]
    plot.write_weight(keys[node.name], plot.tensors[other].read())
    return node.name, f"{keys[node.name]} is {other}"


def one_value(plot: Plot) -> tuple[str, str]:
    """One value of a weight is 50 times the largest."""
    node = plot.pick([n for n in plot.nodes("Conv", "MatMul") if plot.has_weight(n)])
    key = plot.weight_of(node)
    values = plot.tensors[key].read().astype(np.float32)
    place = int(plot.random.integers(values.size))
    values.flat[place] = 50 * np.abs(values).max()
    plot.write_weight(key, values)
    return node.name, f"value {place} of {key} is {values.flat[place]:.3g}"


def coarse_weight(plot: Plot) -> tuple[str, str]:
    """A weight is rounded to 7 bits of mantissa."""
    node = plot.pick([n for n in plot.nodes("Conv", "MatMul") if plot.has_weight(n)])
    key = plot.weight_of(node)
    bits = np.ascontiguousarray(plot.tensors[key].read(), np.float32).view(np.uint32)
    plot.write_weight(key, decode(((bits + 0x8000) >> 16).astype("<u2").tobytes(), "BF16"))
    return node.name, f"{key} is rounded to bfloat16"


def lost_bias(plot: Plot) -> tuple[str, str]:
    """A convolution's bias is zero."""
    node = plot.pick([n for n in plot.nodes("Conv") if plot.has_weight(n, 2)])
    key = plot.weight_of(node, 2)
    plot.write_weight(key, np.zeros(plot.tensors[key].shape, np.float32))
    return node.name, f"{key} is zero"


def nan_weight(plot: Plot) -> tuple[str, str]:
    """One value of a weight is NaN."""
    node = plot.pick([n for n in plot.nodes("Conv", "MatMul") if plot.has_weight(n)])
    key = plot.weight_of(node)
    values = plot.tensors[key].read().astype(np.float32)
    values.flat[int(plot.random.integers(values.size))] = np.nan
    plot.write_weight(key, values)
    return node.name, f"{key} has a NaN"


def other_activation(plot: Plot) -> tuple[str, str]:
    """A sigmoid is a piecewise linear one."""
    node = plot.pick(plot.nodes("Sigmoid"))
    node.op_type = "HardSigmoid"
    return node.name, "Sigmoid is HardSigmoid"


def other_gelu(plot: Plot) -> tuple[str, str]:
    """The exact GELU is the one with tanh."""
    node = plot.pick(plot.nodes("Gelu"))
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("approximate", "tanh"))
    return node.name, "Gelu is approximated by tanh"


def half_precision(plot: Plot) -> tuple[str, str]:
    """A node computes on a first input that was rounded to fp16, and its output is rounded too."""
    node = plot.pick(plot.nodes("Conv", "MatMul", "LayerNormalization", "Attention"))
    name, (output,) = node.name, node.output
    half = helper.make_node("Cast", [node.input[0]], [f"{name}/half"], to=onnx.TensorProto.FLOAT16)
    wide = helper.make_node("Cast", [f"{name}/half"], [f"{name}/wide"], to=onnx.TensorProto.FLOAT)
    for new in (half, wide):
        new.name = new.output[0]
        plot.insert_before(node, new)
    node.input[0] = f"{name}/wide"
    place = next(i for i, found in enumerate(plot.graph.node) if found.name == name)
    node.output[0] = f"{name}/exact"
    rounded = helper.make_node(
        "Cast", [f"{name}/exact"], [f"{name}/rounded"], to=onnx.TensorProto.FLOAT16
    )
    back = helper.make_node("Cast", [f"{name}/rounded"], [output], to=onnx.TensorProto.FLOAT)
    for offset, new in enumerate((rounded, back)):
        new.name = f"{name}/Cast.{offset}"
        plot.graph.node.insert(place + 1 + offset, new)
    return name, f"{node.op_type} in fp16"


def other_epsilon(plot: Plot) -> tuple[str, str]:
    """A normalisation adds a larger number to the variance."""
    node = plot.pick(plot.nodes("GroupNormalization", "LayerNormalization"))
    found = {attribute.name: attribute for attribute in node.attribute}
    before = found["epsilon"].f if "epsilon" in found else 1e-5
    kept = [attribute for attribute in node.attribute if attribute.name != "epsilon"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("epsilon", before * 1000)])
    return node.name, f"epsilon is {before * 1000:g}"


def untransposed(plot: Plot) -> tuple[str, str]:
    """A linear layer multiplies by its square weight as it is stored."""
    makers = {name: maker for maker in plot.graph.node for name in maker.output}
    nodes = [
        node
        for node in plot.nodes("MatMul")
        if plot.has_weight(node) and makers[node.input[1]].op_type == "Transpose"
    ]
    square = [n for n in nodes if len(set(plot.tensors[plot.weight_of(n)].shape)) == 1]
    node = plot.pick(square)
    node.input[1] = makers[node.input[1]].input[0]
    return node.name, f"{plot.weight_of(node)} is not transposed"


def other_scale(plot: Plot) -> tuple[str, str]:
    """Attention scales its scores by 5 % more."""
    node = plot.pick(plot.nodes("Attention"))
    kept = [attribute for attribute in node.attribute if attribute.name != "scale"]
    scale = [attribute.f for attribute in node.attribute if attribute.name == "scale"]
    heads = next(a.i for a in node.attribute if a.name == "q_num_heads")
    shapes = {v.name: v for v in plot.graph.value_info}
    width = shapes[node.input[0]].type.tensor_type.shape.dim[-1].dim_value
    before = scale[0] if scale else (width / heads) ** -0.5
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("scale", before * 1.05)])
    return node.name, f"scale is {before * 1.05:.4g}"


def swapped_skip(plot: Plot) -> tuple[str, str]:
    """A concatenation has its two inputs in the other order."""
    shapes = {v.name: v for v in plot.graph.value_info}
    nodes = [
        node
        for node in plot.nodes("Concat")
        if len(node.input) == 2
        and all(n in shapes and len(shapes[n].type.tensor_type.shape.dim) == 4 for n in node.input)
    ]
    node = plot.pick(nodes)
    node.input[0], node.input[1] = node.input[1], node.input[0]
    return node.name, "inputs of Concat are swapped"


def other_interpolation(plot: Plot) -> tuple[str, str]:
    """A picture is enlarged linearly where the nearest value is meant."""
    node = plot.pick(plot.nodes("Resize"))
    kept = [a for a in node.attribute if a.name not in ("mode", "nearest_mode")]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("mode", "linear")])
    return node.name, "Resize is linear"


def shifted(plot: Plot) -> tuple[str, str]:
    """A convolution pads one side alone."""
    padded = [
        node
        for node in plot.nodes("Conv")
        if any(a.name == "pads" and list(a.ints) == [1, 1, 1, 1] for a in node.attribute)
    ]
    node = plot.pick(padded)
    kept = [attribute for attribute in node.attribute if attribute.name != "pads"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("pads", [0, 0, 2, 2])])
    return node.name, "pads are 0, 0, 2, 2"


KINDS: dict[str, Callable[[Plot], tuple[str, str]]] = {
    "another layer's weight": other_weight,
    "one wrong value in a weight": one_value,
    "a weight rounded to bf16": coarse_weight,
    "a bias lost": lost_bias,
    "a NaN in a weight": nan_weight,
    "a swapped activation": other_activation,
    "an approximated GELU": other_gelu,
    "a node in fp16": half_precision,
    "another epsilon": other_epsilon,
    "a weight not transposed": untransposed,
    "another attention scale": other_scale,
    "a skip connection swapped": swapped_skip,
    "another interpolation": other_interpolation,
    "a convolution padded askew": shifted,
}
"""Kind of fault → what plants it and returns the node and what was done."""


def plant(bundle: Path, component: str, kind: str, seed: int, output: Path) -> Planted:
    """Copies one component of a portable bundle, with a fault that its manifest doesn't show.

    Args:
        bundle: the portable bundle.
        component: the component to copy.
        kind: one of `KINDS`.
        seed: of the choice of a node.
        output: the new folder, which has everything but the other components.

    Raises:
        LookupError: the component has no node for this kind of fault.
    """
    manifest = read_manifest(bundle)
    others = [name for name in manifest.components if name != component]
    shutil.copytree(bundle, output, ignore=lambda _, names: [n for n in names if n in others])
    plot = Plot(output / component, np.random.default_rng(seed))
    node, what = KINDS[kind](plot)
    plot.save()
    (output / MANIFEST_NAME).unlink()
    kept = {component: manifest.components[component]}
    files = list_files(output, {})
    write_manifest(output, msgspec.structs.replace(manifest, components=kept, files=files))
    return Planted(kind, node, what)
