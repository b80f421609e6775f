"""Small MIL programs for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.coreml.package import fresh_names

Array = NDArray[Any]

CHANNELS = 16


Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Made:
    """A function of a test's program.

    Attributes:
        inputs: shape by name.
        body: from coremltools' builder and the inputs to the outputs.
        dtype: of the inputs.
    """

    inputs: Shapes
    body: Callable[..., Any]
    dtype: str = "fp16"


def program_of(functions: Mapping[str, Made], target: str = "iOS18") -> tuple[Any, Any]:
    """A program of some functions, and its target as coremltools has it."""
    import coremltools
    from coremltools.converters.mil import Builder, mil
    from coremltools.converters.mil.mil import types

    chosen: Any = coremltools.target[target]
    program = mil.Program()
    for name, made in functions.items():
        dtype: Any = getattr(types, made.dtype)
        given: Any = {key: Builder.TensorSpec(shape, dtype) for key, shape in made.inputs.items()}
        with fresh_names(), mil.Function(given, opset_version=chosen) as function:
            found = made.body(Builder, *function.inputs.values())
            function.set_outputs(found if isinstance(found, list) else [found])
        program.add_function(name, function)
    return program, chosen


def passing(inputs: Shapes, outputs: Shapes, dtype: str = "fp16") -> Made:
    """A function of given inputs and outputs that computes nothing of use."""

    def body(mb: Any, *given: Any) -> list[Any]:
        total = mb.reduce_sum(x=given[0])
        for each in given[1:]:
            total = mb.add(x=total, y=mb.reduce_sum(x=each))
        zero = mb.cast(x=total, dtype="fp32")
        return [
            mb.add(x=zero, y=np.zeros(shape, np.float32), name=name)
            for name, shape in outputs.items()
        ]

    return Made(inputs, body, dtype)


def weights(seed: int = 0) -> dict[str, Array]:
    """Of the convolutions of `network`, in half precision."""
    draw = np.random.default_rng(seed)
    return {
        f"conv.{index}.weight": draw.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float16)
        for index in range(4)
    }


def network(
    sizes: Mapping[str, tuple[int, int]],
    arrays: Mapping[str, Array],
    *,
    target: str = "iOS18",
    dead: bool = False,
) -> tuple[Any, Any]:
    """Convolutions with one function for each size; with the target as coremltools has it.

    Args:
        sizes: height and width by function.
        arrays: weights by key.
        target: the deployment target's name.
        dead: add a large constant that nothing uses.
    """

    def body(mb: Any, x: Any) -> Any:
        for key, array in arrays.items():
            x = mb.silu(x=mb.conv(x=x, weight=mb.const(val=array, name=key), pad_type="same"))
        if dead:
            mb.const(val=np.ones((256, 256), np.float16), name="unused")
        return mb.cast(x=x, dtype="fp32", name="noise_pred")

    functions = {name: Made({"sample": (1, CHANNELS, *size)}, body) for name, size in sizes.items()}
    return program_of(functions, target)
