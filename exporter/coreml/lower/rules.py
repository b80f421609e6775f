"""The table of rules, and what a rule works with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node
from torch.fx.node import map_arg

from exporter.coreml.compress.emit import emit_rounded
from exporter.coreml.program import VALUE, Program, shape_of, value_of
from exporter.errors import CompileError

Array = NDArray[Any]

Var = Any
"""A value of a MIL program; coremltools has no types."""

Rule = Callable[["Lowering", Node], Any]

RULES: dict[object, Rule] = {}
"""Operator → rule. A rule gives a MIL value, a list of them, or a `Weight`."""

MIL_DTYPES = {
    torch.float16: "fp16",
    torch.float32: "fp32",
    torch.int64: "int32",
    torch.int32: "int32",
    torch.bool: "bool",
}
"""What a dtype of torch is in MIL, which has no int64."""

_FOLDED_ELEMENTS = 2**20


def builder() -> Any:
    """What makes operators of MIL within a function: coremltools' builder."""
    from coremltools.converters.mil import Builder

    return Builder


def rule(*targets: object) -> Callable[[Rule], Rule]:
    """Enters a function as the rule of operators."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return enter


@dataclass(frozen=True)
class Weight:
    """A weight that is not yet a constant, in the shape that an operator takes.

    Attributes:
        key: Diffusers key.
        shape: of as many elements as the weight has, in the same order.
        dtype: the program's.
    """

    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class Constants(Protocol):
    """Gives the constants of weights."""

    def constant(self, weight: Weight, *, matrix: bool) -> Var:
        """A MIL value of a weight.

        Args:
            weight: which, in which shape and dtype.
            matrix: whether it is what a convolution or a linear layer multiplies by, whose weights
                may be compressed; others never are.
        """
        ...

    def read_scale(self, weight: Weight) -> float | None:
        """The scale to which a layer with this weight rounds what it reads to 8 bits, or None."""
        ...


class Lowering:
    """The values so far, and how a rule gets at them.

    Attributes:
        mb: coremltools' builder.
    """

    def __init__(self, program: Program, constants: Constants, inputs: Mapping[Node, Var]) -> None:
        """Within a MIL function.

        Args:
            program: what is lowered.
            constants: of its weights.
            inputs: its placeholders' values.
        """
        self.mb: Any = builder()
        self._constants = constants
        self._program = program
        self._values: dict[Node, Any] = dict(inputs)
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in program.weights:
                key = program.weights[node.name]
                self._values[node] = Weight(key, shape_of(node), value_of(node).dtype)
            elif node.op == "placeholder" and node.name in program.buffers:
                self._values[node] = torch.from_numpy(program.buffers[node.name])

    def run(self) -> None:
        """Lowers all operators.

        Raises:
            CompileError: one has no rule.
        """
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                folded = self._folded(node)
                self._values[node] = folded if folded is not None else self._lowered(node)

    def value(self, given: Any) -> Any:
        """What was made of a node: a MIL value, a list, a `Weight`, or a tensor of torch."""
        return self._values[given] if isinstance(given, Node) else given

    def var(self, given: Any, like: Node | None = None) -> Var:
        """A MIL value of a node, or of a number among an operator's arguments.

        Args:
            given: node or number.
            like: whose dtype a number takes.
        """
        found = self.value(given)
        if isinstance(found, Weight):
            return self._constants.constant(found, matrix=False)
        if isinstance(found, torch.Tensor):
            return self.mb.const(val=as_mil(found.numpy()))
        if isinstance(found, bool | int | float):
            dtype = torch.float32 if like is None else value_of(like).dtype
            return self.mb.const(val=as_mil(torch.tensor(found, dtype=dtype).numpy()))
        return found

    def widened(self, given: Node, result: Node) -> Var:
        """A node's value in the dtype of what is made of it, as torch promotes operands."""
        found, wanted = self.var(given), MIL_DTYPES[value_of(result).dtype]
        if MIL_DTYPES[value_of(given).dtype] == wanted:
            return found
        return self.mb.cast(x=found, dtype=wanted)

    def read(self, given: Any, weight: Any) -> Var:
        """What a convolution or a linear layer with a weight reads, rounded where it shall be."""
        x, found = self.var(given), self.value(weight)
        scale = self._constants.read_scale(found) if isinstance(found, Weight) else None
        if scale is None:
            return x
        return emit_rounded(f"{x.name}_{found.key}".replace(".", "_"), x, scale)

    def matrix(self, given: Any) -> Var:
        """The weight that a convolution or a linear layer multiplies by."""
        found = self.value(given)
        if isinstance(found, Weight):
            return self._constants.constant(found, matrix=True)
        return self.var(given)

    def _lowered(self, node: Node) -> Any:
        if node.target is operator.getitem:
            return self.value(node.args[0])[node.args[1]]
        if node.target not in RULES:
            raise CompileError(
                f"{node.target} ({node.name}) has no counterpart in Core ML's MIL that this "
                "version of latedge knows; it can't compile this network for coreml."
            )
        return RULES[node.target](self, node)

    def _folded(self, node: Node) -> torch.Tensor | None:
        """The value of a node that depends on no input or weight, if it is small."""
        given: Sequence[Node] = node.all_input_nodes
        values = [self._values[one] for one in given]
        if not all(isinstance(value, torch.Tensor) for value in values):
            return None
        found = node.meta.get(VALUE)
        if not isinstance(found, torch.Tensor) or found.numel() > _FOLDED_ELEMENTS:
            return None
        args, kwargs = (
            map_arg(part, self._values.__getitem__) for part in (node.args, node.kwargs)
        )
        with torch.inference_mode():
            return node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]


def as_mil(values: Array) -> Array:
    """Values in a dtype that MIL has: whole numbers of 64 bits in 32."""
    return values.astype(np.int32) if values.dtype == np.int64 else values


def argument(node: Node, place: int, name: str, default: Any = None) -> Any:
    """An argument of an operator, given by place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
