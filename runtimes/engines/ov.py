"""Runs graphs in OpenVINO: on CPUs, GPUs and NPUs."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.bundle import cache_folder
from runtimes.engine import Array, NodeTime
from runtimes.engines.cache_size import limit_bytes, make_room
from runtimes.engines.contract import (
    check_feeds,
    check_files,
    check_names,
    check_outputs,
    check_threads,
)
from runtimes.engines.sdk import first_line, import_sdk
from runtimes.errors import EngineError, UsageError, unknown_name
from runtimes.manifest import Graph

DEVICES = ("auto", "cpu", "gpu", "hetero", "multi", "npu")
"""Kinds of device. "gpu.1" is the second GPU; "auto:gpu,cpu" and the like list what they use."""

_OVER_OTHERS = frozenset({"auto", "hetero", "multi"})
_IR_START = re.compile(rb"\s*(<\?xml[^>]*>)?\s*<net\b[^>]*\bversion=")
_IR_START_BYTES = 4096


class OvEngine:
    """A graph compiled by OpenVINO. The weights are mapped from the bundle.

    Calls from several threads at once are safe, and run one after the other: they share one infer
    request, whose buffers for activations are allocated once.

    Attributes:
        graph: as the manifest describes it.
        device: as it was asked for, in lower case.
        version: "openvino" and the version of its package.
    """

    def __init__(
        self,
        folder: Path,
        graph: Graph,
        *,
        device: str,
        threads: int | None,
        profile: bool = False,
    ) -> None:
        """Loads a graph; see `runtimes.engine.EngineClass`.

        Args:
            folder: the bundle.
            graph: the graph, as its manifest describes it.
            device: of a kind in `DEVICES`, in upper or lower case.
            threads: threads within an operation, where the CPU computes.
            profile: whether performance counters are kept, for `node_times`.

        Raises:
            EngineError: OpenVINO or the device is absent, or loading failed.
            UsageError: there is no such kind of device, or `threads` is below 1.
        """
        self.graph, self.device = graph, device.lower()
        wanted = _parse(self.device)
        check_threads(threads)
        sdk = import_sdk("openvino", "openvino")
        release = str(sdk.__version__).partition("-")[0]
        self.version = f"openvino {release}"
        core: Any = sdk.Core()
        _check_available(self.device, wanted, core.available_devices, release)
        _check_arithmetic(self.device, wanted, graph)
        path = check_files(folder, graph)
        _check_ir(path, graph)
        self._request: Any = _load(core, path, graph, self.device, threads, profile)
        self._node_times: list[list[NodeTime]] | None = [] if profile else None
        self._lock = threading.Lock()
        model = self._request.get_compiled_model()
        check_names(graph, "inputs", graph.inputs, _names(graph.inputs, model.inputs))
        check_names(graph, "outputs", graph.outputs, _names(graph.outputs, model.outputs))

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the graph; see `runtimes.engine.Engine`.

        Raises:
            EngineError: a feed or an output isn't the graph's, the engine is closed, or the run
                failed.
        """
        wanted = check_outputs(self.graph, outputs)
        check_feeds(self.graph, feeds)
        with self._lock:
            if self._request is None:
                raise EngineError(f"{self.graph.file} is closed. Open the bundle again.")
            try:
                found = self._request.infer(dict(feeds), share_inputs=True, share_outputs=True)
                if self._node_times is not None:
                    self._node_times.append(_executed(self._request.profiling_info))
                # The request's buffers are written again at the next call: what leaves is a copy.
                return {name: np.array(found[name]) for name in wanted}
            except Exception as e:
                raise EngineError(f"{self.graph.file} failed: {first_line(e)}") from e

    def close(self) -> None:
        """Frees the model's memory, once a running call is done; calls after it fail."""
        with self._lock:
            self._request = None

    @classmethod
    def profiled(cls, folder: Path, graph: Graph, *, device: str, threads: int | None) -> OvEngine:
        """Loads a graph with performance counters; see `runtimes.engine.ProfiledClass`.

        Raises:
            EngineError: as for the class.
            UsageError: as for the class.
        """
        return cls(folder, graph, device=device, threads=threads, profile=True)

    def node_times(self) -> list[list[NodeTime]]:
        """What the nodes took by call; see `runtimes.engine.ProfiledEngine`.

        Raises:
            EngineError: the engine wasn't made by `profiled`, or told its times before.
        """
        with self._lock:
            found, self._node_times = self._node_times, None
        if found is None:
            raise EngineError(f"{self.graph.file} has no profile: it ended or wasn't profiled.")
        return found


def device_properties(
    kind: str, graph: Graph, threads: int | None, cache: Path | None
) -> dict[str, str]:
    """What a plugin is told before it compiles.

    Args:
        kind: "cpu", "gpu" or "npu".
        graph: says how its weights are stored and what it may be computed in.
        threads: threads within an operation; the CPU alone takes them.
        cache: folder for compiled models, or None to keep none.
    """
    if kind == "cpu":
        # No cache of what it compiles: that takes 4.0 s of CPU time for SD 1.5's U-Net, and 2.5 s
        # with a cache of 1.7 GB. And no bf16, which a CPU that has it takes unasked.
        hint = {} if graph.precision == "bf16" else {"INFERENCE_PRECISION_HINT": "f32"}
        return hint | ({"INFERENCE_NUM_THREADS": str(threads)} if threads else {})
    kept = {"CACHE_DIR": str(cache)} if cache else {}
    # A GPU computes in f16 by default, an NPU always.
    exact = kind == "gpu" and (graph.precision == "fp32" or _is_exact(graph))
    return kept | ({"INFERENCE_PRECISION_HINT": "f32"} if exact else {})


def _parse(device: str) -> tuple[str, ...]:
    """The devices that a name asks for: itself, or those listed behind the colon."""
    kind, colon, listed = device.partition(":")
    over_others = kind in _OVER_OTHERS
    wanted = tuple(_bare(name) for name in listed.split(",")) if over_others and colon else ()
    for name in wanted if over_others else (device,):
        base = re.sub(r"\.\d+$", "", name)
        if base not in DEVICES or base in _OVER_OTHERS:
            raise unknown_name("device", name, DEVICES)
    if kind in ("hetero", "multi") and not wanted:
        raise UsageError(f"device {device!r} lists no devices. Say for example '{kind}:gpu,cpu'.")
    return wanted if over_others else (device,)


def _bare(listed: str) -> str:
    """Without AUTO's "-" for what it shall not use and MULTI's "(number of requests)"."""
    return re.sub(r"\(\d+\)$", "", listed.strip().removeprefix("-"))


def _check_available(
    device: str, wanted: Sequence[str], available: Sequence[str], release: str
) -> None:
    known = [name.lower() for name in available]
    for name in wanted:
        base = name.partition(".")[0]
        # With one GPU there is "gpu", which "gpu.0" means too; with two, "gpu.0" and "gpu.1".
        first = {base, f"{base}.0"}
        if name not in known and not (name in first and first & set(known)):
            raise EngineError(
                f"device {device!r}: OpenVINO {release} finds no {name} here (it finds: "
                f"{', '.join(known)}). Choose one of those, or check the driver of the other."
            )


def _is_exact(graph: Graph) -> bool:
    """Whether no device may compute a graph in less than float32."""
    return graph.arithmetic is not None and graph.arithmetic.dtype == "fp32"


def _check_arithmetic(device: str, wanted: Sequence[str], graph: Graph) -> None:
    if _is_exact(graph) and any(name.partition(".")[0] == "npu" for name in wanted):
        raise EngineError(
            f"device {device!r}: an NPU computes in fp16, and {graph.file} must be computed in "
            f"{graph.arithmetic}. Choose cpu or gpu, or compile with --arithmetic force-fp16."
        )


def _check_ir(path: Path, graph: Graph) -> None:
    # OpenVINO would try its readers for other formats, which print on stderr.
    with path.open("rb") as file:
        if not _IR_START.match(file.read(_IR_START_BYTES)):
            raise EngineError(f"{graph.file} can't be loaded: it is no OpenVINO IR.")


def _load(
    core: Any, path: Path, graph: Graph, device: str, threads: int | None, profile: bool
) -> Any:
    cache = _bounded_cache()
    options: dict[str, str] = {"PERFORMANCE_HINT": "LATENCY"}
    if profile:
        options["PERF_COUNT"] = "YES"
    try:
        # On the plugins, so that AUTO, HETERO and MULTI, which stand over them, get it too.
        for name in core.available_devices:
            kind = name.partition(".")[0].lower()
            if kind in DEVICES:
                core.set_property(name, device_properties(kind, graph, threads, cache))
        model = core.compile_model(str(path), device.upper(), options)
        return model.create_infer_request()
    except Exception as e:
        raise EngineError(f"{graph.file} can't be loaded on {device}: {first_line(e)}") from e


def _executed(nodes: Sequence[Any]) -> list[NodeTime]:
    """Those that ran; others were folded into them or had nothing to do."""
    return [
        NodeTime(node.node_name, node.node_type, node.real_time.total_seconds() * 1000)
        for node in nodes
        if node.status == node.Status.EXECUTED
    ]


def _bounded_cache() -> Path | None:
    """The folder of compiled models, which OpenVINO keys and fills but never empties."""
    allowed = limit_bytes()
    folder = cache_folder() / "openvino"
    if allowed == 0:
        return None
    with contextlib.suppress(OSError):
        # Its files are read-only; one that is in use on Windows stays.
        make_room(folder.glob("*.blob"), 0, allowed, _unlink)
    return folder


def _unlink(blob: Path) -> None:
    with contextlib.suppress(OSError):
        blob.unlink()


def _names(ports: Sequence[Any], found: Sequence[Any]) -> list[str]:
    """One name of each of the model's ports: the manifest's where it has that one among others."""
    wanted = {port.name for port in ports}
    return [
        next(iter(sorted(wanted & names) or sorted(names)), "")
        for names in (set(port.names) for port in found)
    ]
