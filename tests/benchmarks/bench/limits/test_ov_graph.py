"""OpenVINO IRs at concrete sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from benchmarks.bench.limits.count import count
from benchmarks.bench.limits.graph import CountError
from benchmarks.bench.results import OpKind

MODEL: Any = ov.Model  # pyright takes its __init__ for that of another class


def save(folder: Path, results: list[ov.Node], parameters: list[ov.Node]) -> Path:
    path = folder / "openvino_model.xml"
    ov.save_model(MODEL(results, parameters), path, compress_to_fp16=False)
    return path


def parameter(name: str, *sizes: int, dtype: type = np.float32) -> ov.Node:
    node = ops.parameter(list(sizes), dtype, name=name)
    node.output(0).set_names({name})
    return node


def test_weights_are_counted_as_stored(tmp_path: Path) -> None:
    x = parameter("x", -1, 3)
    weight = ops.convert(ops.constant(np.ones((5, 3), np.float16)), np.float32)
    y = ops.matmul(x, weight, False, True)
    y.output(0).set_names({"y"})
    found = count(save(tmp_path, [y], [x]), {"x": (7, 3)})
    assert found.by_kind == (
        OpKind(kind="MatMul", nodes=1, flops=2 * 7 * 3 * 5, bytes=4 * 7 * 3 + 2 * 15 + 4 * 7 * 5),
    )
    assert found.bytes == found.bytes_by_node
    assert found.outputs == {"y": (7, 5)}


def test_weights_of_eight_bits_are_counted_as_stored(tmp_path: Path) -> None:
    x = parameter("x", -1, 3)
    stored = ops.convert(ops.constant(np.ones((5, 3), np.int8)), np.float32)
    scales = ops.constant(np.ones((5, 1), np.float32))
    y = ops.matmul(x, ops.multiply(stored, scales), False, True)
    found = count(save(tmp_path, [y], [x]), {"x": (7, 3)})
    (kind,) = found.by_kind
    assert kind.bytes == 4 * 7 * 3 + 15 + 4 * 5 + 4 * 7 * 5


def test_computed_shapes_are_followed(tmp_path: Path) -> None:
    x = parameter("x", -1, 6, -1, -1)
    shape = ops.shape_of(x)
    batch = ops.gather(shape, ops.constant(np.array([0])), ops.constant(0))
    target = ops.concat([batch, ops.constant(np.array([2, -1]))], 0)
    flat = ops.reshape(x, target, False)
    y = ops.add(flat, flat)
    y.output(0).set_names({"y"})
    found = count(save(tmp_path, [y], [x]), {"x": (5, 6, 3, 7)})
    assert found.outputs == {"y": (5, 2, 63)}
    assert found.flops == 5 * 6 * 3 * 7


def test_sizes_that_the_data_decide(tmp_path: Path) -> None:
    x = parameter("x", -1)
    path = save(tmp_path, [ops.non_zero(x)], [x])
    with pytest.raises(
        CountError,
        match=r"^the sizes that .* \(NonZero\) gives can't be told from the sizes of the inputs\.$",
    ):
        count(path, {"x": (4,)})


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    x = parameter("x", -1, 3)
    path = save(tmp_path, [ops.matmul(x, x, True, False)], [x])
    with pytest.raises(CountError, match=r"^the graph has no input z\.$"):
        count(path, {"z": (2, 3)})
    with pytest.raises(
        CountError, match=r"^no shape is given of the graph's input x \(given: none\)\.$"
    ):
        count(path, {})


def test_loops_are_refused(tmp_path: Path) -> None:
    x = parameter("x", 4)
    value = ops.parameter([4], np.float32)
    go = ops.constant(np.array(True))
    body = MODEL([ops.add(value, value), go], [value])
    loop = ops.loop(ops.constant(np.array(3)), ops.constant(np.array(True)))
    loop.set_function(body)
    loop.set_special_body_ports([-1, 1])
    loop.set_merged_input(value, x.output(0), body.results[0].output(0))
    y = loop.get_iter_value(body.results[0].output(0), -1)
    path = save(tmp_path, [ops.result(y)], [x])
    with pytest.raises(CountError, match=r"^.* \(Loop\) runs a graph of its own .* be counted\.$"):
        count(path, {"x": (4,)})


def test_a_file_that_is_no_ir(tmp_path: Path) -> None:
    path = tmp_path / "openvino_model.xml"
    path.write_text("<net/>")
    with pytest.raises(CountError, match=r"openvino_model\.xml can't be read at these sizes: .+$"):
        count(path, {})
