"""Packages that run one behind the other, and packages of several functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from runtimes.mil.chain import Chain
from runtimes.mil.executor import Executor
from runtimes.mil.package import Package, open_package
from runtimes.mil.values import Array
from tests.runtimes.mil.packages import save_program

SIZE = 12
X = np.linspace(-1, 1, SIZE).astype(np.float32)
Y = np.linspace(2, 5, SIZE).astype(np.float32)
WEIGHT = np.linspace(0, 1, SIZE).astype(np.float32)
NUMBERS = ((SIZE,), "fp32")


def first(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
    return (mb.mul(x=given["x"], y=WEIGHT, name="middle"), mb.exp(x=given["x"], name="skip"))


def second(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Takes what the first one makes, an input of both, and one that is its own."""
    added = mb.add(x=given["middle"], y=given["x"])
    return (mb.add(x=mb.mul(x=added, y=given["skip"]), y=given["y"], name="out"),)


def third(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
    return (mb.add(x=given["out"], y=given["x"], name="final"),)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Package]:
    folder = tmp_path_factory.mktemp("chunks")
    chunks = {
        "1.mlpackage": (("x",), first),
        "2.mlpackage": (("middle", "x", "skip", "y"), second),
        "3.mlpackage": (("out", "x"), third),
    }
    for name, (inputs, build) in chunks.items():
        save_program(folder / name, "iOS16", dict.fromkeys(inputs, NUMBERS), build)
    return [open_package(folder / name) for name in chunks]


def expected(x: Array, y: Array) -> Array:
    return (x * WEIGHT + x) * np.exp(x) + y


def test_chunks_are_one_graph(packages: list[Package]) -> None:
    chain = Chain(tuple(Executor(one) for one in packages[:2]))
    assert [one.name for one in chain.inputs] == ["x", "y"]
    assert [one.name for one in chain.outputs] == ["out"]
    found = chain({"x": X, "y": Y}, ["out"])
    np.testing.assert_allclose(found["out"], expected(X, Y), rtol=1e-6)


def test_outputs_reach_the_next_chunk_alone(packages: list[Package]) -> None:
    chain = Chain(tuple(Executor(one) for one in packages))
    assert [one.name for one in chain.inputs] == ["x", "y"]
    found = chain({"x": X, "y": Y}, ["final"])
    np.testing.assert_allclose(found["final"], expected(X, Y) + X, rtol=1e-6)
    skipping = Chain((Executor(packages[0]), Executor(packages[2]), Executor(packages[1])))
    assert [one.name for one in skipping.inputs] == ["x", "out", "middle", "skip", "y"]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package of two functions, which share a weight."""
    import coremltools

    ct = cast("Any", coremltools)
    folder: Path = tmp_path_factory.mktemp("functions")

    def doubled(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
        return (mb.mul(x=mb.mul(x=given["x"], y=WEIGHT), y=np.float32(2), name="middle"),)

    def plain(mb: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
        return (mb.mul(x=given["x"], y=WEIGHT, name="middle"),)

    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, build in {"plain": plain, "doubled": doubled}.items():
        path = folder / f"{name}.mlpackage"
        save_program(path, "iOS18", {"x": NUMBERS}, build)
        descriptor.add_function(str(path), src_function_name="main", target_function_name=name)
    descriptor.default_function_name = "doubled"
    ct.utils.save_multifunction(descriptor, str(folder / "both.mlpackage"))
    return open_package(folder / "both.mlpackage")


def test_functions_are_chosen_by_name(several: Package) -> None:
    assert sorted(several.model.functions) == ["doubled", "plain"]
    for name, factor in {"plain": 1, "doubled": 2, None: 2}.items():
        executor = Executor(several, function=name)
        assert [one.name for one in executor.interface.inputs] == ["x"]
        np.testing.assert_array_equal(executor({"x": X})["middle"], factor * X * WEIGHT)
