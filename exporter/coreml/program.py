"""A component's captured program in the form that is rewritten and lowered to MIL.

It is torch's graph of ATen operators. Weights and inputs are its placeholders; every node knows the
shape and dtype of what it gives, as a tensor without memory.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from exporter.components.base import Component, Config
from exporter.errors import SourceError
from exporter.trace import capture_fixed

Array = NDArray[Any]

VALUE = "val"
"""The key of a node's `meta` where torch keeps the tensor without memory."""


@dataclass(frozen=True)
class Program:
    """A captured component.

    Attributes:
        graph: its operators. Rewrites change it in place; `Program.call` makes new nodes.
        inputs: port name → placeholder, in the component's order.
        outputs: port name → node, in the component's order.
        weights: placeholder's name → Diffusers key.
        buffers: placeholder's name → value of what no file holds.
        mode: under which the nodes' values were made.
    """

    graph: Graph
    inputs: dict[str, Node]
    outputs: dict[str, Node]
    weights: dict[str, str]
    buffers: dict[str, Array]
    mode: FakeTensorMode

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """A new node at the graph's insertion point (`graph.inserting_before`) with its value.

        Args:
            target: an operator such as `torch.ops.aten.add.Tensor`.
            args: its arguments; nodes stand for what they give.
            kwargs: likewise.
        """
        node = self.graph.call_function(target, args, kwargs)
        with self.mode:
            node.meta[VALUE] = _called(node, value_of)
        return node

    def replace(self, old: Node, new: Node) -> None:
        """Puts a node in the place of another, in the graph and among the outputs.

        Raises:
            AssertionError: they differ in shape or dtype.
        """
        was, now = value_of(old), value_of(new)
        assert (was.shape, was.dtype) == (now.shape, now.dtype), (old, was, new, now)
        old.replace_all_uses_with(new)
        for name, node in self.outputs.items():
            if node is old:
                self.outputs[name] = new

    def keep_outputs(self, names: Sequence[str]) -> None:
        """Gives these outputs alone, in this order; what only others needed goes."""
        kept = {name: self.outputs[name] for name in names}
        self.outputs.clear()
        self.outputs.update(kept)
        self.graph.output_node().args = (tuple(kept.values()),)
        self.tidy()

    def tidy(self) -> None:
        """Drops nodes that nothing uses, inputs and weights apart, and checks the graph.

        Torch itself would keep attention, which might draw random numbers, and its assertions.
        """
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        self.graph.lint()


def value_of(node: Node) -> FakeTensor:
    """What a node gives: a tensor without memory that has its shape and dtype."""
    return node.meta[VALUE]


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of what a node gives."""
    return tuple(int(size) for size in value_of(node).shape)


def capture_program(
    component: Component,
    config: Config,
    sizes: Mapping[str, int],
    *,
    half: bool,
    exact: Container[str] = (),
    repeat: Mapping[str, int] | None = None,
) -> Program:
    """Captures a component at fixed sizes; see `exporter.trace.capture_fixed`.

    Raises:
        SourceError: the program needs a tensor that is neither a weight nor a known buffer.
    """
    exported = capture_fixed(component, config, sizes, half=half, exact=exact, repeat=repeat)
    inputs = [port.name for port in component.inputs(config)]
    outputs = [port.name for port in component.outputs(config)]
    return program_of(
        exported,
        inputs,
        outputs,
        key_of=lambda key: component.canonical(key.removeprefix("network.")),
        buffers=component.buffers(config),
    )


def program_of(
    exported: torch.export.ExportedProgram,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    key_of: Callable[[str], str] = str,
    buffers: Mapping[str, Array],
) -> Program:
    """A captured program of torch in the form that is rewritten and lowered.

    Args:
        exported: decomposed.
        inputs: names for its inputs, in order.
        outputs: names for its outputs, in order.
        key_of: the key of a parameter's or buffer's own name.
        buffers: values by key of what no file holds.

    Raises:
        SourceError: it needs a tensor that is neither a parameter nor a known buffer.
    """
    signature = exported.graph_signature
    placeholders = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    keys = {name: key_of(key) for name, key in named.items()}
    weights = {name: key for name, key in keys.items() if key not in buffers}
    for name, key in weights.items():
        if name not in signature.inputs_to_parameters and placeholders[name].users:
            raise SourceError(f"the capture needs {key}, which has no value.")
    (returned,) = exported.graph.output_node().args
    assert isinstance(returned, tuple | list)
    given = [node for node in returned if isinstance(node, Node)]
    fed = [placeholders[str(name)] for name in signature.user_inputs]
    return Program(
        graph=exported.graph,
        inputs=dict(zip(inputs, fed, strict=True)),
        outputs=dict(zip(outputs, given, strict=True)),
        weights=weights,
        buffers={name: np.array(buffers[key]) for name, key in keys.items() if key in buffers},
        mode=_mode(placeholders),
    )


def _mode(placeholders: Mapping[str, Node]) -> FakeTensorMode:
    values = (node.meta[VALUE] for node in placeholders.values())
    return next(value.fake_mode for value in values if isinstance(value, FakeTensor))


def evaluate(
    program: Program, feeds: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
    """Runs a program in torch, operator by operator, in its own dtypes: what tests compare with.

    Args:
        program: captured, rewritten or not.
        feeds: by port name.
        weights: by Diffusers key.

    Returns:
        Outputs by port name.
    """
    found: dict[Node, Any] = {}
    values = {node.name: feeds[name] for name, node in program.inputs.items()}
    values |= {name: weights[key] for name, key in program.weights.items() if key in weights}
    values |= program.buffers
    with torch.inference_mode():
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in values:
                given = torch.from_numpy(np.array(values[node.name]))
                found[node] = given.to(value_of(node).dtype)
            elif node.op == "call_function":
                found[node] = _called(node, found.__getitem__)
    return {name: found[node].numpy() for name, node in program.outputs.items()}


def _called(node: Node, value: Callable[[Node], Any]) -> Any:
    """What a node's operator gives, with `value` in the place of the nodes among its arguments."""
    args, kwargs = (map_arg(part, value) for part in (node.args, node.kwargs))
    return node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]
