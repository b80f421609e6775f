"""An ONNX graph at concrete sizes. Weights in files beside the graph are not read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from benchmarks.bench.limits.graph import CountError, Node, Shape, SizedGraph, Tensor
from benchmarks.bench.limits.onnx_sizes import (
    MAX_KNOWN,
    Array,
    Typed,
    attributes,
    evaluate,
    infer,
)

_SUB_BYTE = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_BRANCHES = "If"
_GENERATES = frozenset({"RandomNormal", "RandomUniform"})


def read_onnx_graph(path: Path, shapes: Mapping[str, Shape]) -> SizedGraph:
    """The nodes that one call runs.

    Args:
        path: the graph.
        shapes: of its inputs.

    Raises:
        CountError: the file can't be read, an input's shape is missing or isn't the graph's, or a
            value's sizes depend on more than those of the inputs.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as e:
        raise CountError(f"{path} can't be read: {str(e).splitlines()[0]}.") from e
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    return _Reader(path.parent, model).read(shapes)


class _Reader:
    """Walks the nodes in their order, and knows of each value its sizes."""

    def __init__(self, folder: Path, model: onnx.ModelProto) -> None:
        self._folder, self._graph = folder, model.graph
        self._opsets = {_domain(item): item.version for item in model.opset_import}
        self._types: dict[str, int] = {}
        self._tensors: dict[str, Tensor] = {}
        self._values: dict[str, Array] = {}
        self._initializers: dict[str, TensorProto] = {}
        self._nodes: list[Node] = []
        self._assumed: set[str] = set()

    def read(self, shapes: Mapping[str, Shape]) -> SizedGraph:
        """The graph at these shapes of its inputs."""
        for tensor in self._graph.initializer:
            self._stored(tensor.name, tensor)
        inputs = [item for item in self._graph.input if item.name not in self._initializers]
        for item in inputs:
            tensor = item.type.tensor_type
            self._add(item.name, (tensor.elem_type, _input_shape(item, shapes)), None)
        self._walk(self._graph.node)
        return SizedGraph(
            tuple(self._nodes),
            tuple(self._tensors[item.name] for item in inputs),
            {item.name: self._tensor(item.name, "the graph") for item in self._graph.output},
            frozenset(self._assumed),
        )

    def _walk(self, nodes: Sequence[onnx.NodeProto]) -> None:
        for node in nodes:
            if node.op_type == "Constant" and not _domain(node):
                self._constant(node)
            elif node.op_type == _BRANCHES:
                self._branch(node)
            else:
                self._node(node)

    def _node(self, node: onnx.NodeProto) -> None:
        if any(item.type in _GRAPHS for item in node.attribute):
            raise CountError(
                f"{node.name} ({node.op_type}) runs a graph of its own as often as the data say; "
                "it can't be counted."
            )
        inputs = [self._tensor(name, node.name) if name else None for name in node.input]
        outputs = self._outputs(node, inputs)
        stored = _stored_of(node, inputs)
        named = [name for name in node.output if name]
        for name, typed in zip(named, outputs, strict=True):
            self._add(name, typed, stored)
        self._compute(node, outputs)
        if stored is None:
            self._nodes.append(
                Node(
                    name=node.name or named[0],
                    kind=node.op_type,
                    inputs=tuple(inputs),
                    outputs=tuple(self._tensors[name] for name in named),
                    attributes=attributes(node),
                    domain=_domain(node),
                )
            )

    def _outputs(self, node: onnx.NodeProto, inputs: Sequence[Tensor | None]) -> list[Typed]:
        typed = [
            None if tensor is None else (self._types[name], tensor.shape)
            for name, tensor in zip(node.input, inputs, strict=True)
        ]
        found = infer(node, self._opsets, typed, [self._value(name) for name in node.input])
        if found is not None:
            return found
        first = next((item for item in typed if item is not None), None)
        if first is None:
            raise CountError(f"{node.name} ({node.domain}.{node.op_type}) is not known here.")
        self._assumed.add(f"{node.domain}.{node.op_type}".lstrip("."))
        return [first] * sum(map(bool, node.output))

    def _compute(self, node: onnx.NodeProto, outputs: Sequence[Typed]) -> None:
        """Keeps the values of small outputs, where those of the inputs are known."""
        small = all(Tensor(shape, 1, False).size <= MAX_KNOWN for _, shape in outputs)
        if not small or node.op_type in _GENERATES:
            return
        found = evaluate(node, self._opsets, self._known_of(node))
        for name, value in zip([name for name in node.output if name], found or (), strict=False):
            self._values[name] = value

    def _known_of(self, node: onnx.NodeProto) -> list[Array | None]:
        if node.op_type != "Shape":
            return [self._value(name) for name in node.input]
        # Of which the sizes alone matter; the elements are never touched.
        (name,) = node.input
        return [np.broadcast_to(np.zeros((), np.uint8), self._tensors[name].shape)]

    def _branch(self, node: onnx.NodeProto) -> None:
        """Walks the branch that a known condition chooses."""
        condition = self._value(node.input[0])
        if condition is None:
            raise CountError(f"which branch {node.name} (If) takes depends on the data.")
        taken = attributes(node)["then_branch" if condition.any() else "else_branch"]
        for tensor in taken.initializer:
            self._stored(tensor.name, tensor)
        self._walk(taken.node)
        for outer, inner in zip(node.output, taken.output, strict=True):
            self._types[outer] = self._types[inner.name]
            self._tensors[outer] = self._tensor(inner.name, node.name)
            if inner.name in self._values:
                self._values[outer] = self._values[inner.name]

    def _constant(self, node: onnx.NodeProto) -> None:
        given = attributes(node)
        tensor = given.get("value")
        if not isinstance(tensor, TensorProto):
            key, value = next(iter(given.items()))
            if not key.startswith(("value_int", "value_float")):
                raise CountError(f"{node.output[0]} (Constant) is no plain tensor: {key}.")
            dtype = np.int64 if key.startswith("value_int") else np.float32
            tensor = numpy_helper.from_array(np.asarray(value, dtype=dtype))
        self._stored(node.output[0], tensor)

    def _stored(self, name: str, tensor: TensorProto) -> None:
        self._initializers[name] = tensor
        typed = (tensor.data_type, tuple(tensor.dims))
        size_bytes = Tensor(typed[1], *_kind(typed[0])).size_bytes
        self._add(name, typed, {name: size_bytes})

    def _add(self, name: str, typed: Typed, stored: Mapping[str, float] | None) -> None:
        self._types[name] = typed[0]
        self._tensors[name] = Tensor(typed[1], *_kind(typed[0]), stored)

    def _tensor(self, name: str, reader: str) -> Tensor:
        if name not in self._tensors:
            raise CountError(f"{reader} reads {name}, which no node before it gives.")
        return self._tensors[name]

    def _value(self, name: str) -> Array | None:
        """What is known of a value; it is read from its file where sizes may depend on it."""
        tensor = self._initializers.get(name)
        if name in self._values or tensor is None or not _is_shape_like(tensor):
            return self._values.get(name)
        # Where it can't be read it stays unknown, which is told if a size depends on it.
        with contextlib.suppress(OSError, ValueError, onnx.checker.ValidationError):
            self._values[name] = numpy_helper.to_array(tensor, base_dir=str(self._folder))
        return self._values.get(name)


_GRAPHS = frozenset({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})
_TEXTS = frozenset({TensorProto.STRING, TensorProto.UNDEFINED})
_FEW = 16


def _is_shape_like(tensor: TensorProto) -> bool:
    """Whether sizes may be computed with it: whole numbers, or few others, such as scales."""
    _, is_float = _kind(tensor.data_type)
    return math.prod(tensor.dims) <= (_FEW if is_float else MAX_KNOWN)


def _domain(item: onnx.NodeProto | onnx.OperatorSetIdProto) -> str:
    """The set of operators; ONNX's own has two names."""
    return "" if item.domain == "ai.onnx" else item.domain


def _kind(dtype: int) -> tuple[int, bool]:
    """Bits of an element, and whether it is a floating-point number."""
    if dtype in _TEXTS:
        raise CountError("the graph has tensors of text; it can't be counted.")
    name: str = TensorProto.DataType.Name(dtype)
    numpy = helper.tensor_dtype_to_np_dtype(dtype)
    is_float = "FLOAT" in name or name == "DOUBLE"
    return _SUB_BYTE.get(name, numpy.itemsize * 8), is_float


def _stored_of(node: onnx.NodeProto, inputs: Sequence[Tensor | None]) -> Mapping[str, float] | None:
    """What a node's output is made of, if of weights and constants alone."""
    if node.op_type in _GENERATES:
        return None
    made_of: dict[str, float] = {}
    for tensor in inputs:
        if tensor is not None and tensor.stored is None:
            return None
        made_of |= {} if tensor is None or tensor.stored is None else tensor.stored
    return made_of


def _input_shape(item: onnx.ValueInfoProto, shapes: Mapping[str, Shape]) -> Shape:
    if item.name not in shapes:
        given = ", ".join(shapes) or "none"
        raise CountError(f"no shape is given of the graph's input {item.name} (given: {given}).")
    shape, declared = shapes[item.name], item.type.tensor_type.shape.dim
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in declared]
    fits = len(sizes) == len(shape) and all(
        size in (None, given) for size, given in zip(sizes, shape, strict=True)
    )
    if not fits:
        named = [size.dim_param or size.dim_value for size in declared]
        raise CountError(
            f"input {item.name} has shape [{', '.join(map(str, named))}], given was {list(shape)}."
        )
    return shape
