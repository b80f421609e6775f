"""FLOPs and bytes of one call of a graph, in all and by kind of operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench.limits.costs import Cost, cost
from benchmarks.bench.limits.graph import CountError, Node, Shape, SizedGraph, Tensor
from benchmarks.bench.limits.operators import PARTIAL_READS, VIEWS
from benchmarks.bench.results import OpKind


@dataclass(frozen=True)
class Count:
    """What one call computes and moves.

    Attributes:
        flops: floating-point operations; a multiplication and an addition are two.
        products: those of matrix products and convolutions.
        bytes: weights as they are stored, and the graph's inputs and outputs, each once.
        bytes_by_node: the sum of what each node reads and writes.
        by_kind: by operator, most flops first, then most bytes.
        outputs: shapes of the graph's outputs.
        note: operators that nothing is known of; None where there are none.
    """

    flops: float
    products: float
    bytes: float
    bytes_by_node: float
    by_kind: tuple[OpKind, ...]
    outputs: Mapping[str, Shape]
    note: str | None = None


def count(path: Path, shapes: Mapping[str, Shape]) -> Count:
    """Counts a graph, without its weights.

    Args:
        path: an ONNX graph or an OpenVINO IR (.xml).
        shapes: of the graph's inputs.

    Raises:
        CountError: it is of another kind, can't be read, or what its nodes compute can't be told.
        EngineError: OpenVINO isn't installed.
    """
    return tally(_read(path, shapes))


def _read(path: Path, shapes: Mapping[str, Shape]) -> SizedGraph:
    if path.suffix == ".xml":
        # Imported on use: a machine has the packages of its own engine.
        from benchmarks.bench.limits.ov_graph import read_ov_graph

        return read_ov_graph(path, shapes)
    if path.suffix != ".onnx":
        raise CountError(
            f"{path.name} is neither an ONNX graph nor an OpenVINO IR; its FLOPs and bytes can't "
            "be counted."
        )
    try:
        from benchmarks.bench.limits.onnx_graph import read_onnx_graph
    except ModuleNotFoundError as e:
        raise CountError(
            f"FLOPs and bytes of ONNX graphs are counted with {e.name}, which is not installed. "
            "Install it: pip install onnx"
        ) from e
    return read_onnx_graph(path, shapes)


@dataclass
class _Kind:
    nodes: int = 0
    flops: float = 0
    size_bytes: float = 0


@dataclass
class _Unknown:
    nodes: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def note(self, assumed: Iterable[str]) -> str | None:
        told = [
            f"{name} ({count} node{'s' if count > 1 else ''}"
            + (", sizes taken from its first input)" if name in assumed else ")")
            for name, count in sorted(self.nodes.items())
        ]
        return f"unknown operators, counted as element-wise: {', '.join(told)}" if told else None


def tally(graph: SizedGraph) -> Count:
    """Sums up the nodes of a graph."""
    kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
    weights: dict[str, float] = {}
    unknown, products = _Unknown(), 0.0
    for node in graph.nodes:
        found: Cost = cost(node)
        kind = kinds[node.kind]
        kind.nodes += 1
        kind.flops += found.flops
        kind.size_bytes += moved(node)
        products += found.products
        if not found.known:
            unknown.nodes[node.operator] += 1
        _note_weights(node, weights)
    by_kind = [
        OpKind(kind=name, nodes=kind.nodes, flops=kind.flops, bytes=kind.size_bytes)
        for name, kind in kinds.items()
    ]
    ends = (*graph.inputs, *graph.outputs.values())
    return Count(
        flops=sum(kind.flops for kind in by_kind),
        products=products,
        bytes=sum(weights.values()) + sum(tensor.size_bytes for tensor in ends),
        bytes_by_node=sum(kind.bytes for kind in by_kind),
        by_kind=tuple(sorted(by_kind, key=lambda kind: (-kind.flops, -kind.bytes, kind.kind))),
        outputs={name: tensor.shape for name, tensor in graph.outputs.items()},
        note=unknown.note(graph.assumed),
    )


def moved(node: Node) -> float:
    """Bytes that a node reads and writes, each input and output once."""
    if node.kind in VIEWS:
        return 0.0
    read = sum(
        tensor.size_bytes * _share_read(node, index)
        for index, tensor in enumerate(node.inputs)
        if tensor is not None
    )
    return read + sum(tensor.size_bytes for tensor in node.outputs)


def _share_read(node: Node, index: int) -> float:
    """Of an embedding's table a node reads the rows it gives, and no more."""
    if index > 0 or node.kind not in PARTIAL_READS:
        return 1.0
    given = sum(tensor.size for tensor in node.outputs)
    return min(1.0, given / max(1, node.given(0).size))


def _note_weights(node: Node, weights: dict[str, float]) -> None:
    """Notes what is read of each weight: the most that one node reads of it."""
    for index, tensor in enumerate(node.inputs):
        for name, size in _stored(tensor).items():
            read = size * _share_read(node, index)
            weights[name] = max(weights.get(name, 0.0), read)


def _stored(tensor: Tensor | None) -> Mapping[str, float]:
    return {} if tensor is None or tensor.stored is None else tensor.stored
