"""ONNX Runtime: the portable graph lowered to what its CPU provider runs fastest.

The graph keeps every weight under its Diffusers key, in a safetensors file beside it. Nothing in it
depends on the machine; folding and prepacking happen when the engine loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes import ONNXRUNTIME, apply
from exporter.passes.fix_sizes import axes_of, fix_sizes
from exporter.passes.half_arithmetic import half_arithmetic
from exporter.portable import GRAPH_NAME, WEIGHTS_NAME, bind, save, unbind
from exporter.targets import Compiled, Target, fixed_ports
from exporter.weight_map import Mapped, write_weight_map
from exporter.weights import Planned, read_header, stream
from runtimes.bundle import Bundle
from runtimes.engines.ort import PROVIDERS, import_onnxruntime
from runtimes.errors import EngineError
from runtimes.manifest import Arithmetic, Component, Graph

Array = NDArray[np.generic]

_STORED = {"fp32": "F32", "fp16": "F16"}
_DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class OnnxRuntime(Target):
    """Lowered ONNX beside a safetensors file, in fp32 or with fp16 storage.

    Half weights are widened and the graph computes in fp32, since the CPU provider has no fp16
    kernels of weight; a graph that may be computed in fp16 is in half precision throughout.
    """

    sdk = "onnxruntime"
    precisions = ("fp32", "fp16")
    half_arithmetic = None

    def compile(
        self,
        bundle: Bundle,
        name: str,
        folder: Path,
        *,
        precision: str,
        sizes: Mapping[str, int],
        arithmetic: Arithmetic | None = None,
    ) -> Compiled:
        """Lowers the graph and stores its weights in the asked precision."""
        portable = bundle.graph(name)
        model = _lowered(bundle.path / portable.file, sizes)
        tensors = read_header(bundle.path / portable.weights[0])
        plan = {key: Planned(tensor, _STORED[precision]) for key, tensor in tensors.items()}
        bind(model, {key: (item.dtype, item.source.shape) for key, item in plan.items()})
        if arithmetic is not None and arithmetic.dtype == "fp16":
            model = half_arithmetic(model)
        save(model, folder / name / GRAPH_NAME)
        weights = f"{name}/{WEIGHTS_NAME}"
        sha256 = stream(folder / weights, plan)
        weight_map = write_weight_map(
            folder / name,
            {
                key: Mapped(
                    tensor=key,
                    dtype=_DTYPE_NAMES[item.dtype],
                    layout="canonical",
                    shape=item.source.shape,
                )
                for key, item in plan.items()
            },
        )
        graph = Graph(
            file=f"{name}/{GRAPH_NAME}",
            inputs=fixed_ports(portable.inputs, sizes),
            outputs=fixed_ports(portable.outputs, sizes),
            weights=(weights,),
            precision=precision,
            engine="onnxruntime",
            arithmetic=arithmetic,
        )
        entry = Component(
            graphs={"model": graph},
            recipe=bundle.manifest.components[name].recipe,
            weight_map=f"{name}/{weight_map}",
        )
        return Compiled(entry, {weights: sha256})


def open_lowered(folder: Path, graph: Graph) -> LoweredSession:
    """Lowers a portable graph in memory, at any size, and loads it; nothing is written.

    Args:
        folder: the bundle, whose weight file stays where it is.
        graph: the portable graph.

    Raises:
        EngineError: ONNX Runtime refused it.
    """
    model = _lowered(folder / graph.file, {})
    tensors = read_header(folder / graph.weights[0])
    bind(model, {key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()})
    return LoweredSession((folder / graph.file).parent, graph, model)


class LoweredSession:
    """A lowered graph that exists in memory alone, as an engine for verification."""

    version = "onnxruntime"
    device = "cpu"

    def __init__(self, folder: Path, graph: Graph, model: ir.Model) -> None:
        try:
            self._session = load_session(model, folder)
        except EngineError as e:
            raise EngineError(f"{graph.file}: {e}") from e
        self.graph = graph

    def __call__(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the graph; see `runtimes.engine.Engine`."""
        names = outputs or [port.name for port in self.graph.outputs]
        return run_session(self._session, names, feeds)

    def close(self) -> None:
        """Frees the session."""
        del self._session


def load_session(model: ir.Model | onnx.ModelProto, folder: Path | None) -> Any:
    """A session of the CPU provider over a graph in memory.

    Args:
        model: the graph.
        folder: where the weight file that it points into lies; None where it has its weights.

    Raises:
        EngineError: ONNX Runtime is absent or refused the graph.
    """
    ort = import_onnxruntime(PROVIDERS["cpu"])
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # as the engine: peaks by half as high
    if folder is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    raw = proto.SerializeToString()
    try:
        return ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as e:
        line = str(e).splitlines()[0]
        raise EngineError(f"ONNX Runtime refused the graph: {line}") from e


def run_session(session: Any, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Runs a session.

    Raises:
        EngineError: ONNX Runtime failed.
    """
    try:
        results = session.run(list(names), dict(feeds))
    except Exception as e:
        raise EngineError(f"ONNX Runtime failed: {str(e).splitlines()[0]}") from e
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}


def _lowered(path: Path, sizes: Mapping[str, int]) -> ir.Model:
    """Reads a portable graph without its weights, fixes sizes and lowers it."""
    model = ir.load(path)
    unbind(model)
    return lower(model, sizes)


def lower(model: ir.Model, sizes: Mapping[str, int]) -> ir.Model:
    """Fixes axes of a portable graph, as far as it has them, and lowers it; changes it in place."""
    model = fix_sizes(model, {axis: sizes[axis] for axis in axes_of(model) if axis in sizes})
    return apply(model, ONNXRUNTIME)
