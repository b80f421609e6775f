"""Every operation against torch's own functions, in programs that coremltools saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from runtimes.mil.executor import Executor
from runtimes.mil.ops.table import MOVING, OPS
from runtimes.mil.package import open_package
from runtimes.mil.values import Array
from tests.runtimes.mil.compressed_cases import COMPRESSED
from tests.runtimes.mil.op_cases import CASES, FEEDS, TABLE, expected_of, outputs_of, write_program

OPSETS = ("iOS16", "iOS17", "iOS18")

# Both sum in float32, in different orders.
RTOL = 1e-5

Evaluated = Callable[[str], tuple[set[str], Mapping[str, Array]]]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The operations of an operation set's program and what it gives; written on first use."""
    found: dict[str, tuple[set[str], Mapping[str, Array]]] = {}

    def of(opset: str) -> tuple[set[str], Mapping[str, Array]]:
        if opset not in found:
            path = tmp_path_factory.mktemp(opset) / "ops.mlpackage"
            write_program(opset, path)
            executor = Executor(open_package(path))
            found[opset] = {one.op for one in executor.function.block.operations}, executor(FEEDS)
        return found[opset]

    return of


@pytest.mark.parametrize("label", CASES)
def test_op_gives_what_torch_gives(label: str, evaluated: Evaluated) -> None:
    ops, found = evaluated(CASES[label].opset)
    assert CASES[label].op in ops
    for name, expected in zip(outputs_of(label), expected_of(label), strict=True):
        assert found[name].shape == expected.shape
        assert found[name].dtype.kind == ("f" if expected.dtype.kind == "f" else "i")
        wanted = expected.astype(np.float64)
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=RTOL * scale)


def test_moving_ops_make_no_new_numbers(evaluated: Evaluated) -> None:
    """The executor rounds nothing of what they give."""
    there = np.concatenate([array.reshape(-1) for array in (*FEEDS.values(), TABLE)])
    moved = [label for label, case in CASES.items() if case.op in MOVING]
    assert {CASES[label].op for label in moved} == MOVING
    for label in moved:
        for name in outputs_of(label):
            found = evaluated(CASES[label].opset)[1][name]
            # Sizes and what `slice_update` is given are integers.
            assert found.dtype.kind != "f" or np.isin(found, there).all(), label


def test_every_op_is_tested() -> None:
    tested = {case.op for case in CASES.values()} | {case.op for case in COMPRESSED.values()}
    assert tested == set(OPS)


def test_every_opset_is_tested() -> None:
    assert {case.opset for case in CASES.values()} == set(OPSETS)
