"""The header of an OpenVINO IR, against OpenVINO itself, and files that are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import PartialShape, Type, opset13

from runtimes.errors import BundleError
from runtimes.manifest import Port
from runtimes.optimum.openvino_ir import read_openvino

Build: Any = ov.Model
"""Untyped: the library's annotations refuse its own constructor's arguments."""

AXES = {"x": ("batch", "width")}


def write(path: Path, dtype: type[np.generic] = np.float32, kind: Type = Type.f32) -> Path:
    """y = x · w."""
    x = opset13.parameter(PartialShape([-1, 3]), kind, name="x")
    x.output(0).set_names({"x"})
    weight = opset13.convert(opset13.constant(np.ones((3, 5), dtype)), "f32")
    product = opset13.matmul(opset13.convert(x, "f32"), weight, False, False)
    product.output(0).set_names({"y"})
    model = Build([product], [x], "m")
    model.set_rt_info("2.2.0", ["optimum", "optimum_intel_version"])
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def test_header_is_what_openvino_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "m.xml")
    found, model = read_openvino(path, AXES), ov.Core().read_model(path)
    assert found.inputs == (Port(role="x", name="x", dtype="float32", shape=("batch", 3)),)
    assert found.outputs == (Port(role="y", name="y", dtype="float32", shape=("y.0", 5)),)
    assert [port.name for port in found.inputs] == [i.get_any_name() for i in model.inputs]
    assert [port.name for port in found.outputs] == [o.get_any_name() for o in model.outputs]
    assert (found.weights, found.tools) == (("m.bin",), {"optimum_intel": "2.2.0"})


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(np.float32, "fp32"), (np.float16, "fp16"), (np.int8, "int8"), (np.uint8, "int8")],
)
def test_precision_is_that_of_the_constants(
    tmp_path: Path, dtype: type[np.generic], precision: str
) -> None:
    assert read_openvino(write(tmp_path / "m.xml", dtype), AXES).precision == precision


KINDS: dict[Type, str] = {
    Type.i64: "int64",
    Type.i32: "int32",
    Type.f16: "float16",
    Type.bf16: "bfloat16",
    Type.u8: "uint8",
    Type.i8: "int8",
    Type.boolean: "bool",
}


@pytest.mark.parametrize(("kind", "dtype"), KINDS.items())
def test_element_types_are_read(tmp_path: Path, kind: Type, dtype: str) -> None:
    (port,) = read_openvino(write(tmp_path / "m.xml", kind=kind), AXES).inputs
    assert port.dtype == dtype


def test_ports_of_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="x is no tensor with a name and a known element type"):
        read_openvino(write(tmp_path / "m.xml", kind=Type.f64), AXES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not an OpenVINO IR: no element found"),
        ("<net><layers>", "not an OpenVINO IR"),
        ("<html/>", "not an OpenVINO IR: it has no network with ports"),
        ("<net><layers/></net>", "not an OpenVINO IR: it has no network with ports"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "m.xml").write_text(content, encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        read_openvino(tmp_path / "m.xml", AXES)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"m\.xml can't be read: No such file"):
        read_openvino(tmp_path / "m.xml", AXES)
