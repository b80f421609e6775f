"""A graph in ONNX, run by ONNX Runtime's CPU provider: the form that verification runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from exporter.passes.constants import array_of, is_weight
from exporter.portable import bind, unbind
from exporter.probes import Array, Dependencies, Shapes, Step
from exporter.targets.ort import load_session, run_session
from exporter.weights import Tensor

_SHAPE_OPS = frozenset({"Shape", "Size"})


class OnnxProbe:
    """A graph and the weights that it runs on; see `exporter.probes.Probe`."""

    def __init__(self, model: ir.Model, weights: Mapping[str, Tensor]) -> None:
        """Takes a portable or lowered graph; it is bound to no weights afterwards.

        Args:
            model: the graph, whose shapes and types were inferred.
            weights: Diffusers key → tensor, in one file where `in_place` shall run.
        """
        unbind(model)
        self._model, self._weights = model, weights
        self.inputs = tuple(_name(value) for value in model.graph.inputs)
        self.outputs = tuple(_name(value) for value in model.graph.outputs)
        self.steps = tuple(_steps(model.graph))
        self._dependencies = Dependencies.of(self.steps)
        self._dtypes = {
            _name(value): value.dtype
            for node in model.graph
            for value in (*node.inputs, *node.outputs)
            if value is not None
        }
        self._opsets = [helper.make_opsetid(*item) for item in model.opset_imports.items()]
        protos = (ir.to_proto(node) for node in model.graph)
        self._nodes = {name: node for node in protos for name in node.output}
        # Constants, and buffers such as CLIP's positions, which no weight file has.
        self._constants = {
            name: value.const_value.numpy()
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }

    def apart(
        self, names: Sequence[str], given: Mapping[str, Array], shapes: Shapes
    ) -> dict[str, Array]:
        """Runs the nodes in between as a model of their own; see `exporter.probes.Probe`."""
        part = _Part(self, given, shapes)
        for name in names:
            for step in self._dependencies.between(name, given.keys(), shapes.keys()):
                part.add(step)
        return part.run(names)

    def in_place(self, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the whole graph with more outputs; see `exporter.probes.Probe`."""
        model = self._model.clone()
        files = {tensor.file for tensor in self._weights.values()}
        assert len(files) == 1, "a graph runs in place on one weight file"
        bind(model, {key: (item.dtype, item.shape) for key, item in self._weights.items()})
        values = {_name(value): value for node in model.graph for value in node.outputs}
        more = [name for name in names if name not in self.outputs]
        model.graph.outputs.extend(values[name] for name in more)
        session = load_session(model, files.pop().parent)
        return run_session(session, names, feeds)

    def node_for(self, value: str) -> onnx.NodeProto | None:
        """The node that gives a value; None for inputs, weights and constants."""
        return self._nodes.get(value)

    def initializer(self, name: str) -> onnx.TensorProto | None:
        """A weight, widened to float32, or a constant; None for what is computed."""
        if name in self._constants:
            return numpy_helper.from_array(self._constants[name], name)
        if name in self._weights:
            values = np.ascontiguousarray(self._weights[name].read(), dtype=np.float32)
            return numpy_helper.from_array(values, name)
        return None

    def typed(self, name: str, array: Array) -> Array:
        """A value in the dtype that the graph gives it."""
        dtype = self._dtypes.get(name)
        return np.ascontiguousarray(array, dtype=None if dtype is None else dtype.numpy())

    @property
    def opsets(self) -> list[onnx.OperatorSetIdProto]:
        """The operator sets that the graph uses."""
        return self._opsets


class _Part:
    """A model made of some of a graph's nodes."""

    def __init__(self, probe: OnnxProbe, given: Mapping[str, Array], shapes: Shapes) -> None:
        self._probe, self._given, self._shapes = probe, given, shapes
        self._feeds: dict[str, Array] = {}
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._nodes: dict[str, onnx.NodeProto] = {}

    def add(self, step: Step) -> None:
        """Adds a node, with what only shapes its weights before it."""
        read = step.inputs[0]
        if step.reads_shape and read in self._shapes and read not in self._given:
            shape = np.array(self._shapes[read], np.int64)
            (output,) = step.outputs
            node = self._probe.node_for(output)
            self._initializers[output] = numpy_helper.from_array(_shape_of(node, shape), output)
            return
        self._add_node(step.outputs[0])

    def _add_node(self, output: str) -> None:
        node = self._probe.node_for(output)
        if node is None or node.name in self._nodes or output in self._initializers:
            return
        for name in node.input:
            if name in self._given:
                self._feeds[name] = self._probe.typed(name, self._given[name])
            elif name and (tensor := self._probe.initializer(name)) is not None:
                self._initializers[name] = tensor
            else:
                self._add_node(name)
        self._nodes[node.name] = node

    def run(self, names: Sequence[str]) -> dict[str, Array]:
        made = {name for node in self._nodes.values() for name in node.output}
        graph = helper.make_graph(
            list(self._nodes.values()),
            "part",
            [_value_info(name, array) for name, array in self._feeds.items()],
            [onnx.ValueInfoProto(name=name) for name in names if name in made],
            list(self._initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=self._probe.opsets, ir_version=10)
        session = load_session(model, None)
        return run_session(session, [name for name in names if name in made], self._feeds)


def _shape_of(node: onnx.NodeProto | None, shape: Array) -> Array:
    """What Shape or Size gives of a tensor of that shape."""
    assert node is not None
    if node.op_type == "Size":
        return np.array(np.prod(shape), np.int64)
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return shape[bounds.get("start", 0) : bounds.get("end", len(shape))]


def _value_info(name: str, array: Array) -> onnx.ValueInfoProto:
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, dtype, array.shape)


def _steps(graph: ir.Graph) -> list[Step]:
    shaped: dict[str, tuple[str, ...]] = {}  # values made of weights and constants alone → weights
    found: list[Step] = []
    for node in graph:
        weights: list[str] = []
        inputs: list[str] = []
        for value in node.inputs:
            if value is None or array_of(value) is not None:
                continue
            name = _name(value)
            if is_weight(value):
                weights.append(name)  # or a buffer
            elif name in shaped:
                weights.extend(shaped[name])
            else:
                inputs.append(name)
        outputs = tuple(_name(value) for value in node.outputs)
        if not inputs:
            shaped |= dict.fromkeys(outputs, tuple(weights))
            continue
        reads_shape = node.op_type in _SHAPE_OPS and node.domain == ""
        keys = tuple(dict.fromkeys(weights))
        name = node.name or outputs[0]
        found.append(Step(name, node.op_type, tuple(inputs), outputs, keys, reads_shape))
    return found


def _name(value: Any) -> str:
    assert value.name is not None
    return str(value.name)
