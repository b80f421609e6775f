"""Compressed constants against coremltools' own decompression, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from runtimes.mil.executor import Executor
from runtimes.mil.package import open_package
from runtimes.mil.values import Array
from tests.runtimes.mil.compressed_cases import COMPRESSED, output_of, write_compressed

Results = tuple[set[str], Mapping[str, Array], Mapping[str, Array]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Results]:
    """An operation set's operations, and what the executor and coremltools make of its cases."""
    found: dict[str, Results] = {}

    def of(opset: str) -> Results:
        if opset not in found:
            path = tmp_path_factory.mktemp(opset) / "compressed.mlpackage"
            expected = write_compressed(opset, path)
            executor = Executor(open_package(path))
            ops = {one.op for one in executor.function.block.operations}
            found[opset] = ops, executor({"one": np.ones(1, np.float32)}), expected
        return found[opset]

    return of


@pytest.mark.parametrize("label", COMPRESSED)
def test_constants_are_coremltools(label: str, results: Callable[[str], Results]) -> None:
    ops, found, expected = results(COMPRESSED[label].opset)
    assert COMPRESSED[label].op in ops
    made = found[output_of(label)]
    assert np.abs(expected[label]).max() > 0
    np.testing.assert_array_equal(made, expected[label].astype(np.float32))
