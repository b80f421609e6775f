"""Compressed weights in MIL programs, against coremltools' own reading of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from exporter.coreml.compress.activations import rounded
from exporter.coreml.compress.emit import emit, emit_rounded
from exporter.coreml.compress.palette import palettize
from exporter.coreml.compress.scheme import parse_scheme
from exporter.coreml.compress.tensor import Compressed, compress
from exporter.coreml.targets import check_target

ct: Any = pytest.importorskip("coremltools")

NAMES = (
    *("palette-8", "palette-6", "palette-4", "palette-3", "palette-2", "palette-1"),
    *("palette-4-g16", "palette-6-g8", "int8", "int4"),
)
SHAPES = ((48, 64, 3, 3), (32, 128), (32, 128, 1, 1))


def build(weights: dict[str, Compressed], target: str) -> Any:
    """A program that adds one number to each of the weights."""
    from coremltools.converters.mil import mil
    from coremltools.converters.mil.mil import types

    builder: Any = import_module("coremltools.converters.mil").Builder
    program = mil.Program()
    version = ct.target[target]
    given: Any = builder.TensorSpec((1,), dtype=types.fp16)
    with mil.Function({"x": given}, opset_version=version) as function:
        sums: list[Any] = []
        for name, weight in weights.items():
            emitted = emit(name, weight, check_target(target))
            assert emitted.shape == weight.decompress().shape
            added = builder.cast(
                x=function.inputs["x"], dtype=types.builtin_to_string(emitted.dtype)
            )
            sums.append(builder.add(x=added, y=emitted, name=f"{name}_sum"))
        function.set_outputs(sums)
    program.add_function("main", function)
    return program


def package(program: Any, target: str, path: Path) -> Any:
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target[target],
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(path))
    return ct.models.MLModel(str(path), skip_model_load=True)


def weight(shape: tuple[int, ...], dtype: type = np.float16) -> NDArray[Any]:
    return (np.random.default_rng(0).standard_normal(shape) * 0.03).astype(dtype)


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_a_saved_package_decompresses_to_what_we_say(target: str, tmp_path: Path) -> None:
    schemes = [parse_scheme(name) for name in NAMES]
    weights = {
        f"{scheme.name.replace('-', '_')}_{number}": compress(weight(shape), scheme)
        for scheme in schemes
        for number, shape in enumerate(SHAPES)
        if scheme.since <= check_target(target)
    }
    saved = package(build(weights, target), target, tmp_path / "w.mlpackage")
    dense = ct.optimize.coreml.decompress_weights(saved)._mil_program.functions["main"]
    found = {op.name.removesuffix("_sum"): op.y.val for op in dense.find_ops(op_type="add")}
    assert found.keys() == weights.keys()
    for name, compressed in weights.items():
        np.testing.assert_array_equal(found[name], compressed.decompress(), err_msg=name)


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_weights_of_float32_components_stay_float32(target: str) -> None:
    from coremltools.converters.mil.mil import types

    values = weight((32, 64), np.float32)
    weights = {
        name.replace("-", "_"): compress(values, parse_scheme(name))
        for name in ("palette-4", "int8")
    }
    main = build(weights, target).functions["main"]
    for name, compressed in weights.items():
        (op,) = main.find_ops(prefix=f"{name}_sum")
        assert op.y.dtype == types.fp32
        found = op.y.op.materialized_val_inference()
        np.testing.assert_array_equal(found, compressed.decompress())


@pytest.mark.parametrize("bits", [1, 4, 6])
def test_tables_are_as_good_as_those_of_coremltools(bits: int, tmp_path: Path) -> None:
    from coremltools.converters.mil import mil
    from coremltools.converters.mil.mil import types

    builder: Any = import_module("coremltools.converters.mil").Builder
    # Of heavier tails than a Gaussian's, as trained weights are.
    values = (np.random.default_rng(1).laplace(size=(64, 200)) * 0.03).astype(np.float16)
    program = mil.Program()
    given: Any = builder.TensorSpec((1, 200), dtype=types.fp16)
    with mil.Function({"x": given}, opset_version=ct.target.iOS16) as function:
        function.set_outputs([builder.linear(x=function.inputs["x"], weight=values, name="y")])
    program.add_function("main", function)
    config = ct.optimize.coreml.OptimizationConfig(
        ct.optimize.coreml.OpPalettizerConfig(mode="kmeans", nbits=bits)
    )
    theirs = ct.optimize.coreml.palettize_weights(
        package(program, "iOS16", tmp_path / "w.mlpackage"), config
    )
    (op,) = theirs._mil_program.functions["main"].find_ops(op_type="linear")
    reference = op.weight.op.materialized_val_inference().astype(np.float64)
    exact = values.astype(np.float64)
    ours = palettize(values, bits, key="w").decompress().astype(np.float64)
    assert np.sum((ours - exact) ** 2) <= 1.01 * np.sum((reference - exact) ** 2)


def test_an_input_is_rounded_as_in_torch() -> None:
    from coremltools.converters.mil import mil

    builder: Any = import_module("coremltools.converters.mil").Builder
    values = np.array([0.0, 0.24, 0.26, -0.26, 0.75, 1.25, 100.0, -100.0], np.float16)
    with mil.Function({"x": builder.TensorSpec((1,))}, opset_version=ct.target.iOS17):
        found = emit_rounded("read", builder.const(val=values), 0.5)
    assert found.name == "read"
    assert found.op.op_type == "dequantize"
    assert found.op.input.op.op_type == "quantize"
    expected = rounded({"a": 0.5})("a", torch.from_numpy(values))
    scale = found.op.scale.val
    assert scale.dtype == found.op.input.op.scale.val.dtype == np.float16
    np.testing.assert_array_equal(found.op.input.val * scale, expected.numpy())
