"""An OpenVINO IR at concrete sizes, as the library itself infers them. Weights are not read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench.limits.graph import CountError, Node, Shape, SizedGraph, Tensor
from runtimes.engines.sdk import first_line, import_sdk

_NOT_RUN = frozenset({"Parameter", "Result", "Constant"})
_RUN_GRAPHS = frozenset({"If", "Loop", "TensorIterator"})
_GENERATES = frozenset({"RandomUniform"})


def read_ov_graph(path: Path, shapes: Mapping[str, Shape]) -> SizedGraph:
    """The nodes that one call runs.

    Args:
        path: the .xml file.
        shapes: of its inputs.

    Raises:
        EngineError: OpenVINO isn't installed.
        CountError: the file can't be read, a shape isn't the graph's, or a value's sizes depend on
            more than those of the inputs.
    """
    ov: Any = import_sdk("openvino", "openvino")
    try:
        model = ov.Core().read_model(str(path))
        model.reshape({_port(model, name): list(shape) for name, shape in shapes.items()})
    except RuntimeError as e:
        raise CountError(f"{path} can't be read at these sizes: {first_line(e)}") from e
    dynamic = [port.get_any_name() for port in model.inputs if port.partial_shape.is_dynamic]
    if dynamic:
        given = ", ".join(shapes) or "none"
        raise CountError(f"no shape is given of the graph's input {dynamic[0]} (given: {given}).")
    return _walk(model)


def _port(model: Any, name: str) -> Any:
    for port in model.inputs:
        if name in port.get_names():
            return port
    raise CountError(f"the graph has no input {name}.")


def _walk(model: Any) -> SizedGraph:
    tensors: dict[tuple[str, int], Tensor] = {}
    nodes: list[Node] = []
    for op in model.get_ordered_ops():
        kind, name = op.get_type_name(), op.get_friendly_name()
        if kind in _RUN_GRAPHS:
            raise CountError(
                f"{name} ({kind}) runs a graph of its own as often as the data say; it can't be "
                "counted."
            )
        inputs = tuple(tensors[_key(port.get_source_output())] for port in op.inputs())
        stored = _stored(op, kind, inputs)
        outputs = tuple(_tensor(port, name, kind, stored) for port in op.outputs())
        tensors |= {_key(port): item for port, item in zip(op.outputs(), outputs, strict=True)}
        if stored is None and kind not in _NOT_RUN:
            nodes.append(Node(name, kind, inputs, outputs, op.get_attributes()))
    return SizedGraph(
        tuple(nodes),
        tuple(tensors[_key(port)] for port in model.inputs),
        {port.get_any_name(): tensors[_key(port)] for port in model.outputs},
    )


def _key(port: Any) -> tuple[str, int]:
    return port.get_node().get_friendly_name(), port.get_index()


def _stored(op: Any, kind: str, inputs: tuple[Tensor, ...]) -> Mapping[str, float] | None:
    """What an operator's outputs are made of, if of weights and constants alone."""
    if kind == "Constant":
        port = op.output(0)
        size = Tensor(tuple(port.get_shape()), port.get_element_type().bitwidth, False).size_bytes
        return {op.get_friendly_name(): size}
    if kind == "Parameter" or kind in _GENERATES:
        return None
    made_of: dict[str, float] = {}
    for tensor in inputs:
        if tensor.stored is None:
            return None
        made_of |= tensor.stored
    return made_of


def _tensor(port: Any, name: str, kind: str, stored: Mapping[str, float] | None) -> Tensor:
    if port.get_partial_shape().is_dynamic:
        raise CountError(
            f"the sizes that {name} ({kind}) gives can't be told from the sizes of the inputs."
        )
    dtype = port.get_element_type()
    return Tensor(tuple(port.get_shape()), dtype.bitwidth, bool(dtype.is_real()), stored)
