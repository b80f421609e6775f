"""Runs a captured program in torch, operator by operator, with weights read when they are needed.

It is the same program that the ONNX graph was made from, so each of its values can be compared with
the graph's. In memory are the values that are still needed, and one operator's weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx.node import map_arg

from exporter.components.base import Component, Config
from exporter.errors import SourceError
from exporter.mapped_network import read_float32
from exporter.weights import Tensor

Array = NDArray[Any]

State = dict[str, Any]
"""The program's live values by its own names: tensors, sizes, lists of tensors."""


class TorchProgram:
    """A captured program and the weights that it runs on.

    Attributes:
        operators: names of its operators in order; each gives the value of that name.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        component: Component,
        config: Config,
        weights: Mapping[str, Tensor],
    ) -> None:
        """Takes a program that was captured under fake tensors.

        Args:
            program: what `exporter.trace.trace` gave.
            component: whose network it is.
            config: the network's config.
            weights: Diffusers key → tensor.

        Raises:
            SourceError: the program needs a tensor that is neither a weight nor a known buffer.
        """
        self._feeds = [port.name for port in component.inputs(config)]
        self._weights = weights
        self._buffers = component.buffers(config)
        self._nodes = [node for node in program.graph.nodes if node.op == "call_function"]
        self._inputs = _user_inputs(program)
        self._keys = _keys(program, component)
        known = weights.keys() | self._buffers.keys()
        for name, key in self._keys.items():
            if key not in known and any(user.op != "output" for user in _users(program, name)):
                raise SourceError(f"{component.name}'s capture needs {key}, which has no value.")
        self.operators: tuple[str, ...] = tuple(node.name for node in self._nodes)
        self._last_use = self._last_uses(program)

    def start(self, feeds: Mapping[str, Array]) -> State:
        """The state before the first operator.

        Args:
            feeds: by port name, of any sizes that the component takes.
        """
        given = (torch.from_numpy(np.array(feeds[name])) for name in self._feeds)
        return dict(zip(self._inputs, given, strict=True))

    def advance(self, state: State, index: int) -> State:
        """The state after operator `index`, from the one before it; values of no more use go."""
        node = self._nodes[index]
        args, kwargs = (self._values(state, part) for part in (node.args, node.kwargs))
        with torch.inference_mode():
            value = node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]
        after = {**state, node.name: value}
        return {name: found for name, found in after.items() if self._last_use[name] > index}

    def after(self, index: int) -> Iterator[str]:
        """Names of the operators' values that are needed after operator `index`, or returned."""
        return (name for name in self.operators[: index + 1] if self._last_use[name] > index)

    def _values(self, state: State, part: Any) -> Any:
        return map_arg(part, lambda node: self._value(state, node))

    def _value(self, state: State, node: torch.fx.Node) -> Any:
        if node.name in state:
            return state[node.name]
        key = self._keys[node.name]
        if key in self._buffers:
            return torch.from_numpy(np.array(self._buffers[key]))
        return read_float32(self._weights[key])

    def _last_uses(self, program: torch.export.ExportedProgram) -> dict[str, int]:
        places = {node.name: index for index, node in enumerate(self._nodes)}
        end = len(self._nodes)
        return {
            node.name: max((places.get(user.name, end) for user in node.users), default=-1)
            for node in program.graph.nodes
        }


def as_array(value: object) -> Array | None:
    """A live value as float32 or integers; None for what is no tensor."""
    if not isinstance(value, torch.Tensor):
        return None
    return (value.float() if value.is_floating_point() else value).numpy()


def _user_inputs(program: torch.export.ExportedProgram) -> list[str]:
    names = program.graph_signature.user_inputs
    assert all(isinstance(name, str) for name in names)
    return [str(name) for name in names]


def _keys(program: torch.export.ExportedProgram, component: Component) -> dict[str, str]:
    """The program's names of parameters and buffers → Diffusers keys."""
    signature = program.graph_signature
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return {name: component.canonical(key.removeprefix("network.")) for name, key in named.items()}


def _users(program: torch.export.ExportedProgram, name: str) -> list[torch.fx.Node]:
    (node,) = (node for node in program.graph.nodes if node.name == name)
    return list(node.users)
