"""Runs Core ML packages: on a Mac's CPU, GPU and Neural Engine, or, to verify them, in NumPy.

Core ML is called through coremltools, the Python package that its makers test against it: it takes
compute units and a package's function, feeds and reads arrays whose rows Core ML has padded, and
converts half precision, for which NumPy and Core ML have no buffer format in common. The
Objective-C bridge (pyobjc) would import less, but hands out bare pointers in place of arrays:
shapes, strides and lifetimes would be ours to get right, on a machine that no test here runs on.
coremltools imports torch where that is installed; it isn't needed.
"""

from __future__ import annotations

import contextlib
import platform
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.engine import Array, Engine
from runtimes.engines.contract import check_threads
from runtimes.engines.coreml_cache import CompiledModels, compiled_in
from runtimes.engines.packages import function_name, open_chain, run_chain
from runtimes.engines.sdk import first_line, import_sdk
from runtimes.errors import EngineError, unknown_name
from runtimes.manifest import Graph
from runtimes.mil.chain import Chain
from runtimes.mil.package import Package
from runtimes.mil.program import Interface

COMPUTE_UNITS: dict[str, str] = {
    "all": "ALL",
    "cpu": "CPU_ONLY",
    "gpu": "CPU_AND_GPU",
    "npu": "CPU_AND_NE",
}
"""Device → coremltools' name of the compute units. With all of them the CPU takes what another unit
can't: float32 operations, which Core ML never computes in less, stay off the Neural Engine."""

REFERENCE = ("reference", "reference:fp16")
"""Devices of the executor in NumPy: float32 throughout, or each operation in its own dtype."""

DEVICES = (*COMPUTE_UNITS, *REFERENCE)


def open_engine(folder: Path, graph: Graph, *, device: str, threads: int | None) -> Engine:
    """Loads a graph in Core ML, or in the reference executor; see `runtimes.engine.EngineClass`.

    Args:
        folder: the bundle.
        graph: the graph, as its manifest describes it.
        device: of `DEVICES`, in upper or lower case.
        threads: of the reference executor; Core ML takes no number and chooses itself.

    Raises:
        EngineError: this is no Mac, coremltools is absent, or loading failed.
        UsageError: there is no such device, or `threads` is below 1.
    """
    name = device.lower()
    if name not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    if name in REFERENCE:
        # Imported on use: nothing else needs it.
        from runtimes.engines.mil import MilEngine

        return MilEngine(folder, graph, device=name, threads=threads)
    return CoreMlEngine(folder, graph, device=name, threads=threads)


class CoreMlEngine:
    """A graph compiled by Core ML, of one package or of chunks.

    Calls from several threads at once are safe, and run one after the other, as Core ML asks of
    those who use one of its models.

    Attributes:
        graph: as the manifest describes it.
        device: as it was asked for, in lower case.
        version: "coreml", of which system, and coremltools' version.
    """

    def __init__(self, folder: Path, graph: Graph, *, device: str, threads: int | None) -> None:
        """Loads a graph; see `open_engine`.

        Args:
            folder: the bundle.
            graph: the graph, as its manifest describes it.
            device: a key of `COMPUTE_UNITS`.
            threads: checked, and otherwise unused: Core ML chooses.

        Raises:
            EngineError: this is no Mac, coremltools is absent, or loading failed.
            UsageError: `threads` is below 1.
        """
        self.graph, self.device = graph, device
        check_threads(threads)
        if platform.system() != "Darwin":
            raise EngineError(
                f"device {device!r}: Core ML runs on macOS alone. `--device reference` evaluates "
                "its packages in NumPy on any system, for verification and tests, slowly."
            )
        self._sdk: Any = import_sdk("coremltools", "coreml")
        self._system = f"macOS {platform.mac_ver()[0]}"
        self.version = f"coreml of {self._system}, coremltools {self._sdk.__version__}"
        self._cache = CompiledModels.of_user()
        self._lock = threading.Lock()
        self._own = contextlib.ExitStack()
        try:
            self._chain: Chain | None = open_chain(folder, graph, self._load)
        except BaseException:
            self._own.close()
            raise

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the graph; see `runtimes.engine.Engine`.

        Raises:
            EngineError: a feed or an output isn't the graph's, the engine is closed, or the run
                failed.
        """
        with self._lock:
            return run_chain(self.graph, self._chain, feeds, outputs)

    def close(self) -> None:
        """Frees the model's memory, once a running call is done; calls after it fail."""
        with self._lock:
            self._chain = None
            self._own.close()

    def _load(self, package: Package) -> _Loaded:
        name = function_name(package, self.graph)
        # The default one needs no naming, which macOS before 15 has no property for.
        chosen = None if name == package.model.default_function else name
        try:
            model = self._compiled(package.folder, chosen)
        except Exception as e:
            raise EngineError(
                f"{self.graph.file} can't be loaded on {self.device}: {_told(e)}"
            ) from e
        return _Loaded(package.path, package.model.interfaces[name], model)

    def _compiled(self, package: Path, function: str | None) -> Any:
        """The model, from the cache where one can be kept, else from a folder of this engine's."""

        def compile(package: Path, place: Path) -> None:
            self._sdk.models.utils.compile_model(str(package), str(place))

        def load(compiled: Path) -> Any:
            units = self._sdk.ComputeUnit[COMPUTE_UNITS[self.device]]
            return self._sdk.models.CompiledMLModel(
                str(compiled), compute_units=units, function_name=function
            )

        kept = self._cache.path(package, self._system, compile)
        if kept is not None:
            try:
                return load(kept)
            except Exception as e:
                # What is kept may have been altered since. What comes fresh from the package tells
                # whether that was it.
                self._cache.drop(kept, _told(e))
        folder = self._own.enter_context(
            tempfile.TemporaryDirectory(prefix="latedge-coreml-", ignore_cleanup_errors=True)
        )
        compile(package, compiled_in(Path(folder)))
        return load(compiled_in(Path(folder)))


@dataclass(frozen=True)
class _Loaded:
    """A package's function, loaded by Core ML."""

    path: Path
    interface: Interface
    model: Any

    def __call__(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
        taken = _as_taken({one.name: feeds[one.name] for one in self.interface.inputs})
        try:
            found = self.model.predict(taken)
            return {name: found[name] for name in outputs}
        except Exception as e:
            raise EngineError(f"{self.path} failed: {_told(e)}") from e


def _as_taken(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Feeds that Core ML may have the buffers of: our own, and float32 for float16."""
    return {
        name: np.array(array, np.float32 if array.dtype == np.float16 else array.dtype, order="C")
        for name, array in feeds.items()
    }


def _told(error: BaseException) -> str:
    """What Core ML says in an error, whose text is a property list of several lines."""
    described = re.search(r'NSLocalizedDescription\W*=\s*"?([^"\n;]+)', str(error))
    return described.group(1).strip() if described else first_line(error)
