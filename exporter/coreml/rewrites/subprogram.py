"""A part of a program as a program of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch.fx import Graph, Node

from exporter.coreml.program import VALUE, Program

Value = TypeVar("Value")


def subprogram(
    program: Program, inputs: Mapping[str, Node], outputs: Mapping[str, Node]
) -> Program:
    """What makes some of a program's values out of others; the program itself stays as it is.

    Args:
        program: whole.
        inputs: port name → value that is given; its node becomes a placeholder of its name.
        outputs: port name → value that is wanted.

    Returns:
        With the weights and buffers that it needs, and all of `inputs`. A program's own inputs and
        outputs give its copy.
    """
    given, needed = set(inputs.values()), _needed(outputs, set(inputs.values()))
    graph, made = Graph(), dict[Node, Node]()
    for node in program.graph.nodes:
        if node in given:
            made[node] = graph.placeholder(node.name)
            made[node].meta[VALUE] = node.meta[VALUE]
        elif node in needed:
            made[node] = graph.node_copy(node, made.__getitem__)
    graph.output(tuple(made[node] for node in outputs.values()))
    constants = [node for node in made if node.op == "placeholder" and node not in given]
    return Program(
        graph=graph,
        inputs={name: made[node] for name, node in inputs.items()},
        outputs={name: made[node] for name, node in outputs.items()},
        weights=_renamed(program.weights, constants, made),
        buffers=_renamed(program.buffers, constants, made),
        mode=program.mode,
    )


def _renamed(
    values: Mapping[str, Value], constants: Sequence[Node], made: Mapping[Node, Node]
) -> dict[str, Value]:
    return {made[node].name: values[node.name] for node in constants if node.name in values}


def _needed(outputs: Mapping[str, Node], given: set[Node]) -> set[Node]:
    """Values that the outputs are made of, as far as the given ones, these left out."""
    found, left = set[Node](), list(outputs.values())
    while left:
        node = left.pop()
        if node not in found and node not in given:
            found.add(node)
            left += node.all_input_nodes
    return found
