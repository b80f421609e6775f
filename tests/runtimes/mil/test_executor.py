"""What the executor does around the operations: checks, constants, rounding, freeing, shapes."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtimes.errors import EngineError
from runtimes.mil.executor import Arithmetic, Executor
from runtimes.mil.ops.table import OPS
from runtimes.mil.package import Package
from runtimes.mil.program import (
    Argument,
    Block,
    Feature,
    Function,
    Interface,
    Model,
    NamedType,
    Operation,
    Value,
)
from runtimes.mil.values import BY_NAME, Array, TensorType


def kind(dtype: str, *shape: int | None) -> TensorType:
    return TensorType(BY_NAME[dtype], shape)


def constant(array: Any, dtype: str) -> Value:
    data = array if isinstance(array, str) else np.asarray(array, BY_NAME[dtype].stored)
    return Value(TensorType(BY_NAME[dtype], np.shape(data)), data)


def operation(op: str, out: str, made: TensorType, **inputs: str | Value | Argument) -> Operation:
    bound = {k: v if isinstance(v, tuple) else (v,) for k, v in inputs.items()}
    return Operation(op, bound, (NamedType(out, made),), {})


def const(out: str, value: Value) -> Operation:
    return Operation("const", {}, (NamedType(out, value.type),), {"val": value})


def package(
    operations: list[Operation],
    outputs: list[str],
    inputs: Mapping[str, TensorType],
    feature: Feature | None = None,
) -> Package:
    """A package of one function, whose inputs are described as `feature` or as they are."""
    features = tuple(
        feature or Feature(name, "float32", tuple(size or 1 for size in one.shape), (), ((0, -1),))
        for name, one in inputs.items()
    )
    function = Function(
        tuple(NamedType(name, one) for name, one in inputs.items()),
        "CoreML6",
        Block(tuple(operations), tuple(outputs)),
    )
    model = Model(7, {"main": function}, {"main": Interface(features, ())}, "main")
    return Package(Path("p"), Path("model.mlmodel"), model, {})


X: dict[str, TensorType] = {"x": kind("fp32", 3)}
FED = {"x": np.array([1.0, -2.0, 3.0], np.float32)}


def run(made: Package, arithmetic: Arithmetic = "fp32") -> dict[str, Array]:
    return Executor(made, arithmetic=arithmetic)(FED)


def refusal(*operations: Operation, outputs: tuple[str, ...] = ("y",)) -> str:
    with pytest.raises(EngineError) as caught:
        Executor(package(list(operations), list(outputs), X))
    return str(caught.value)


def test_unknown_operations_are_refused_by_name() -> None:
    found = refusal(operation("reduce_median", "y", kind("fp32", 3), x="x"))
    assert "'y' is made by the operation 'reduce_median', which the reference executor" in found
    assert "the closest that it knows is 'reduce_mean'" in found
    assert "model.mlmodel" in found
    assert "'while_loop'" in refusal(operation("while_loop", "y", kind("fp32", 3), x="x"))


def test_unknown_modes_are_refused_by_name() -> None:
    mode = constant("GUESS", "string")
    found = refusal(operation("gelu", "y", kind("fp32", 3), x="x", mode=mode))
    assert "'y' is made by 'gelu' with mode 'GUESS'" in found
    assert "EXACT, TANH_APPROXIMATION, SIGMOID_APPROXIMATION" in found
    named = refusal(const("m", mode), operation("gelu", "y", kind("fp32", 3), x="x", mode="m"))
    assert "with mode 'GUESS'" in named


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (operation("relu", "y", kind("fp32", 3), x="x", slope="x"), "'relu' with 'slope'"),
        (operation("add", "y", kind("fp32", 3), x="x"), "'add' without its 'y'"),
        (operation("relu", "y", kind("fp32", 3), x="z"), "from 'z', which nothing makes"),
        (operation("relu", "y", kind("fp32", 3), x=("x", "x")), "'relu' with 2 values as 'x'"),
        (operation("relu", "x", kind("fp32", 3), x="x"), "'x' is made twice"),
        (operation("gelu", "y", kind("fp32", 3), x="x", mode="x"), "no constant text as 'mode'"),
        (
            operation("relu", "y", kind("fp32", 3), x=constant("a", "string")),
            "the text 'a' as 'x'",
        ),
        (
            Operation("relu", {"x": ("x",)}, (NamedType("y", None),), {}),
            "'y' is made by 'relu' and is",
        ),
        (Operation("const", {}, (NamedType("y", kind("fp32", 3)),), {}), "without a value of its"),
        (
            Operation("relu", {"x": ("x",)}, (NamedType("y", kind("fp32", 3)),), {}, True),
            "the operation 'relu', which",
        ),
    ],
)
def test_programs_that_can_not_be_evaluated_are_refused(made: Operation, message: str) -> None:
    assert message in refusal(made)


def test_missing_results_are_refused() -> None:
    made = operation("relu", "y", kind("fp32", 3), x="x")
    assert "gives 'z', which nothing makes" in refusal(made, outputs=("z",))


def test_unknown_functions_are_refused() -> None:
    made = package([], ["x"], X)
    with pytest.raises(EngineError, match=r"has no function 'big' \(it has: main\)"):
        Executor(made, function="big")


def test_halves_are_kept_in_single_precision_or_rounded() -> None:
    third = constant(1 / 3, "fp16")
    made = package([operation("mul", "y", kind("fp16", 3), x="x", y=third)], ["y"], X)
    exact = FED["x"] * np.float32(np.float16(1 / 3))
    np.testing.assert_array_equal(run(made)["y"], exact)
    half = run(made, "fp16")["y"]
    assert half.dtype == np.float32
    np.testing.assert_array_equal(half, exact.astype(np.float16).astype(np.float32))
    assert np.abs(half - exact).max() > 0


def test_singles_are_never_rounded() -> None:
    third = constant(1 / 3, "fp32")
    made = package([operation("mul", "y", kind("fp32", 3), x="x", y=third)], ["y"], X)
    np.testing.assert_array_equal(run(made, "fp16")["y"], FED["x"] * np.float32(1 / 3))


def test_halves_overflow_to_infinity() -> None:
    large = constant(65504, "fp16")
    made = package([operation("mul", "y", kind("fp16", 3), x="x", y=large)], ["y"], X)
    np.testing.assert_array_equal(run(made, "fp16")["y"], [65504, -np.inf, np.inf])
    np.testing.assert_array_equal(run(made)["y"], [65504, -131008, 196512])


def test_compressed_weights_are_halves_in_either_arithmetic() -> None:
    made = operation(
        "constexpr_affine_dequantize",
        "w",
        kind("fp16", 3),
        quantized_data=constant([1, 2, 3], "int8"),
        zero_point=constant(0, "int8"),
        scale=constant(0.3, "fp16"),
        axis=constant(0, "int32"),
    )
    added = operation("add", "y", kind("fp32", 3), x=constant([0.0, 0, 0], "fp32"), y="w")
    expected = (np.float16(0.3) * np.arange(1, 4, dtype=np.float16)).astype(np.float32)
    for arithmetic in ("fp32", "fp16"):
        found = run(package([made, added], ["y"], X), arithmetic)["y"]
        np.testing.assert_array_equal(found, expected)


def test_results_are_of_the_programs_shape() -> None:
    made = package([operation("relu", "y", kind("fp32", 4), x="x")], ["y"], X)
    with pytest.raises(EngineError, match=r"'y' has shape \[3\], where the program has fp32 \[4\]"):
        run(made)
    free = package([operation("relu", "y", kind("fp32", None), x="x")], ["y"], X)
    assert run(free)["y"].shape == (3,)


def test_failing_operations_are_named() -> None:
    shape = constant([2, 2], "int32")
    made = package([operation("reshape", "y", kind("fp32", 2, 2), x="x", shape=shape)], ["y"], X)
    with pytest.raises(EngineError, match="'y' can't be made by 'reshape': cannot reshape"):
        run(made)
    several = package(
        [
            operation(
                "split",
                "y",
                kind("fp32", 1),
                x="x",
                axis=constant(0, "int32"),
                num_splits=constant(3, "int32"),
            )
        ],
        ["y"],
        X,
    )
    with pytest.raises(EngineError, match="'split' makes 3 values, where the program has 1"):
        run(several)


def test_missing_feeds_are_named() -> None:
    with pytest.raises(EngineError, match="the input 'x' isn't fed"):
        Executor(package([], ["x"], X))({})


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            Feature("x", "float32", (2,), ((2,), (4,))),
            r"has shape \[3\]; the package takes \[2\], \[4\]",
        ),
        (Feature("x", "float32", (8,), (), ((4, 8),)), r"takes 4 to 8"),
        (Feature("x", "float32", (4,)), r"takes \[4\]"),
    ],
)
def test_sizes_outside_of_the_packages_set_are_refused(feature: Feature, message: str) -> None:
    made = package([], ["x"], {"x": kind("fp32", None)}, feature)
    with pytest.raises(EngineError, match=message):
        run(made)


@pytest.mark.parametrize(
    "feature",
    [
        Feature("x", "float32", (2,), ((2,), (3,))),
        Feature("x", "float32", (8,), (), ((2, 8),)),
        Feature("x", "float32", (8,), (), ((2, -1),)),
    ],
)
def test_sizes_of_the_packages_set_are_taken(feature: Feature) -> None:
    made = package([], ["x"], {"x": kind("fp32", None)}, feature)
    np.testing.assert_array_equal(run(made)["x"], FED["x"])


def test_outputs_own_their_memory_and_can_be_chosen() -> None:
    made = package(
        [const("c", constant([5.0], "fp16")), operation("identity", "y", kind("fp32", 3), x="x")],
        ["y", "c", "x"],
        X,
    )
    found = Executor(made)(FED)
    assert found["c"].tolist() == [5.0]
    for array in found.values():
        assert array.flags.owndata
        assert array.dtype == np.float32
    assert list(Executor(made)(FED, ["c"])) == ["c"]


def test_values_are_freed_behind_their_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """`a` is taken by `b` and `c` alone: it is gone when `d` is made."""
    seen: list[weakref.ref[Array]] = []
    alive: list[bool] = []

    def noted(x: Array) -> Array:
        alive.append(seen[0]() is not None) if seen else None
        result = x + 1
        seen.append(weakref.ref(result))
        return result

    monkeypatch.setitem(OPS, "relu", noted)  # pyright: ignore[reportArgumentType]
    made = [
        operation("relu", "a", kind("fp32", 3), x="x"),
        operation("relu", "b", kind("fp32", 3), x="a"),
        operation("add", "c", kind("fp32", 3), x="a", y="b"),
        operation("relu", "d", kind("fp32", 3), x="c"),
    ]
    np.testing.assert_array_equal(run(package(made, ["d"], X))["d"], 2 * FED["x"] + 4)
    assert alive == [True, False]


def test_operations_change_none_of_their_arguments() -> None:
    """Each feed is as it was, though several operations compute in place."""
    zeros, ones = constant([0.0] * 3, "fp32"), constant([1.0] * 3, "fp32")
    axes = constant([0], "int32")
    made = [
        operation("layer_norm", "a", kind("fp32", 3), x="x", axes=axes, gamma=ones, beta=zeros),
        operation("softmax", "b", kind("fp32", 3), x="x"),
        operation("silu", "c", kind("fp32", 3), x="x"),
        operation("cumsum", "d", kind("fp32", 3), x="x"),
    ]
    fed = {"x": FED["x"].copy()}
    Executor(package(made, ["a", "b", "c", "d"], X))(fed)
    np.testing.assert_array_equal(fed["x"], FED["x"])
