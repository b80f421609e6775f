"""What a graph's file says of the graph: its ports, its weight files, how weights are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtimes.manifest import DType, Port

PRECISIONS: Mapping[str, str] = {
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8": "int8",
    "uint8": "int8",
    "int4": "int4",
    "uint4": "int4",
}
"""Element type of weights → how a manifest calls that precision."""

Axes = Mapping[str, tuple[str, ...]]
"""Port → names of its axes, for those that the graph gives no name. Inputs whose axes have equal
names are fed equal sizes."""


@dataclass(frozen=True)
class GraphHeader:
    """What a graph's file declares.

    Attributes:
        inputs: in the graph's own order; their roles are their names, as Optimum gives them.
        outputs: likewise.
        weights: files beside the graph that hold its weights, relative to its folder.
        precision: how most bytes of the weights are stored.
        tools: that made the graph, with their versions.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights: tuple[str, ...]
    precision: str
    tools: Mapping[str, str]


def named_port(name: str, dtype: DType, shape: tuple[int | str | None, ...], axes: Axes) -> Port:
    """A port whose axes without size or name (None) get one."""
    names = axes.get(name, ())
    named = (
        axis if axis is not None else names[i] if i < len(names) else f"{name}.{i}"
        for i, axis in enumerate(shape)
    )
    return Port(role=name, name=name, dtype=dtype, shape=tuple(named))


def most_stored(size_bytes: Mapping[str, int]) -> str:
    """The precision that most bytes of the weights have.

    Args:
        size_bytes: by element type; those that no weight of a network has are ignored.
    """
    sizes: dict[str, int] = {}
    for dtype, size in size_bytes.items():
        if dtype in PRECISIONS:
            precision = PRECISIONS[dtype]
            sizes[precision] = sizes.get(precision, 0) + size
    return max(sizes, key=lambda precision: sizes[precision], default="fp32")
