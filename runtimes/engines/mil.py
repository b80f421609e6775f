"""Runs Core ML graphs in NumPy, on any system: to verify them, not for speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from runtimes.engine import Array
from runtimes.engines.contract import check_threads
from runtimes.engines.packages import function_name, open_chain, run_chain
from runtimes.errors import unknown_name
from runtimes.manifest import Graph
from runtimes.mil.chain import Chain
from runtimes.mil.executor import Arithmetic, Executor
from runtimes.mil.package import Package

DEVICES: Mapping[str, Arithmetic] = {"reference": "fp32", "reference:fp16": "fp16"}
"""What fp16 is computed in, by device: in single precision, or rounded behind each operation."""


class MilEngine:
    """A graph's ML Program, evaluated operation by operation. Weights stay in the mapped file.

    It shows what a package computes, not how fast or how exactly a device does it. Calls from
    several threads at once are safe.

    Attributes:
        graph: as the manifest describes it.
        device: as it was asked for.
        version: that of no library: the executor is the runtime's own.
    """

    graph: Graph
    device: str
    version: str = "latedge MIL reference"

    def __init__(self, folder: Path, graph: Graph, *, device: str, threads: int | None) -> None:
        """Opens a graph's packages; see `runtimes.engine.EngineClass`.

        Args:
            folder: the bundle.
            graph: the graph, as its manifest describes it.
            device: one of `DEVICES`, in upper or lower case.
            threads: is checked alone: NumPy's products of matrices take as many as their library
                was started with (OPENBLAS_NUM_THREADS).

        Raises:
            EngineError: a package is incomplete, altered or isn't what the manifest says, or has an
                operation that the executor doesn't know.
            UsageError: there is no such device, or `threads` is below 1.
        """
        self.graph, self.device = graph, device.lower()
        if self.device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
        check_threads(threads)
        arithmetic = DEVICES[self.device]

        def link(package: Package) -> Executor:
            name = function_name(package, graph)
            return Executor(package, function=name, arithmetic=arithmetic)

        self._chain: Chain | None = open_chain(folder, graph, link)

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Evaluates the graph; see `runtimes.engine.Engine`.

        Raises:
            EngineError: a feed or an output isn't the graph's, the engine is closed, or an
                operation failed.
        """
        return run_chain(self.graph, self._chain, feeds, outputs)

    def close(self) -> None:
        """Lets the packages go, once a running call is done; calls after it fail."""
        self._chain = None
