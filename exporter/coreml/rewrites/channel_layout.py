"""The layout of the Neural Engine, (batch, channels, 1, sequence), within transformers.

Each value there gets a twin in that layout, operator by operator, from where a transformer takes a
picture's channels last, or from an input that comes in it, to where the channels are first again.
How an operator works on twins is its rule in `channel_rules`. An operator without one gets its
inputs as captured, transposed back; the values as captured that nothing uses any more are dropped.

After Apple, "Deploying Transformers on the Apple Neural Engine" (2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from exporter.coreml.program import VALUE, Program, shape_of
from exporter.coreml.rewrites.axes import (
    Axis,
    Reading,
    channels,
    in_order,
    length,
    lies_so,
    permuted,
    sizes_of,
)
from exporter.coreml.rewrites.channels_first_text import TEXT

_aten: Any = torch.ops.aten

_CHANNELS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True)
class Twin:
    """A value in the other layout.

    Attributes:
        node: (b, channels, 1, sequence).
        reading: the captured value's axes.
    """

    node: Node
    reading: Reading


Rule = Callable[["ChannelLayout", Node], Twin | None]
"""Gives an operator's twin, or None where it can't be had."""


class ChannelLayout:
    """A program whose values are given twins.

    Attributes:
        program: what is rewritten, in place.
        twins: captured value → twin.
        pieces: captured value that is several → the twins of all.
    """

    def __init__(self, program: Program, rules: Mapping[object, Rule]) -> None:
        """Takes a program whose text embedding comes channels first, and a rule per operator."""
        self.program = program
        self.twins: dict[Node, Twin] = {}
        self.pieces: dict[Node, list[Twin]] = {}
        self._rules = rules
        self._captured: dict[Node, Node] = {}
        self._plain: dict[Node, Reading] = {}
        if TEXT in program.inputs:
            self._enter_text(program.inputs[TEXT])

    def run(self) -> None:
        """Gives twins to all values that can have one, and ties the rest to them."""
        for node in list(self.program.graph.nodes):
            with self.program.graph.inserting_before(node):
                self._visit(node)
        self.program.tidy()

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """See `Program.call`."""
        return self.program.call(target, *args, **kwargs)

    def bring(self, node: Node, reading: Reading) -> Twin:
        """A value's twin; of one that has none it is made, at the price of a transposition.

        Args:
            node: captured value.
            reading: its axes, by which it is laid out anew.
        """
        if node not in self.twins:
            order = [0, *(reading.index(axis) + 1 for axis in in_order(reading))]
            lying = node if lies_so(reading) else self.call(_aten.permute.default, node, order)
            self.twins[node] = Twin(self._laid(lying, reading), reading)
            self._captured[node] = node
        return self.twins[node]

    def _enter_text(self, text: Node) -> None:
        _, width, one, tokens = shape_of(text)
        reading = (Axis("c", 0, width), Axis("s", 0, one), Axis("s", 1, tokens))
        self.twins[text] = Twin(text, reading)
        self._captured[text] = text

    def _visit(self, node: Node) -> None:
        twin = self._enter(node) or self._ruled(node)
        if twin is not None:
            self.twins[node] = twin
        elif node not in self.pieces:
            self._tie(node)

    def _enter(self, node: Node) -> Twin | None:
        """The twin of a picture whose channels are put last, where a transformer begins."""
        if node.target is not _aten.permute.default:
            return None
        source, order = node.args[0], tuple(node.args[1])  # pyright: ignore[reportArgumentType]
        assert isinstance(source, Node)
        if source in self.twins or order != _CHANNELS_LAST:
            return None
        _, width, *picture = shape_of(source)
        axes = (Axis("c", 0, width), *(Axis("s", n, size) for n, size in enumerate(picture)))
        reading = permuted(axes, order)
        assert reading is not None
        self._captured[node] = node
        return Twin(self._laid(source, reading), reading)

    def _ruled(self, node: Node) -> Twin | None:
        given = node.all_input_nodes
        for one in given:
            if one in self._plain and node.target in self._rules:
                self.bring(one, self._plain[one])
        if not any(one in self.twins or one in self.pieces for one in given):
            return None
        rule = self._rules.get(node.target)
        return None if rule is None else rule(self, node)

    def _tie(self, node: Node) -> None:
        """Gives an operator without a rule, or the program's end, captured values."""
        for given in node.all_input_nodes:
            assert given not in self.pieces, (node, given)
            if given in self.twins:
                node.replace_input_with(given, self._back(given))
                self._note(node, self.twins[given].reading)
        if node.op == "output":
            for name, given in self.program.outputs.items():
                self.program.outputs[name] = self._captured.get(given, given)

    def _note(self, node: Node, reading: Reading) -> None:
        """Keeps the reading of a value without a rule: the next that has one brings it back in."""
        value = node.meta.get(VALUE)
        same = isinstance(value, torch.Tensor) and tuple(value.shape[1:]) == sizes_of(reading)
        if same and not lies_so(reading):
            self._plain[node] = reading

    def _back(self, node: Node) -> Node:
        """The captured value of one with a twin, made of it."""
        if node not in self._captured:
            twin, batch = self.twins[node], shape_of(node)[0]
            lying = in_order(twin.reading)
            found = self.call(_aten.reshape.default, twin.node, [batch, *sizes_of(lying)])
            if lying != twin.reading:
                order = [0, *(lying.index(axis) + 1 for axis in twin.reading)]
                found = self.call(_aten.permute.default, found, order)
            assert shape_of(found) == shape_of(node), (node, found)
            self._captured[node] = found
        return self._captured[node]

    def _laid(self, lying: Node, reading: Reading) -> Node:
        sizes = [shape_of(lying)[0], channels(reading), 1, length(reading)]
        assert math.prod(sizes) == math.prod(shape_of(lying)), (lying, reading)
        return self.call(_aten.reshape.default, lying, sizes)
