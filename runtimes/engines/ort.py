"""Runs graphs in ONNX Runtime: on the CPU, and on what else the installed wheel offers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from runtimes.engine import Array, NodeTime
from runtimes.engines.contract import (
    check_feeds,
    check_files,
    check_names,
    check_outputs,
    check_threads,
)
from runtimes.engines.ort_cache import MODEL_NAME, WEIGHTS_NAME, OrtCache, Source
from runtimes.engines.ort_profile import OrtProfile
from runtimes.engines.sdk import first_line, import_sdk
from runtimes.errors import EngineError, UsageError, unknown_name
from runtimes.manifest import Graph
from runtimes.process_memory import installed_memory_bytes


@dataclass(frozen=True)
class Provider:
    """What stands behind a device's name.

    Attributes:
        name: ONNX Runtime's execution provider.
        install: the command that brings it.
        numbered: whether the device may be followed by a number, as in "cuda:1".
        then: providers that take what it leaves, before the CPU does.
    """

    name: str
    install: str
    numbered: bool = False
    then: tuple[str, ...] = ()


# The wheels hold the same package: beside each other, one overwrites files of the other.
_REPLACE = "pip uninstall onnxruntime && pip install"
_CUDA = f'{_REPLACE} "latedge[onnxruntime-gpu]"'
_CPU = 'pip install "latedge[onnxruntime]"'

PROVIDERS: dict[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider", _CPU),
    "cuda": Provider("CUDAExecutionProvider", _CUDA, numbered=True),
    "gpu": Provider("CUDAExecutionProvider", _CUDA, numbered=True),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", _CUDA, numbered=True, then=("CUDAExecutionProvider",)
    ),
    "coreml": Provider("CoreMLExecutionProvider", f"{_CPU}, on macOS"),
    "dml": Provider(
        "DmlExecutionProvider", f"{_REPLACE} onnxruntime-directml, on Windows", numbered=True
    ),
    "openvino": Provider("OpenVINOExecutionProvider", f"{_REPLACE} onnxruntime-openvino"),
}
"""Device → provider."""

_ERROR, _FATAL = 3, 4
_MAPPED_FROM_BYTES = 1024

_LARGE_SHARE = 4
"""Float32 weights of more than a quarter of the machine's memory stay in their mapped file.

ONNX Runtime 1.32 copies weights three times while it loads: folding widens them from fp16 and
transposes those of linear layers, then packing re-orders all of these again. Measured on SD 1.5's
text encoder with fp32 weights (0.49 GB), memory that isn't mapped once it is loaded, CPU time of
loading and of a call:

    as it comes                     0.42 GB   0.52 s   0.26 s
    no folding                      0.37 GB   0.36 s   0.27 s
    no folding and no packing       0.03 GB   0.04 s   0.28 s

Without folding, a transposition becomes part of the product. The system can drop mapped weights and
read them again, where copies would end the process.
"""


class OrtEngine:
    """A graph in an ONNX Runtime session.

    Calls from several threads at once are safe, and run at once. On the CPU, large models come
    from the local cache (`runtimes.engines.ort_cache`).

    Attributes:
        graph: as the manifest describes it.
        device: as it was asked for, in lower case.
        version: "onnxruntime" and the version of its package.
    """

    def __init__(
        self,
        folder: Path,
        graph: Graph,
        *,
        device: str,
        threads: int | None,
        profile: OrtProfile | None = None,
    ) -> None:
        """Loads a graph; see `runtimes.engine.EngineClass`.

        Args:
            folder: the bundle.
            graph: the graph, as its manifest describes it.
            device: a name of `PROVIDERS`; "cuda", "gpu", "tensorrt" and "dml" take a number, as in
                "cuda:1".
            threads: threads within an operation on the CPU.
            profile: where ONNX Runtime's profiler writes; None leaves it off.

        Raises:
            EngineError: ONNX Runtime or the provider is absent, or loading failed.
            UsageError: there is no such device, or `threads` is below 1.
        """
        self.graph, self.device = graph, device.lower()
        name, number = _parse(self.device)
        check_threads(threads)
        sdk = import_onnxruntime(PROVIDERS[name])
        self.version = f"onnxruntime {sdk.__version__}"
        self._profile = profile
        loader = _Loader(sdk, PROVIDERS[name], number, threads, profile)
        loader.check_provider(self.device)
        check_files(folder, graph)
        self._session: Any = loader.cached(folder, graph) or loader.open(folder, graph)
        check_names(graph, "inputs", graph.inputs, (i.name for i in self._session.get_inputs()))
        check_names(graph, "outputs", graph.outputs, (o.name for o in self._session.get_outputs()))

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the graph; see `runtimes.engine.Engine`.

        Raises:
            EngineError: a feed or an output isn't the graph's, the engine is closed, or the run
                failed.
        """
        session = self._session
        if session is None:
            raise EngineError(f"{self.graph.file} is closed. Open the bundle again.")
        wanted = check_outputs(self.graph, outputs)
        check_feeds(self.graph, feeds)
        try:
            # Each result owns its memory: it is allocated for it and freed with the array.
            # Where none is wanted, ONNX Runtime gives all: no strict=True.
            return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=False))
        except Exception as e:
            raise EngineError(f"{self.graph.file} failed: {first_line(e)}") from e

    def close(self) -> None:
        """Frees the session's memory; calls after it fail."""
        self._session = None
        if self._profile is not None:
            self._profile.close()

    @classmethod
    def profiled(cls, folder: Path, graph: Graph, *, device: str, threads: int | None) -> OrtEngine:
        """Loads a graph with ONNX Runtime's profiler; see `runtimes.engine.ProfiledClass`.

        Raises:
            EngineError: as for the class, or there is no folder for temporary files.
            UsageError: as for the class.
        """
        profile = OrtProfile.begin()
        try:
            return cls(folder, graph, device=device, threads=threads, profile=profile)
        except BaseException:
            profile.close()
            raise

    def node_times(self) -> list[list[NodeTime]]:
        """What the nodes took by call; see `runtimes.engine.ProfiledEngine`.

        Raises:
            EngineError: the engine wasn't made by `profiled`, is closed, or its profile can't be
                read.
        """
        if self._session is None or self._profile is None:
            raise EngineError(f"{self.graph.file} has no profile: it is closed or wasn't profiled.")
        return self._profile.end(self._session)


def _parse(device: str) -> tuple[str, int]:
    name, colon, number = device.partition(":")
    if name not in PROVIDERS:
        raise unknown_name("device", device, PROVIDERS)
    if not colon:
        return name, 0
    if not PROVIDERS[name].numbered:
        raise UsageError(f"device {device!r}: {name} takes no number. Say {name!r}.")
    if not re.fullmatch("[0-9]{1,4}", number):
        raise UsageError(f"device {device!r}: after the colon comes a number, as in '{name}:0'.")
    return name, int(number)


def import_onnxruntime(provider: Provider) -> ModuleType:
    """Imports ONNX Runtime for a provider: quiet, and without its usage data.

    Raises:
        EngineError: it isn't installed; says how to.
    """
    # Its official builds send usage data over the network unless this is set before they load.
    # What the user set is left as it is.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    extra = "onnxruntime-gpu" if provider.install == _CUDA else "onnxruntime"
    sdk = import_sdk("onnxruntime", extra)
    # Its default logger warns about GPUs that it can't identify, also where none was asked for.
    sdk.set_default_logger_severity(_ERROR)
    return sdk


@dataclass(frozen=True)
class _Loader:
    sdk: Any
    provider: Provider
    number: int
    threads: int | None
    profile: OrtProfile | None

    def check_provider(self, device: str) -> None:
        offered = self.sdk.get_available_providers()
        if self.provider.name not in offered:
            raise EngineError(
                f"device {device!r} needs {self.provider.name}, which onnxruntime "
                f"{self.sdk.__version__} doesn't have here (it has: {', '.join(offered)}). "
                f"Install it: {self.provider.install}"
            )

    def open(self, folder: Path, graph: Graph) -> Any:
        """A session of a bundle's own graph."""
        path = folder / graph.file
        try:
            options = self._profiled(self._options())
            is_large = self._is_large(folder, graph)
            if is_large:
                options.add_session_config_entry("session.disable_prepacking", "1")
            session = self._session(path, options, fold=not is_large)
        except Exception as e:
            raise EngineError(f"{graph.file} can't be loaded: {first_line(e)}") from e
        if self.provider.name not in session.get_providers():
            raise EngineError(
                f"{self.provider.name} of onnxruntime {self.sdk.__version__} did not start, and "
                f"{graph.file} would run on {session.get_providers()[0]} instead. Check the "
                "device's driver and the libraries that the provider needs."
            )
        return session

    def cached(self, folder: Path, graph: Graph) -> Any | None:
        """A session of the optimised model that the cache keeps; None where it keeps none.

        For the CPU alone: what other providers compile can't be saved as a graph, and they keep
        caches of their own.
        """
        cache, source = OrtCache.from_environment(), Source.read(folder, graph)
        if cache is None or source is None or self.provider.name != "CPUExecutionProvider":
            return None
        if source.weight_bytes < cache.min_weight_bytes or self._is_large(folder, graph):
            return None
        key = source.key({"version": self.sdk.__version__, "provider": self.provider.name})
        # What can't be opened is dropped and made once more.
        for _ in range(2):
            path = cache.model(
                key, source.optimized_bytes, lambda target: self._save(folder / graph.file, target)
            )
            if path is None:
                return None
            try:
                return self._session(path, self._profiled(self._options(optimize=False)))
            except Exception as e:
                cache.drop(key, first_line(e))
        return None

    def _save(self, path: Path, target: Path) -> None:
        options = self._options()
        options.optimized_model_filepath = str(target / MODEL_NAME)
        for name, value in {
            "optimized_model_external_initializers_file_name": WEIGHTS_NAME,
            "optimized_model_external_initializers_min_size_in_bytes": str(_MAPPED_FROM_BYTES),
            "disable_prepacking": "1",  # packed weights aren't saved, and this session never runs
        }.items():
            options.add_session_config_entry(f"session.{name}", value)
        try:
            self._session(path, options)
        except Exception as e:
            raise EngineError(first_line(e)) from e

    def _is_large(self, folder: Path, graph: Graph) -> bool:
        """Whether the weights stay mapped as they are; see `_LARGE_SHARE`."""
        if self.provider.name != "CPUExecutionProvider" or graph.precision != "fp32":
            return False
        installed = installed_memory_bytes()
        size = sum((folder / name).stat().st_size for name in graph.weights)
        return installed is not None and size * _LARGE_SHARE > installed

    def _session(self, path: Path, options: Any, *, fold: bool = True) -> Any:
        chosen = {"device_id": str(self.number)} if self.provider.numbered else {}
        names = [(self.provider.name, chosen), *((name, chosen) for name in self.provider.then)]
        if self.provider.name != "CPUExecutionProvider":
            names.append(("CPUExecutionProvider", {}))
        # Without enable_fallback=False, a provider that fails is replaced by the CPU, unasked.
        without = {} if fold else {"disabled_optimizers": ["ConstantFolding"]}
        return self.sdk.InferenceSession(
            str(path), options, providers=names, enable_fallback=False, **without
        )

    def _profiled(self, options: Any) -> Any:
        """The options of a session that runs, as against one that saves a model."""
        if self.profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(self.profile.prefix)
        return options

    def _options(self, *, optimize: bool = True) -> Any:
        levels, options = self.sdk.GraphOptimizationLevel, self.sdk.SessionOptions()
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
        )
        # Every error is raised as well, and then told in one line.
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = self.threads or 0
        # Without it, freed memory goes back to the system. SD 1.5's VAE decoder at 512×512 peaked
        # at 1.4 GB and kept 0.45 (with the arena 2.5 and 2.5), the U-Net at 5.6 and 3.7 (7.2 and
        # 7.2), at the same CPU time: 15.8 s a step against 15.6.
        options.enable_cpu_mem_arena = False
        # DirectML refuses to plan memory ahead.
        options.enable_mem_pattern = self.provider.name != "DmlExecutionProvider"
        return options
