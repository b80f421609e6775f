"""The header of an ONNX file, against the onnx package, and files that are broken."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtimes.errors import BundleError
from runtimes.manifest import Port
from runtimes.optimum.onnx_file import read_onnx

AXES = {"x": ("batch", "width")}


def tensor(name: str, array: np.ndarray, *, packed: bool = True) -> TensorProto:
    made = numpy_helper.from_array(array, name)
    if not packed:
        made.ClearField("raw_data")
        made.float_data.extend(array.ravel().tolist())
    return made


def write(path: Path, *weights: TensorProto, **changes: object) -> Path:
    """y = x + w, with further weights that nothing uses."""
    options = {"shape": [None, 3], "dtype": TensorProto.FLOAT, "inputs": (), **changes}
    x = helper.make_tensor_value_info("x", options["dtype"], options["shape"])  # pyright: ignore
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "width", 3, None])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [x, *options["inputs"]],  # pyright: ignore
        [y],
        list(weights),
    )
    model = helper.make_model(graph, producer_name="pytorch", producer_version="2.13.0")
    path.write_bytes(model.SerializeToString())
    return path


def test_header_is_what_onnx_reads(tmp_path: Path) -> None:
    weights = tensor("w", np.ones((2, 3), np.float32)), tensor("v", np.ones(2, np.float16))
    found = read_onnx(write(tmp_path / "m.onnx", *weights), AXES)
    assert found.inputs == (Port(role="x", name="x", dtype="float32", shape=("batch", 3)),)
    shape = ("batch", "width", 3, "y.3")
    assert found.outputs == (Port(role="y", name="y", dtype="float32", shape=shape),)
    assert (found.weights, found.precision) == ((), "fp32")
    assert found.tools == {"pytorch": "2.13.0"}


@pytest.mark.parametrize(
    ("arrays", "precision"),
    [
        ((), "fp32"),
        ((np.ones(9, np.float16), np.ones(4, np.float32)), "fp16"),
        ((np.ones(9, np.int8), np.ones(2, np.float32)), "int8"),
        # Shapes and indices are no weights.
        ((np.ones(9, np.int64), np.ones(2, np.float16)), "fp16"),
        ((np.ones(9, ml_dtypes.bfloat16), np.ones(2, np.float32)), "bf16"),
        ((np.ones(9, np.uint8), np.ones(9, np.int8), np.ones(8, np.float16)), "int8"),
        # 4 bits each: 50 bytes.
        ((np.ones(100, ml_dtypes.int4), np.ones(11, np.float32)), "int4"),
        ((np.ones(100, ml_dtypes.int4), np.ones(13, np.float32)), "fp32"),
    ],
)
def test_precision_is_that_of_most_bytes(
    tmp_path: Path, arrays: tuple[np.ndarray, ...], precision: str
) -> None:
    weights = [tensor(f"w{i}", array) for i, array in enumerate(arrays)]
    assert read_onnx(write(tmp_path / "m.onnx", *weights), AXES).precision == precision


def test_weights_that_are_listed_as_inputs_are_none(tmp_path: Path) -> None:
    also = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3])
    weight = tensor("w", np.ones((2, 3), np.float32), packed=False)
    found = read_onnx(write(tmp_path / "m.onnx", weight, inputs=[also]), AXES)
    assert [port.name for port in found.inputs] == ["x"]


def outside(location: str) -> TensorProto:
    weight = tensor("w", np.ones((2, 3), np.float32))
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "24"}.items():
        weight.external_data.add(key=key, value=value)
    return weight


def test_weight_files_are_found(tmp_path: Path) -> None:
    second = outside("b.bin")
    second.name = "v"
    found = read_onnx(write(tmp_path / "m.onnx", second, outside("model.onnx_data")), AXES)
    assert found.weights == ("b.bin", "model.onnx_data")
    assert found.precision == "fp32"


@pytest.mark.parametrize("location", ["../w.bin", "/w.bin", "a/../../w.bin"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(BundleError, match=r"its weights lie in '.*w\.bin', outside of its folder"):
        read_onnx(write(tmp_path / "m.onnx", outside(location)), AXES)


@pytest.mark.parametrize("changes", [{"dtype": TensorProto.DOUBLE}, {"shape": None}])
def test_ports_of_unknown_kinds_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="x is no tensor of a known shape and element type"):
        read_onnx(write(tmp_path / "m.onnx", **changes), AXES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an ONNX model: cannot mmap an empty file"),
        (b"\x08\x0a", "it has no graph"),
        (b"\x3a\x00", "no inputs or no outputs"),
        (b"\x3a\x7f\x0a", "it is cut off"),
        (b"\xff" * 20, "it is cut off"),
        (b"\x0b\x00", "field of wire type 3"),
        (b'{"a": 1}', "is not an ONNX model"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        read_onnx(tmp_path / "m.onnx", AXES)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"m\.onnx can't be read: No such file"):
        read_onnx(tmp_path / "m.onnx", AXES)


def test_every_truncation_ends_in_one_error(tmp_path: Path) -> None:
    whole = write(tmp_path / "m.onnx", tensor("w", np.ones((2, 3), np.float32))).read_bytes()
    refused = 0
    for size in range(len(whole)):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        try:
            read_onnx(tmp_path / "cut.onnx", AXES)
        except BundleError:
            refused += 1
    # What follows the graph, its opset, is not read.
    assert refused >= len(whole) - len(onnx.OperatorSetIdProto(version=25).SerializeToString()) - 2
