"""Compiled bundles of the shapes model, made once a test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.compile import compile
from tests.conftest import Once


@pytest.fixture(scope="session")
def shapes_ort(once: Once, shapes_bundle: Path) -> Path:
    """For ONNX Runtime, fp32, any size."""
    return once("shapes-onnxruntime", lambda out: compile(shapes_bundle, out, target="onnxruntime"))


@pytest.fixture(scope="session")
def shapes_ov(once: Once, shapes_bundle: Path) -> Path:
    """For OpenVINO, fp16, any size."""
    return once("shapes-openvino", lambda out: compile(shapes_bundle, out, target="openvino"))
