"""What the runtime asks of an engine, and the table of engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from runtimes import registry
from runtimes.manifest import Graph

Array = NDArray[np.generic]

ENGINES: dict[str, str] = {
    "coreml": "runtimes.engines.coreml:open_engine",
    "onnxruntime": "runtimes.engines.ort:OrtEngine",
    "openvino": "runtimes.engines.ov:OvEngine",
}
"""Engine name → class. Third parties register theirs in the entry-point group below."""

ENTRY_POINTS = "latedge.engines"


class Engine(Protocol):
    """One loaded graph.

    A call is pure: same feeds, same results. Feeds are C-contiguous arrays of the graph's dtypes,
    by the graph's own input names; results are by the graph's own output names and own their
    memory (a later call doesn't change them). Calls from several threads at once are safe.

    Attributes:
        graph: as the manifest describes it.
        device: where it runs, as the engine names it.
        version: of the engine, such as "onnxruntime 1.32.0".
    """

    graph: Graph
    device: str
    version: str

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the graph.

        Args:
            feeds: one array per input.
            outputs: names of the outputs wanted; None for all.

        Raises:
            EngineError: the engine failed.
        """
        ...

    def close(self) -> None:
        """Frees the engine's memory; calls after it fail."""
        ...


class EngineClass(Protocol):
    """How engines are made."""

    def __call__(self, folder: Path, graph: Graph, *, device: str, threads: int | None) -> Engine:
        """Loads a graph of the bundle in `folder` on a device.

        Args:
            folder: the bundle.
            graph: the graph, as its manifest describes it.
            device: as the engine names it: "cpu", "gpu", "npu", "cuda:0", …
            threads: threads within an operation; None leaves it to the engine.

        Raises:
            EngineError: the SDK or the device is absent (says which there are), or loading failed.
        """
        ...


class NodeTime(NamedTuple):
    """What a node of a loaded graph took in one call, as the engine's own profiler tells it.

    Attributes:
        name: of the node, in the graph as the engine has optimised it.
        kind: the engine's operator.
        time_ms: milliseconds.
    """

    name: str
    kind: str
    time_ms: float


class ProfiledEngine(Engine, Protocol):
    """An engine that notes what its nodes take."""

    def node_times(self) -> list[list[NodeTime]]:
        """What the nodes took in each call so far, in the order of the calls; ends the notes.

        Raises:
            EngineError: the engine's profiler failed.
        """
        ...


class ProfiledClass(Protocol):
    """What the class of an engine with a profiler also has."""

    def profiled(
        self, folder: Path, graph: Graph, *, device: str, threads: int | None
    ) -> ProfiledEngine:
        """Loads a graph as the class itself does, with the engine's profiler at work.

        Raises:
            EngineError: as for the class, or the profiler can't be used.
        """
        ...


def engine_names() -> tuple[str, ...]:
    """The names of all engines."""
    return registry.names(ENGINES, ENTRY_POINTS)


def load_engine_class(name: str) -> EngineClass:
    """The class behind an engine's name.

    Raises:
        UsageError: no such engine.
    """
    return cast("EngineClass", registry.load("engine", name, ENGINES, ENTRY_POINTS))
