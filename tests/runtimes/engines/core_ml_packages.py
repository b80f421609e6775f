"""Tiny Core ML packages, built by hand with coremltools' MIL builder.

`unet` takes `sample`, `timestep` and `context` as Core ML's U-Nets take theirs (half precision, the
context's channels before its sequence), and gives with the weights w

    noise_pred = sample · (sum of context · w + timestep) + plus

as one package, one of two functions, or two chunks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtimes.engine import Array
from runtimes.manifest import Graph, Port

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
FUNCTION = "size_768x512"
PLUS = 1000.0
"""What the function of that name adds."""

W = np.linspace(-1, 1, 20).astype(np.float16).reshape(1, 4, 1, 5)

_INPUTS = (
    Port(role="sample", name="sample", dtype="float16", shape=(2, 3)),
    Port(role="timestep", name="timestep", dtype="float16", shape=(1,), repeat=2),
    Port(
        role="encoder_hidden_states",
        name="context",
        dtype="float16",
        shape=(2, 5, 4),
        axes=(0, 2, -1, 1),
    ),
)
_OUTPUTS = (Port(role="out_sample", name="noise_pred", dtype="float32", shape=(2, 3)),)


def feeds() -> dict[str, Array]:
    """Of the roles' shapes; read-only, as a caller's arrays may be."""
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {
        "sample": rng.standard_normal((2, 3)).astype(np.float16),
        "timestep": np.array([7], np.float16),
        "context": rng.standard_normal((2, 5, 4)).astype(np.float16),
    }
    for array in found.values():
        array.flags.writeable = False
    return found


def expected(plus: float = 0.0) -> NDArray[np.float64]:
    given = {name: array.astype(np.float64) for name, array in feeds().items()}
    context = given["context"].transpose(0, 2, 1)[:, :, np.newaxis]
    total = (context * W.astype(np.float64)).sum(axis=(1, 2, 3)) + given["timestep"]
    return given["sample"] * total[:, np.newaxis] + plus


def write_packages(folder: Path) -> None:
    """Writes Unet (of two functions), and UnetChunk1 and UnetChunk2, into a new folder."""
    import coremltools as ct

    folder.mkdir()
    for name, plus in {"main": 0.0, FUNCTION: PLUS}.items():
        save(_unet(plus), folder / f"{name}.mlpackage")
    both: Any = ct.utils.MultiFunctionDescriptor()
    for name in ("main", FUNCTION):
        both.add_function(str(folder / f"{name}.mlpackage"), "main", name)
    both.default_function_name = "main"
    ct.utils.save_multifunction(both, str(folder / "Unet.mlpackage"))
    save(_first(), folder / "UnetChunk1.mlpackage")
    save(_second(), folder / "UnetChunk2.mlpackage")


def builder() -> Any:
    """coremltools' builder of MIL programs."""
    from coremltools.converters.mil import Builder

    return Builder


def save(program: Any, package: Path) -> None:
    """Saves a MIL program as it is: no pass alters it."""
    import coremltools as ct

    empty: Any = ct.PassPipeline.EMPTY
    model: Any = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18,
        pass_pipeline=empty,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.save(str(package))


def graph_of(*packages: str, function: str | None = None) -> Graph:
    """The graph of packages that lie in a bundle's `unet`."""
    places = [f"unet/{name}.mlpackage" for name in packages]
    file, *chunks = (f"{place}/{MODEL}" for place in places)
    return Graph(
        file=file,
        inputs=_INPUTS,
        outputs=_OUTPUTS,
        weights=tuple(f"{place}/{WEIGHTS}" for place in places[:1]),
        precision="fp16",
        engine="coreml",
        function=function,
        chunks=tuple(chunks),
    )


def with_input(graph: Graph, name: str, **changes: Any) -> Graph:
    """A graph whose manifest says otherwise of an input."""
    ports = [
        msgspec.structs.replace(port, **changes) if port.name == name else port
        for port in graph.inputs
    ]
    return msgspec.structs.replace(graph, inputs=tuple(ports))


def _spec(*shape: int, dtype: str = "fp16") -> Any:
    from coremltools.converters.mil.mil import types

    return builder().TensorSpec(shape, getattr(types, dtype))


def _unet(plus: float) -> Any:
    import coremltools as ct

    mb = builder()

    @mb.program(
        input_specs=[_spec(2, 3), _spec(2), _spec(2, 4, 1, 5)], opset_version=ct.target.iOS18
    )
    def main(sample: Any, timestep: Any, context: Any) -> Any:
        total = mb.add(x=_total(context), y=mb.cast(x=timestep, dtype="fp32"))
        return _scaled(mb.cast(x=sample, dtype="fp32"), total, plus)

    return main


def _first() -> Any:
    import coremltools as ct

    mb = builder()

    @mb.program(input_specs=[_spec(2, 4, 1, 5)], opset_version=ct.target.iOS18)
    def main(context: Any) -> Any:
        return mb.identity(x=_total(context), name="total")

    return main


def _second() -> Any:
    import coremltools as ct

    mb = builder()

    @mb.program(
        input_specs=[_spec(2, 3), _spec(2), _spec(2, dtype="fp32")], opset_version=ct.target.iOS18
    )
    def main(sample: Any, timestep: Any, total: Any) -> Any:
        told = mb.add(x=total, y=mb.cast(x=timestep, dtype="fp32"))
        return _scaled(mb.cast(x=sample, dtype="fp32"), told, 0.0)

    return main


def _total(context: Any) -> Any:
    mb = builder()
    weighed = mb.mul(x=mb.cast(x=context, dtype="fp32"), y=mb.cast(x=W, dtype="fp32"))
    return mb.reduce_sum(x=weighed, axes=[1, 2, 3], keep_dims=False)


def _scaled(sample: Any, total: Any, plus: float) -> Any:
    mb = builder()
    product = mb.mul(x=sample, y=mb.expand_dims(x=total, axes=[1]))
    return mb.add(x=product, y=np.float32(plus), name="noise_pred")
