"""A graph as OpenVINO IR, run by its CPU plugin. Values have the names that ONNX gave them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exporter.probes import Array, Dependencies, Shapes, Step
from runtimes.engines.ov import device_properties
from runtimes.errors import EngineError
from runtimes.manifest import Graph

_SHAPE_OPS = frozenset({"ShapeOf"})
_NOT_RUN = frozenset({"Constant", "Parameter"})


class OvProbe:
    """An IR; see `exporter.probes.Probe`. Parts are cut out of copies, which share its weights."""

    def __init__(self, path: Path, keys: Collection[str], graph: Graph) -> None:
        """Reads an IR.

        Args:
            path: the .xml file.
            keys: of its weights, whose constants have these names.
            graph: what the manifest says of it.
        """
        import openvino as ov

        self._ov: Any = ov
        core: Any = ov.Core()
        core.set_property("CPU", device_properties("cpu", graph, None, None))
        self._core = core
        self._model: Any = core.read_model(path)
        self._places: dict[str, tuple[str, int]] = {}
        self.inputs = tuple(port.get_any_name() for port in self._model.inputs)
        self.outputs = tuple(port.get_any_name() for port in self._model.outputs)
        self.steps = tuple(self._read_steps(frozenset(keys)))
        self._dependencies = Dependencies.of(self.steps)

    def apart(
        self, names: Sequence[str], given: Mapping[str, Array], shapes: Shapes
    ) -> dict[str, Array]:
        """Compiles the nodes in between as a model of their own; see `exporter.probes.Probe`."""
        read = {
            value: step
            for name in names
            for step in self._dependencies.between(name, given.keys(), shapes.keys())
            for value in (*step.inputs, *(step.outputs if step.reads_shape else ()))
        }
        copy = _Copy(self._ov, self._model, self._places)
        feeds = {name: copy.parameter(name, given[name]) for name in read if name in given}
        for value, step in read.items():
            source = step.inputs[0]
            if value in step.outputs and source in shapes and source not in given:
                copy.constant(value, np.array(shapes[source], np.int64))
        return self._run(copy, names, feeds, copy.parameters)

    def in_place(self, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compiles the whole model with more results; see `exporter.probes.Probe`."""
        copy = _Copy(self._ov, self._model, self._places)
        typed = {name: copy.typed(name, array) for name, array in feeds.items()}
        return self._run(copy, names, typed, copy.model.get_parameters())

    def _run(
        self,
        copy: _Copy,
        names: Sequence[str],
        feeds: Mapping[str, Array],
        parameters: Sequence[Any],
    ) -> dict[str, Array]:
        # The CPU plugin takes no second result at an output.
        own = dict(zip(self.outputs, copy.model.get_results(), strict=True))
        results = [own[n] if n in own else self._ov.opset13.result(copy.port(n)) for n in names]
        try:
            model = self._core.compile_model(self._ov.Model(results, list(parameters)), "CPU")
            found = model(dict(feeds))
            return {name: np.array(found[index]) for index, name in enumerate(names)}
        except RuntimeError as e:
            line = str(e).strip().splitlines()[-1]
            raise EngineError(f"OpenVINO failed on a part of the graph: {line}") from e

    def _read_steps(self, keys: frozenset[str]) -> list[Step]:
        weights: dict[str, tuple[str, ...]] = {}
        found: list[Step] = []
        nodes: Any = self._model.get_ordered_ops()
        for node in nodes:
            kind = node.get_type_name()
            if kind == "Result":
                # It has an output of its own with the name of the value that it hands out.
                continue
            ports: Any = node.outputs()
            names = [self._name(port) for port in ports]
            if kind == "Constant":
                key = node.get_friendly_name()
                weights.update(dict.fromkeys(names, (key,) if key in keys else ()))
            if kind in _NOT_RUN:
                continue
            read_ports: Any = node.inputs()
            sources = [self._name(port.get_source_output()) for port in read_ports]
            inputs = tuple(name for name in sources if name not in weights)
            read = tuple(dict.fromkeys(key for name in sources for key in weights.get(name, ())))
            if not inputs:
                weights.update(dict.fromkeys(names, read))
                continue
            name = node.get_friendly_name()
            found.append(Step(name, kind, inputs, tuple(names), read, kind in _SHAPE_OPS))
        return found

    def _name(self, port: Any) -> str:
        """A port's name in the graph; what OpenVINO added is named after its node."""
        names = sorted(port.get_names())
        node = f"{port.get_node().get_friendly_name()}:{port.get_index()}"
        name = next((n for n in names if n in self.outputs), names[0] if names else node)
        self._places[name] = (port.get_node().get_friendly_name(), port.get_index())
        return name


class _Copy:
    """A copy of a model, in which values are replaced by parameters and constants."""

    def __init__(self, ov: Any, model: Any, places: Mapping[str, tuple[str, int]]) -> None:
        self._ov, self._places = ov, places
        self.model = model.clone()
        self._nodes = {node.get_friendly_name(): node for node in self.model.get_ops()}
        self.parameters: list[Any] = []

    def port(self, name: str) -> Any:
        """Where a value comes from."""
        node, index = self._places[name]
        return self._nodes[node].output(index)

    def parameter(self, name: str, array: Array) -> Array:
        """Puts a parameter of the array's shape in a value's place; returns what to feed it."""
        feed = self.typed(name, array)
        dtype = self.port(name).get_element_type()
        parameter = self._ov.opset13.parameter(list(array.shape), dtype)
        self._replace(name, parameter)
        parameter.output(0).set_names({name})
        self.parameters.append(parameter)
        return feed

    def typed(self, name: str, array: Array) -> Array:
        """A value in the dtype that the graph gives it."""
        return np.ascontiguousarray(array, dtype=self.port(name).get_element_type().to_dtype())

    def constant(self, name: str, array: Array) -> None:
        """Puts a constant in a value's place."""
        dtype = self.port(name).get_element_type().to_dtype()
        self._replace(name, self._ov.opset13.constant(array.astype(dtype)))

    def _replace(self, name: str, node: Any) -> None:
        port = self.port(name)
        port.set_names(set())
        for user in port.get_target_inputs():
            user.replace_source_output(node.output(0))
