"""Cuts a program in two, for phones, on which one of all weights can't be loaded.

Apple's Swift package feeds the second part the whole's inputs and, by name, the first's outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.program import Program, value_of
from exporter.coreml.rewrites.subprogram import subprogram
from exporter.errors import CompileError

_aten: Any = torch.ops.aten

LEAST_SHARE = 0.45
"""Of the weights' bytes, in either part."""

_MAX_RANK = 5
"""Core ML's arrays have no more axes."""

_MOVES = {_aten.reshape.default, _aten.view.default, _aten.permute.default, _aten.transpose.int}


@dataclass(frozen=True)
class _Cut:
    """A place between two operators.

    Attributes:
        crossing: values from before it that are used behind it.
        share: of the weights' bytes that are used before it.
    """

    crossing: tuple[Node, ...]
    share: float

    def cost(self) -> tuple[int, int, float]:
        """Elements that cross, in how many values, how far from the middle: the least is best."""
        elements = sum(value_of(node).numel() for node in self.crossing)
        return elements, len(self.crossing), abs(self.share - 0.5)


def split_program(program: Program, bytes_of: Callable[[str], int]) -> tuple[Program, Program]:
    """Cuts a program where the weights' bytes are about half on each side and little crosses.

    What crosses is named as its node, is of the program's own dtype, and is what the first part
    gives, in order; the second takes it behind those of the program's inputs that it needs. What
    depends on no input, or is an input laid out anew, both parts make for themselves.

    Args:
        program: whole, rewritten; it stays as it is.
        bytes_of: Diffusers key → bytes of that weight in the package.

    Returns:
        First and second part. All outputs are the second's.

    Raises:
        CompileError: there is no such place.
    """
    cuts = [cut for cut in _cuts(program, bytes_of) if _is_allowed(program, cut)]
    if not cuts:
        raise CompileError(
            f"the network can't be cut in two: nowhere do {LEAST_SHARE:.0%} of its weights lie on "
            "either side. Compile it in one part."
        )
    crossing = {node.name: node for node in min(cuts, key=_Cut.cost).crossing}
    assert not crossing.keys() & program.inputs.keys(), crossing
    first = _used(subprogram(program, program.inputs, crossing))
    second = _used(subprogram(program, {**program.inputs, **crossing}, program.outputs))
    return first, second


def _used(part: Program) -> Program:
    """Without the inputs that it doesn't need."""
    kept = {name: node for name, node in part.inputs.items() if node.users}
    return subprogram(part, kept, part.outputs)


def _is_allowed(program: Program, cut: _Cut) -> bool:
    """Whether the weights are about halved, and what crosses is an array that Core ML can pass."""
    (dtype,) = {value_of(node).dtype for node in program.outputs.values()}
    values: list[Any] = [value_of(node) for node in cut.crossing]
    return LEAST_SHARE <= cut.share <= 1 - LEAST_SHARE and all(
        isinstance(value, torch.Tensor) and value.dtype == dtype and value.dim() <= _MAX_RANK
        for value in values
    )


def _cuts(program: Program, bytes_of: Callable[[str], int]) -> Iterator[_Cut]:
    """All places, each behind an operator."""
    places = {node: place for place, node in enumerate(_operators(program))}
    sizes = _bytes_by_place(program, places, bytes_of)
    before, alive = 0, list[Node]()
    for node, place in places.items():
        before += sizes[place]
        alive = [one for one in (*alive, node) if _last_use(one, places) > place]
        yield _Cut(tuple(alive), before / sizes.total())


def _operators(program: Program) -> list[Node]:
    """Those that compute something from an input, in order."""
    depending, moved = set(program.inputs.values()), set(program.inputs.values())
    found = list[Node]()
    for node in program.graph.nodes:
        given = depending.intersection(node.all_input_nodes)
        if node.op != "call_function" or not given:
            continue
        depending.add(node)
        if node.target in _MOVES and given <= moved:
            moved.add(node)
        else:
            found.append(node)
    return found


def _last_use(node: Node, places: Mapping[Node, int]) -> int:
    """The place of an operator's last user; the program's end is behind all."""
    return max((places.get(user, len(places)) for user in node.users), default=-1)


def _bytes_by_place(
    program: Program, places: Mapping[Node, int], bytes_of: Callable[[str], int]
) -> Counter[int]:
    """The bytes of weights that are first used at each place."""
    found = Counter[int]()
    for node in program.graph.nodes:
        if node.name in program.weights and node.users:
            found[min(_uses(node, places))] += bytes_of(program.weights[node.name])
    return found


def _uses(weight: Node, places: Mapping[Node, int]) -> Iterator[int]:
    """The places where a weight is used, as it is or reshaped."""
    for user in weight.users:
        if user in places:
            yield places[user]
        else:
            yield from _uses(user, places)
