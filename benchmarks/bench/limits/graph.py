"""A graph at concrete sizes, the same for ONNX and OpenVINO: what is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtimes.errors import LatedgeError

Shape = tuple[int, ...]


class CountError(LatedgeError):
    """A graph's FLOPs and bytes can't be counted."""


@dataclass(frozen=True)
class Tensor:
    """A value between nodes.

    Attributes:
        shape: its sizes.
        item_bits: bits of an element.
        is_float: whether its elements are floating-point numbers.
        stored: of a value that doesn't depend on the graph's inputs: name → bytes, as they are
            stored, of the weights and constants that it is made of. Engines compute such values
            once. None for what each call computes.
    """

    shape: Shape
    item_bits: int
    is_float: bool
    stored: Mapping[str, float] | None = None

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> float:
        """What reading it whole moves: a weight as it is stored."""
        if self.stored is not None:
            return sum(self.stored.values())
        return self.size * self.item_bits / 8


@dataclass(frozen=True)
class Node:
    """An operator that each call runs.

    Attributes:
        name: of the node.
        kind: its operator.
        inputs: in the operator's order; None for those left out.
        outputs: likewise.
        attributes: the operator's.
        domain: the operator set; "" for ONNX's own and for OpenVINO's.
    """

    name: str
    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    domain: str = ""

    @property
    def operator(self) -> str:
        """The operator with its set, where that isn't the default one."""
        return f"{self.domain}.{self.kind}" if self.domain else self.kind

    def given(self, index: int) -> Tensor:
        """An input that the operator needs.

        Raises:
            CountError: it is left out.
        """
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise CountError(f"{self.name} ({self.operator}) has no input {index}.")
        return found

    def optional(self, index: int) -> Tensor | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None


@dataclass(frozen=True)
class SizedGraph:
    """The nodes that a call runs, at the sizes of its feeds.

    Attributes:
        nodes: without those that depend on weights and constants alone.
        inputs: of the graph.
        outputs: of the graph, by name.
        assumed: operators whose outputs' sizes nobody told; they were taken to be those of the
            first input.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Tensor, ...]
    outputs: Mapping[str, Tensor]
    assumed: frozenset[str] = frozenset()
