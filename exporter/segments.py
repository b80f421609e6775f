"""Runs a portable graph in ONNX Runtime piece by piece, in the memory of one piece.

A session holds the weights of its whole graph, in float32: 10.3 GB for SDXL's U-Net. Pieces of 128
MiB of weights hold half a gigabyte, and a piece hands on nothing but the values that a later one
reads. Each is asked for the least and greatest of all that it computes, which is known as soon as a
value is, so that none has to be kept for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.passes.lower_group_norm import lower_group_norm
from exporter.targets.ort import load_session, run_session
from runtimes.manifest import Graph

Array = NDArray[Any]

PIECE_BYTES = 128 * 2**20
"""Weights of a piece, as they are stored; in fp16 they take twice as much once they are widened."""


@dataclass(frozen=True)
class Extreme:
    """The value of largest magnitude that a graph computed.

    Attributes:
        magnitude: how large; infinite where something was NaN or infinite.
        value: its name in the graph.
    """

    magnitude: float
    value: str


class SegmentedGraph:
    """A portable graph, run piece by piece."""

    def __init__(self, folder: Path, graph: Graph, piece_bytes: int = PIECE_BYTES) -> None:
        """Reads and lowers the graph without its weights.

        Args:
            folder: the bundle.
            graph: the portable graph; its weight file lies beside it.
            piece_bytes: stored weights of a piece; a node with more has a piece of its own.
        """
        self._folder = (folder / graph.file).parent
        lowered = ir.to_proto(lower_group_norm(ir.load(folder / graph.file)))
        whole = lowered.graph
        self._opsets, self._ir_version = lowered.opset_import, lowered.ir_version
        self._weights = {each.name: each for each in whole.initializer}
        self._typed = {each.name: each for each in (*whole.input, *whole.value_info, *whole.output)}
        self._outputs = tuple(each.name for each in whole.output)
        # What is made of weights alone, such as their conversions, is made where it is used.
        self._prepared = _prepared(whole, self._weights)
        for node in whole.node:
            node.ClearField("name")  # a lowered node's parts share its name
        computed = [node for node in whole.node if node.output[0] not in self._prepared]
        self._bytes = {name: _size_bytes(each) for name, each in self._weights.items()}
        self._pieces = tuple(self._split(computed, piece_bytes))

    def run(self, samples: Sequence[Mapping[str, Array]]) -> tuple[list[dict[str, Array]], Extreme]:
        """Runs the graph on one sample or several, each piece on all of them before the next.

        Args:
            samples: feeds by input.

        Returns:
            The outputs of each, and the largest of all float values that were computed.

        Raises:
            EngineError: ONNX Runtime failed.
        """
        held, found = [dict(feeds) for feeds in samples], Extreme(0.0, "")
        for index, nodes in enumerate(self._pieces):
            later = {name for piece in self._pieces[index + 1 :] for n in piece for name in n.input}
            later |= set(self._outputs)
            piece = self._piece(nodes, held[0], later)
            for values in held:
                given, extreme = piece.run(values)
                found = max(found, extreme, key=lambda each: each.magnitude)
                values |= given
                for name in values.keys() - later:
                    del values[name]
        return [{name: values[name] for name in self._outputs} for values in held], found

    def _split(
        self, nodes: Sequence[onnx.NodeProto], piece_bytes: int
    ) -> Iterator[list[onnx.NodeProto]]:
        piece: list[onnx.NodeProto] = []
        left = piece_bytes
        for node in nodes:
            own = sum(self._bytes.get(name, 0) for name in self._behind(node))
            if piece and own > left:
                yield piece
                piece, left = [], piece_bytes
            piece.append(node)
            left -= own
        yield piece

    def _behind(self, node: onnx.NodeProto) -> Iterator[str]:
        """Weights that a node reads, and what is made of weights alone on the way to it."""
        for name in node.input:
            if name in self._prepared:
                yield from self._behind(self._prepared[name])
                yield name
            elif name in self._weights:
                yield name

    def _piece(
        self, nodes: Sequence[onnx.NodeProto], values: Mapping[str, Array], later: set[str]
    ) -> _Piece:
        own = list(dict.fromkeys(name for node in nodes for name in self._behind(node)))
        prepared = [self._prepared[name] for name in own if name in self._prepared]
        made = [name for node in nodes for name in node.output if name]
        read = tuple(sorted({name for node in nodes for name in node.input} & values.keys()))
        measured = tuple(name for name in made if self._is_float(name))
        kept = tuple(name for name in made if name in later)
        graph = helper.make_graph(
            [*prepared, *nodes, *(node for name in measured for node in _ends_of(name))],
            "piece",
            [_typed(name, values[name]) for name in read],
            [
                # What lowering adds has no type in the graph; ONNX Runtime finds it.
                *(self._typed.get(name, onnx.ValueInfoProto(name=name)) for name in kept),
                *(_scalar(end) for name in measured for end in _ends(name)),
            ],
            [self._weights[name] for name in own if name in self._weights],
        )
        model = helper.make_model(graph, opset_imports=self._opsets)
        model.ir_version = self._ir_version
        return _Piece(load_session(model, self._folder), read, kept, measured)

    def _is_float(self, name: str) -> bool:
        typed = self._typed.get(name)
        return typed is not None and typed.type.tensor_type.elem_type == TensorProto.FLOAT


@dataclass(frozen=True)
class _Piece:
    """Some nodes, loaded.

    Attributes:
        session: gives the kept values, and the ends of those that are measured.
        read: values that it takes.
        kept: values that it hands on.
        measured: its float values.
    """

    session: Any
    read: tuple[str, ...]
    kept: tuple[str, ...]
    measured: tuple[str, ...]

    def run(self, values: Mapping[str, Array]) -> tuple[dict[str, Array], Extreme]:
        ends = [end for name in self.measured for end in _ends(name)]
        feeds = {name: values[name] for name in self.read}
        found = run_session(self.session, [*self.kept, *ends], feeds)
        return {name: found[name] for name in self.kept}, _largest(self.measured, found)


def _size_bytes(tensor: TensorProto) -> int:
    return math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _prepared(
    graph: onnx.GraphProto, weights: Mapping[str, TensorProto]
) -> dict[str, onnx.NodeProto]:
    """Value → node, of the nodes that depend on no input of the graph."""
    found: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if all(not name or name in weights or name in found for name in node.input):
            found |= dict.fromkeys(node.output, node)
    return found


def _ends(name: str) -> tuple[str, str]:
    return f"{name}/least", f"{name}/greatest"


def _ends_of(name: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """Nodes that give a value's least and greatest element; Abs would need a copy of it."""
    least, greatest = _ends(name)
    return (
        helper.make_node("ReduceMin", [name], [least], keepdims=0),
        helper.make_node("ReduceMax", [name], [greatest], keepdims=0),
    )


def _scalar(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ())


def _typed(name: str, array: Array) -> onnx.ValueInfoProto:
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    # A list of sizes is as long as it is: of an unknown length, Resize refuses it.
    is_sizes = array.ndim == 1 and array.dtype.kind == "i"
    return helper.make_tensor_value_info(
        name, dtype, array.shape if is_sizes else [None] * array.ndim
    )


def _largest(names: Sequence[str], found: Mapping[str, Array]) -> Extreme:
    best = Extreme(0.0, "")
    for name in names:
        least, greatest = (float(found[end]) for end in _ends(name))
        magnitude = max(-least, greatest) if np.isfinite([least, greatest]).all() else math.inf
        best = max(best, Extreme(magnitude, name), key=lambda each: each.magnitude)
    return best
