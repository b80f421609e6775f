"""Reads what an OpenVINO IR declares: the .xml alone, without OpenVINO and without the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from runtimes.errors import BundleError
from runtimes.manifest import DType, Port
from runtimes.optimum.header import Axes, GraphHeader, most_stored, named_port

_DTYPES: Mapping[str, DType] = {
    "f32": "float32",
    "fp32": "float32",
    "f16": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "u8": "uint8",
    "i8": "int8",
    "boolean": "bool",
    "bool": "bool",
}
"""An IR's element types, as `element_type` and as `precision` name them."""

_STORED: Mapping[str, str] = {**_DTYPES, "i4": "int4", "u4": "uint4"}


def read_openvino(path: Path, axes: Axes) -> GraphHeader:
    """Reads the header of an OpenVINO IR.

    Args:
        path: the .xml.
        axes: names for its axes of any size, which have none.

    Raises:
        BundleError: it can't be read or is no IR, or a port is of a kind that the runtime doesn't
            take.
    """
    try:
        net = ElementTree.parse(path).getroot()
    except OSError as e:
        raise BundleError(f"{path} can't be read: {e.strerror}.") from e
    except ElementTree.ParseError as e:
        raise BundleError(f"{path} is not an OpenVINO IR: {e}.") from e
    layers = net.findall("layers/layer")
    starts = [layer for layer in layers if layer.get("type") == "Parameter"]
    ends = [layer for layer in layers if layer.get("type") == "Result"]
    inputs = [_port(path, layer, "output", axes) for layer in starts]
    outputs = [_port(path, layer, "input", axes) for layer in ends]
    if net.tag != "net" or not inputs or not outputs:
        raise BundleError(f"{path} is not an OpenVINO IR: it has no network with ports.")
    sizes: Counter[str] = Counter()
    for data in net.iterfind("layers/layer[@type='Const']/data"):
        sizes[_STORED.get(data.get("element_type", ""), "")] += int(data.get("size", "0"))
    tools = {each.tag.removesuffix("_version"): each for each in net.iterfind("rt_info/optimum/*")}
    return GraphHeader(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        weights=(path.with_suffix(".bin").name,),
        precision=most_stored(sizes),
        tools={name: each.get("value", "") for name, each in tools.items() if each.get("value")},
    )


def _port(path: Path, layer: Element, side: str, axes: Axes) -> Port:
    """A port of the network: the output of a Parameter, or the input of a Result."""
    port = layer.find(f"{side}/port")
    given = layer.get("output_names") or (port is not None and port.get("names")) or ""
    name = given.split(",")[0]  # of several names the first will do
    dtype = _DTYPES.get(port.get("precision", "").lower()) if port is not None else None
    if port is None or not name or dtype is None:
        raise BundleError(
            f"{path}: {layer.get('name')} is no tensor with a name and a known element type."
        )
    return named_port(name, dtype, tuple(map(_axis, port.findall("dim"))), axes)


def _axis(dim: Element) -> int | None:
    size = int(dim.text or "-1")
    return size if size >= 0 else None
