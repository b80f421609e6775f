"""Saves programs of coremltools' builder as packages, as they are: no pass runs over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from runtimes.mil.values import Array

Spec = tuple[tuple[int, ...], str]
Build = Callable[[Any, Mapping[str, Any]], tuple[Any, ...]]


def save_program(path: Path, opset: str, inputs: Mapping[str, Spec], build: Build) -> None:
    """Saves a package.

    Args:
        path: of the package.
        opset: "iOS16", "iOS17" or "iOS18".
        inputs: shape and type ("fp32", "fp16" or "int32") by name.
        build: makes the outputs from the builder and the inputs.
    """
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import types

    ct, mb = cast("Any", coremltools), cast("Any", Builder)
    target = getattr(ct.target, opset)
    specs = [mb.TensorSpec(shape, getattr(types, dtype)) for shape, dtype in inputs.values()]
    # The builder names a function's inputs after its parameters.
    names = ", ".join(inputs)
    body = eval(
        f"lambda {names}: build(dict({', '.join(f'{one}={one}' for one in inputs)}))",
        {"build": lambda given: build(mb, given)},
    )
    program = mb.program(input_specs=specs, opset_version=target)(body)
    ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    ).save(str(path))


CHANNELS, WIDTH, CONTEXT = 4, 5, 6


def weights() -> dict[str, Array]:
    """Those of `write_small`, exact in half precision."""
    rng = np.random.default_rng(0)
    shapes = {
        "conv": (CHANNELS, CHANNELS, 3, 3),
        "bias": (CHANNELS,),
        "linear": (WIDTH, CONTEXT),
    }
    found = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return {name: array.astype(np.float16).astype(np.float32) for name, array in found.items()}


SMALL_INPUTS: Mapping[str, Spec] = {
    "sample": ((2, CHANNELS, 5, 7), "fp32"),
    "timestep": ((1,), "fp32"),
    "context": ((2, CONTEXT), "fp32"),
}


def write_small(path: Path, opset: str = "iOS16", dtype: str = "fp32") -> None:
    """A convolution plus `timestep`, and a product of matrices; all of a type."""
    numbers = np.dtype({"fp32": "float32", "fp16": "float16"}[dtype])
    kept = {name: array.astype(numbers) for name, array in weights().items()}

    def build(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
        convolved = mb.conv(
            x=given["sample"],
            weight=kept["conv"],
            bias=kept["bias"],
            pad_type="custom",
            pad=np.ones(4, np.int32),
        )
        return (
            mb.add(x=convolved, y=given["timestep"], name="out_sample"),
            mb.linear(x=given["context"], weight=kept["linear"], name="projected"),
        )

    inputs = {name: (shape, dtype) for name, (shape, _) in SMALL_INPUTS.items()}
    save_program(path, opset, inputs, build)


def small_feeds() -> dict[str, Array]:
    """What `write_small` is fed, exact in half precision."""
    rng = np.random.default_rng(1)
    return {
        name: rng.standard_normal(shape).astype(np.float16).astype(np.float32)
        for name, (shape, _) in SMALL_INPUTS.items()
    }


def small_results(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What `write_small` computes, in float64."""
    kept = {name: array.astype(np.float64) for name, array in weights().items()}
    padded = np.pad(feeds["sample"].astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    convolved = np.einsum("bchwij,ocij->bohw", around, kept["conv"])
    return {
        "out_sample": convolved + kept["bias"][:, None, None] + feeds["timestep"],
        "projected": feeds["context"].astype(np.float64) @ kept["linear"].T,
    }
