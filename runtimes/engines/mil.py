"""Runs Core ML graphs in NumPy, on any system: to verify them, not for speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from runtimes.engine import Array
from runtimes.engines.contract import (
    check_feeds,
    check_files,
    check_names,
    check_outputs,
    check_threads,
)
from runtimes.errors import EngineError, unknown_name
from runtimes.manifest import Graph, Port
from runtimes.mil.chain import Chain
from runtimes.mil.executor import Arithmetic, Executor
from runtimes.mil.package import open_package, package_folder
from runtimes.mil.program import Feature

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
            BundleError: a package is incomplete or altered.
            EngineError: a package isn't what the manifest says, or has an operation that the
                executor doesn't know.
            UsageError: there is no such device, or `threads` is below 1.
        """
        self.graph, self.device = graph, device.lower()
        if self.device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
        check_threads(threads)
        self._chain: Chain | None = _open(
            folder, graph, DEVICES[self.device], function=None, chunks=()
        )

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Evaluates the graph; see `runtimes.engine.Engine`.

        Raises:
            EngineError: a feed or an output isn't the graph's, the engine is closed, or an
                operation failed.
        """
        wanted = check_outputs(self.graph, outputs)
        check_feeds(self.graph, feeds)
        chain = self._chain
        if chain is None:
            raise EngineError(f"{self.graph.file} is closed. Open the bundle again.")
        found = chain(feeds, wanted)
        dtypes = {port.name: port.dtype for port in self.graph.outputs}
        with np.errstate(over="ignore"):
            return {name: found[name].astype(dtypes[name], copy=False) for name in wanted}

    def close(self) -> None:
        """Lets the packages go, once a running call is done; calls after it fail."""
        self._chain = None


def _open(
    folder: Path,
    graph: Graph,
    arithmetic: Arithmetic,
    *,
    function: str | None,
    chunks: Sequence[str],
) -> Chain:
    """The graph's packages, one behind the other, compared with what the manifest says."""
    check_files(folder, graph)
    executors = [
        Executor(
            open_package(package_folder(folder / name)), function=function, arithmetic=arithmetic
        )
        for name in (graph.file, *chunks)
    ]
    chain = Chain(tuple(executors))
    check_names(graph, "inputs", graph.inputs, [one.name for one in chain.inputs])
    check_names(graph, "outputs", graph.outputs, [one.name for one in chain.outputs])
    _check_dtypes(graph, graph.inputs, chain.inputs)
    _check_dtypes(graph, graph.outputs, chain.outputs)
    return chain


def _check_dtypes(graph: Graph, ports: Sequence[Port], features: Sequence[Feature]) -> None:
    dtypes = {one.name: one.dtype for one in features}
    for port in ports:
        if port.dtype != dtypes[port.name]:
            raise EngineError(
                f"{graph.file}: {port.name} is {dtypes[port.name]}, where the manifest says "
                f"{port.dtype}. Make the bundle again."
            )
