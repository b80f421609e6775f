"""What ONNX Runtime's profiler writes, and what is left of it on the disk."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtimes.engine import NodeTime
from runtimes.engines.ort import OrtEngine
from runtimes.engines.ort_profile import node_times
from runtimes.errors import EngineError
from runtimes.manifest import Graph
from tests.runtimes.engines.engine_models import Model, feeds, write_bundle

MODEL = Model.random()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph]:
    folder = tmp_path_factory.mktemp("ort") / "bundle"
    return folder, write_bundle(folder, "onnxruntime", MODEL)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folder of a profile is made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def event(name: str, ts: int, dur: int, cat: str = "Node", **args: str) -> dict[str, object]:
    return {"name": name, "cat": cat, "ts": ts, "dur": dur, "ph": "X", "args": args}


def test_kernels_belong_to_the_call_that_they_ran_in() -> None:
    raw = json.dumps(
        [
            event("session_initialization", 0, 90, "Session"),
            event("b/Add_kernel_time", 130, 7, op_name="Add"),
            event("a/Conv_kernel_time", 102, 20, op_name="Conv"),
            event("model_run", 100, 50, "Session"),
            event("a/Conv_fence_before", 201, 1, op_name="Conv"),
            event("a/Conv_kernel_time", 202, 30, op_name="Conv"),
            event("model_run", 200, 50, "Session"),
        ]
    ).encode()
    assert node_times(raw) == [
        [NodeTime("b/Add", "Add", 0.007), NodeTime("a/Conv", "Conv", 0.02)],
        [NodeTime("a/Conv", "Conv", 0.03)],
    ]


@pytest.mark.parametrize("raw", [b"", b"{}", b'[{"cat": "Node"}]'])
def test_what_is_no_profile(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        node_times(raw)


def test_each_call_of_a_profiled_engine_is_told(
    bundle: tuple[Path, Graph], temporary: Path
) -> None:
    engine = OrtEngine.profiled(*bundle, device="cpu", threads=1)
    plain = OrtEngine(*bundle, device="cpu", threads=1)
    found = [engine(feeds()) for _ in range(3)][-1]
    for name, array in plain(feeds()).items():
        np.testing.assert_array_equal(found[name], array)
    times = engine.node_times()
    assert len(times) == 3
    for call in times:
        assert "Conv" in {node.kind for node in call}
        assert all(node.name and node.time_ms >= 0 for node in call)
    assert list(temporary.iterdir()) == []
    engine.close()


def test_a_profile_that_nobody_reads_is_removed(
    bundle: tuple[Path, Graph], temporary: Path
) -> None:
    engine = OrtEngine.profiled(*bundle, device="cpu", threads=1)
    engine(feeds())
    assert len(list(temporary.iterdir())) == 1
    engine.close()
    assert list(temporary.iterdir()) == []


def test_a_profile_of_an_engine_that_fails_to_load_is_removed(
    bundle: tuple[Path, Graph], temporary: Path
) -> None:
    with pytest.raises(EngineError):
        OrtEngine.profiled(bundle[0] / "absent", bundle[1], device="cpu", threads=1)
    assert list(temporary.iterdir()) == []


def test_a_profile_that_is_gone(bundle: tuple[Path, Graph], temporary: Path) -> None:
    engine = OrtEngine.profiled(*bundle, device="cpu", threads=1)
    engine(feeds())
    (folder,) = temporary.iterdir()
    folder.rename(temporary / "elsewhere")
    with pytest.raises(EngineError, match=r"^ONNX Runtime's profile can't be read: .+$"):
        engine.node_times()


def test_no_place_for_a_profile(bundle: tuple[Path, Graph], temporary: Path) -> None:
    tempfile.tempdir = str(temporary / "absent")
    error = "ONNX Runtime's profiler needs a folder for temporary files: No such file or directory."
    with pytest.raises(EngineError, match=f"^{re.escape(error)}$"):
        OrtEngine.profiled(*bundle, device="cpu", threads=1)


def test_an_engine_that_was_not_profiled(bundle: tuple[Path, Graph]) -> None:
    engine = OrtEngine(*bundle, device="cpu", threads=1)
    with pytest.raises(EngineError, match=r"has no profile: it is closed or wasn't profiled\.$"):
        engine.node_times()
