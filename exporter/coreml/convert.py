"""Makes the MIL program of a captured one: functions, inputs, constants, outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exporter.coreml.lower import load_rules
from exporter.coreml.lower.rules import MIL_DTYPES, Constants, Lowering, Var, builder
from exporter.coreml.program import Program, shape_of, value_of

_MIL_NAMES = {"float16": "fp16", "float32": "fp32"}


@dataclass(frozen=True)
class Feature:
    """An input or output of a package.

    Attributes:
        port: of the captured program.
        name: in the package.
        dtype: "float16" or "float32": what the package takes or gives.
    """

    port: str
    name: str
    dtype: str


def add_function(
    mil: Any,
    name: str,
    program: Program,
    inputs: tuple[Feature, ...],
    outputs: tuple[Feature, ...],
    constants: Constants,
    target: Any,
) -> None:
    """Lowers a captured program to a function of a MIL program.

    Args:
        mil: coremltools' `Program`.
        name: of the function.
        program: captured, rewritten.
        inputs: for every input of the captured program.
        outputs: those of its outputs that the package gives.
        constants: of its weights.
        target: coremltools' deployment target.

    Raises:
        CompileError: an operator can't be lowered, or a weight is missing.
    """
    from coremltools.converters.mil.mil import Function, types

    mb = builder()
    load_rules()
    mil_types = {"float16": types.fp16, "float32": types.fp32}
    specs = {
        feature.name: mb.TensorSpec(
            shape_of(program.inputs[feature.port]), dtype=mil_types[feature.dtype]
        )
        for feature in inputs
    }
    with Function(specs, opset_version=target) as function:
        given = {
            program.inputs[feature.port]: _cast_in(mb, program, feature, function)
            for feature in inputs
        }
        lowering = Lowering(program, constants, given)
        lowering.run()
        function.set_outputs([_cast_out(mb, lowering, program, feature) for feature in outputs])
    mil.add_function(name, function)


def _cast_in(mb: Any, program: Program, feature: Feature, function: Any) -> Var:
    """What a placeholder stands for: the input in the dtype that the program takes."""
    wanted = MIL_DTYPES[value_of(program.inputs[feature.port]).dtype]
    given = function.inputs[feature.name]
    if _MIL_NAMES[feature.dtype] == wanted:
        return given
    return mb.cast(x=given, dtype=wanted)


def _cast_out(mb: Any, lowering: Lowering, program: Program, feature: Feature) -> Var:
    found = lowering.var(program.outputs[feature.port])
    short = _MIL_NAMES[feature.dtype]
    if MIL_DTYPES[value_of(program.outputs[feature.port]).dtype] == short:
        return mb.identity(x=found, name=feature.name)
    return mb.cast(x=found, dtype=short, name=feature.name)
