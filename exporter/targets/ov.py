"""OpenVINO: an IR, `openvino_model.xml` and `.bin`, whose constants keep their Diffusers keys.

`fp16` stores the weights in half precision and `fp32` as the portable bundle has them; what the
device computes in is the engine's choice (float32 on a CPU). The library's own compression to fp16
is not used: it rounds every constant, the frequencies of the time embedding too, and at timestep
1000 that alone costs 5e-4 of the U-Net's output.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import onnx_ir as ir

from exporter.errors import CompileError
from exporter.portable import GRAPH_NAME as PORTABLE_NAME
from exporter.portable import WEIGHTS_NAME as PORTABLE_WEIGHTS
from exporter.portable import bind, save, unbind
from exporter.targets import Compiled, Target, fixed_ports
from exporter.weight_map import Mapped, write_weight_map
from exporter.weights import Planned, Tensor, read_header, stream
from runtimes.bundle import Bundle
from runtimes.manifest import Arithmetic, Component, Graph, Port

if TYPE_CHECKING:
    import openvino as ov

GRAPH_NAME = "openvino_model.xml"
WEIGHTS_NAME = "openvino_model.bin"

_DTYPE_NAMES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


class OpenVino(Target):
    """OpenVINO IR with fp16 storage, or with the weights as they are."""

    sdk = "openvino"
    precisions = ("fp16", "fp32")
    half_arithmetic = "fp16"  # a GPU computes so unless it is told otherwise, an NPU always

    def compile(
        self,
        bundle: Bundle,
        name: str,
        folder: Path,
        *,
        precision: str,
        sizes: Mapping[str, int],
        arithmetic: Arithmetic | None = None,
    ) -> Compiled:
        """Converts the graph, fixes its sizes, names its ports and saves it."""
        portable = bundle.graph(name)
        inputs, outputs = fixed_ports(portable.inputs, sizes), fixed_ports(portable.outputs, sizes)
        with _stored(bundle, portable, folder / name, precision) as source:
            inputs, weight_map = self._convert(source, inputs, folder / name / GRAPH_NAME)
        map_name = write_weight_map(folder / name, weight_map)
        graph = Graph(
            file=f"{name}/{GRAPH_NAME}",
            inputs=inputs,
            outputs=outputs,
            weights=(f"{name}/{WEIGHTS_NAME}",),
            precision=precision,
            engine="openvino",
            arithmetic=arithmetic,
        )
        return Compiled(Component(graphs={"model": graph}, weight_map=f"{name}/{map_name}"))

    def _convert(
        self, source: Path, inputs: tuple[Port, ...], path: Path
    ) -> tuple[tuple[Port, ...], dict[str, Mapped]]:
        """Writes the IR of an ONNX graph; gives its inputs and where its weights are."""
        import openvino as ov

        try:
            model = ov.Core().read_model(source)
        except RuntimeError as e:
            line = str(e).strip().splitlines()[-1]
            raise CompileError(f"OpenVINO can't read {source}: {line}") from e
        model.reshape({port.name: _partial_shape(port) for port in inputs})
        tensors = read_header(source.parent / PORTABLE_WEIGHTS)
        weights = _weights(model, tensors)
        inputs = self._adapt(model, inputs)
        _name_anew(model)
        ov.save_model(model, path, compress_to_fp16=False)
        _mark_decompression(path, {_conversion(key) for key in weights})
        return inputs, {
            key: _mapped(key, tensor, weights.get(key)) for key, tensor in tensors.items()
        }

    def _adapt(self, model: ov.Model, inputs: tuple[Port, ...]) -> tuple[Port, ...]:
        """Where a layout of the bundle wants other inputs: changes the model, gives its inputs."""
        del model
        return inputs


@contextmanager
def _stored(bundle: Bundle, portable: Graph, folder: Path, precision: str) -> Generator[Path]:
    """The portable graph, with its weights stored as they shall be.

    Where they are float32 and shall be half, they are streamed into a file that goes again and that
    OpenVINO maps. Constants that are halved in memory stay there beside the mapped originals.
    """
    path = bundle.path / portable.file
    tensors = read_header(bundle.path / portable.weights[0])
    if precision != "fp16" or all(tensor.dtype != "F32" for tensor in tensors.values()):
        yield path
        return
    with TemporaryDirectory(dir=folder, prefix=".halved-") as temporary:
        halved = Path(temporary)
        plan = {
            key: Planned(tensor, "F16" if tensor.dtype == "F32" else tensor.dtype)
            for key, tensor in tensors.items()
        }
        model = ir.load(path)
        unbind(model)
        bind(model, {key: (item.dtype, item.source.shape) for key, item in plan.items()})
        save(model, halved / PORTABLE_NAME)
        stream(halved / PORTABLE_WEIGHTS, plan)
        yield halved / PORTABLE_NAME


def _partial_shape(port: Port) -> list[int]:
    return [n if isinstance(n, int) else -1 for n in port.shape]


def _weights(model: ov.Model, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The model's constants that are weights, by Diffusers key."""
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    return {
        constant.get_friendly_name(): constant
        for constant in constants
        if constant.get_friendly_name() in tensors
    }


def _name_anew(model: ov.Model) -> None:
    """Gives nodes that OpenVINO numbered within its process numbers of the model's own order."""
    for index, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"{kind}.{index}")


def _conversion(key: str) -> str:
    """The name of the conversion behind a weight, as `exporter.portable.bind` gives it."""
    return f"{key}/Cast"


def _mark_decompression(path: Path, names: set[str]) -> None:
    """Marks the weights' conversions in a saved IR as what widens compressed weights.

    Without the mark the CPU plugin converts all weights when it loads the model: for SD 1.5's
    U-Net 6.1 s and 7.5 GB of RSS in place of 2.5 s and 5.8 GB, 1.7 of them the mapped file. The
    Python API can't set this attribute, the format can hold it.
    """
    tree = ElementTree.parse(path)
    for layer in tree.iterfind("layers/layer[@type='Convert']"):
        if layer.get("name") in names:
            marks = ElementTree.Element("rt_info")
            ElementTree.SubElement(marks, "attribute", name="decompression", version="0")
            layer.insert(1, marks)  # behind <data>
    with path.open("wb") as file:  # opened by its name, it would get Windows' line ends there
        tree.write(file, encoding="utf-8", xml_declaration=True)


def _mapped(key: str, tensor: Tensor, constant: Any) -> Mapped:
    """Says how a weight lies in the model.

    Raises:
        CompileError: it isn't as the portable bundle has it, and nothing says how it was altered.
    """
    if constant is None:
        return Mapped(tensor="", dtype="", layout="absent", shape=(), adaptable=False)
    shape = tuple(constant.get_output_shape(0))
    if shape != tensor.shape:
        raise CompileError(
            f"OpenVINO gave {key} the shape {list(shape)} where it has {list(tensor.shape)}."
        )
    dtype = _DTYPE_NAMES[constant.get_output_element_type(0).get_type_name()]
    return Mapped(tensor=key, dtype=dtype, layout="canonical", shape=shape)
