"""Devices of OpenVINO, what its plugins are told, and memory that calls don't share."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
import openvino
import pytest

from runtimes.engines.cache_size import LIMIT
from runtimes.engines.ov import OvEngine, device_properties
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import Arithmetic, Graph
from tests.runtimes.engines.engine_models import INPUTS, OUTPUTS, Model, feeds, write_bundle

MODEL = Model.random()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph]:
    folder = tmp_path_factory.mktemp("ov") / "bundle"
    return folder, write_bundle(folder, "openvino", MODEL)


class Port:
    def __init__(self, name: str) -> None:
        self.names = {name, f"{name}.alias"}


class FakeModel:
    inputs: ClassVar = [Port(name) for name in INPUTS]
    outputs: ClassVar = [Port(name) for name in OUTPUTS]

    def create_infer_request(self) -> FakeModel:
        return self

    def get_compiled_model(self) -> FakeModel:
        return self


class FakeCore:
    """Stands for a machine with other devices."""

    available_devices: ClassVar[list[str]] = []
    told: ClassVar[dict[str, dict[str, str]]] = {}
    compiled: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def set_property(self, device: str, properties: Mapping[str, str]) -> None:
        self.told[device] = dict(properties)

    def compile_model(self, path: str, device: str, config: dict[str, str]) -> FakeModel:
        self.compiled.append((path, device, config))
        return FakeModel()


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> type[FakeCore]:
    monkeypatch.setattr(openvino, "Core", FakeCore)
    monkeypatch.setattr(FakeCore, "available_devices", ["CPU", "GPU.0", "GPU.1", "NPU", "GNA"])
    monkeypatch.setattr(FakeCore, "told", {})
    monkeypatch.setattr(FakeCore, "compiled", [])
    return FakeCore


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("cpu", "CPU"),
        ("GPU", "GPU"),
        ("gpu.1", "GPU.1"),
        ("npu", "NPU"),
        ("auto", "AUTO"),
        ("auto:gpu,cpu", "AUTO:GPU,CPU"),
        ("auto:-gpu.0,cpu", "AUTO:-GPU.0,CPU"),
        ("multi:gpu.1(4),cpu(2)", "MULTI:GPU.1(4),CPU(2)"),
        ("hetero:npu,cpu", "HETERO:NPU,CPU"),
    ],
)
def test_devices_are_passed_on(
    bundle: tuple[Path, Graph], core: type[FakeCore], given: str, asked: str
) -> None:
    engine = OvEngine(*bundle, device=given, threads=None)
    assert engine.device == given.lower()
    path = str(bundle[0] / bundle[1].file)
    assert core.compiled == [(path, asked, {"PERFORMANCE_HINT": "LATENCY"})]


def test_every_plugin_is_told_how_to_compute(
    bundle: tuple[Path, Graph], core: type[FakeCore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATEDGE_CACHE", "/somewhere")
    OvEngine(*bundle, device="auto", threads=3)
    compiled = {"CACHE_DIR": str(Path("/somewhere/openvino"))}
    assert core.told == {
        "CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "3"},
        "GPU.0": compiled,
        "GPU.1": compiled,
        "NPU": compiled,
    }


def test_the_cache_of_compiled_models_is_bounded(
    bundle: tuple[Path, Graph],
    core: type[FakeCore],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LATEDGE_CACHE", str(tmp_path))
    folder = tmp_path / "openvino"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.blob").write_bytes(bytes(1000))
        os.utime(folder / f"{i}.blob", times=(9 - i, 9 - i))
    monkeypatch.setenv(LIMIT, "0.0000025")
    OvEngine(*bundle, device="gpu", threads=None)
    assert sorted(path.name for path in folder.iterdir()) == ["0.blob", "1.blob"]
    assert core.told["NPU"] == {"CACHE_DIR": str(folder)}
    monkeypatch.setenv(LIMIT, "0")
    OvEngine(*bundle, device="gpu", threads=None)
    assert core.told["NPU"] == {}


@pytest.mark.parametrize(
    ("kind", "precision", "arithmetic", "hint"),
    [
        ("cpu", "fp32", None, "f32"),
        ("cpu", "fp16", "fp16", "f32"),
        ("cpu", "bf16", None, None),
        ("gpu", "fp32", None, "f32"),
        ("gpu", "fp16", None, None),
        ("gpu", "fp16", "fp16", None),
        ("gpu", "fp16", "fp32", "f32"),
        ("gpu", "bf16", None, None),
        ("npu", "fp32", None, None),
    ],
)
def test_the_precision_of_a_device(
    bundle: tuple[Path, Graph],
    kind: str,
    precision: str,
    arithmetic: Literal["fp32", "fp16"] | None,
    hint: str | None,
) -> None:
    decided = None if arithmetic is None else Arithmetic(dtype=arithmetic, reason="range")
    graph = msgspec.structs.replace(bundle[1], precision=precision, arithmetic=decided)
    properties = device_properties(kind, graph, threads=None, cache=Path("kept"))
    assert properties.get("INFERENCE_PRECISION_HINT") == hint
    assert properties.get("CACHE_DIR") == (None if kind == "cpu" else "kept")
    assert "CACHE_DIR" not in device_properties(kind, graph, threads=None, cache=None)


class WithNpu:
    available_devices = ("CPU", "NPU")


@pytest.mark.parametrize("device", ["npu", "hetero:npu,cpu"])
def test_an_npu_is_refused_what_must_be_computed_in_fp32(
    bundle: tuple[Path, Graph], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "Core", WithNpu)
    decided = Arithmetic(dtype="fp32", reason="range", largest=3e5, value="up/Add")
    graph = msgspec.structs.replace(bundle[1], arithmetic=decided)
    message = (
        f"device '{device}': an NPU computes in fp16, and .* must be computed in fp32: it reaches "
        "300000 at up/Add. Choose cpu or gpu, or compile with --arithmetic force-fp16."
    )
    with pytest.raises(EngineError, match=message):
        OvEngine(bundle[0], graph, device=device, threads=None)


@pytest.mark.parametrize("device", ["cpu", "auto", "auto:cpu", "multi:cpu", "hetero:cpu"])
def test_a_cpu_that_has_bf16_still_computes_in_f32(bundle: tuple[Path, Graph], device: str) -> None:
    engine = OvEngine(*bundle, device=device, threads=1)
    model: Any = engine._request.get_compiled_model()  # pyright: ignore[reportPrivateUsage]
    if device == "cpu":
        told = {
            name: model.get_property(name) for name in model.get_property("SUPPORTED_PROPERTIES")
        }
    else:
        told = model.get_property("DEVICE_PROPERTIES")["CPU"]
    assert told["INFERENCE_PRECISION_HINT"] == openvino.Type.f32
    assert told["INFERENCE_NUM_THREADS"] == 1
    for name, array in engine(feeds()).items():
        difference = array.astype(np.float64) - MODEL(feeds())[name].astype(np.float64)
        # bf16 has 8 bits: it would be off by 1e-2.
        np.testing.assert_allclose(difference, 0, rtol=0, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    ("available", "device", "missing"),
    [
        (["CPU"], "gpu", "gpu"),
        (["CPU"], "GPU.0", "gpu.0"),
        (["CPU", "GPU"], "gpu.1", "gpu.1"),
        (["CPU", "GPU.0", "GPU.1"], "gpu.2", "gpu.2"),
        (["CPU"], "auto:npu,cpu", "npu"),
        (["CPU", "GPU"], "hetero:gpu,npu", "npu"),
    ],
)
def test_an_absent_device_is_named_with_those_there_are(
    bundle: tuple[Path, Graph],
    core: type[FakeCore],
    monkeypatch: pytest.MonkeyPatch,
    available: list[str],
    device: str,
    missing: str,
) -> None:
    monkeypatch.setattr(core, "available_devices", available)
    with pytest.raises(EngineError) as error:
        OvEngine(*bundle, device=device, threads=None)
    release = openvino.__version__.partition("-")[0]
    assert str(error.value) == (
        f"device {device.lower()!r}: OpenVINO {release} finds no {missing} here (it finds: "
        f"{', '.join(available).lower()}). Choose one of those, or check the driver of the other."
    )
    assert core.compiled == []


@pytest.mark.parametrize(
    ("available", "device"), [(["CPU", "GPU"], "gpu.0"), (["CPU", "GPU.0", "GPU.1"], "gpu")]
)
def test_the_first_gpu_has_two_names(
    bundle: tuple[Path, Graph],
    core: type[FakeCore],
    monkeypatch: pytest.MonkeyPatch,
    available: list[str],
    device: str,
) -> None:
    monkeypatch.setattr(core, "available_devices", available)
    assert OvEngine(*bundle, device=device, threads=None).device == device


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", r"^unknown device 'cuda'; known are auto, cpu, gpu, hetero, multi, npu\."),
        ("gpuu", r"^unknown device 'gpuu'; .* Did you mean 'gpu'\?$"),
        ("gpu.x", r"^unknown device 'gpu\.x'; "),
        ("cpu:1", r"^unknown device 'cpu:1'; "),
        ("", r"^unknown device ''; "),
        ("auto:gpu,tpu", r"^unknown device 'tpu'; "),
        ("auto:", r"^unknown device ''; "),
        ("multi:hetero", r"^unknown device 'hetero'; "),
        ("multi", r"^device 'multi' lists no devices\. Say for example 'multi:gpu,cpu'\.$"),
        ("HETERO", r"^device 'hetero' lists no devices\. Say for example 'hetero:gpu,cpu'\.$"),
    ],
)
def test_a_device_that_can_not_be(bundle: tuple[Path, Graph], device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OvEngine(*bundle, device=device, threads=None)


def test_weights_are_mapped_from_the_bundle(bundle: tuple[Path, Graph]) -> None:
    """OpenVINO opens the file, and keeps it open, instead of reading it into memory."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("what is mapped can be seen on Linux alone")
    weights = str(bundle[0] / bundle[1].weights[0])
    assert weights not in maps.read_text()
    engine = OvEngine(*bundle, device="cpu", threads=1)
    assert weights in maps.read_text()
    engine.close()


def test_closing_waits_for_a_running_call(bundle: tuple[Path, Graph]) -> None:
    engine = OvEngine(*bundle, device="cpu", threads=1)
    refused: list[str] = []
    started = threading.Event()

    def work() -> None:
        try:
            for _ in range(1000):
                engine(feeds(1, 16, 16))
                started.set()
        except EngineError as e:
            refused.append(str(e))

    worker = threading.Thread(target=work)
    worker.start()
    started.wait(timeout=20)
    engine.close()
    worker.join()
    assert refused == ["unet/openvino_model.xml is closed. Open the bundle again."]


def test_a_bf16_bundle_leaves_the_cpu_its_own_precision(bundle: tuple[Path, Graph]) -> None:
    folder, graph = bundle
    graph = msgspec.structs.replace(graph, precision="bf16")
    engine = OvEngine(folder, graph, device="cpu", threads=1)
    for name, array in engine(feeds()).items():
        # Sums of 37 products of numbers up to 4, each rounded to 8 bits at the worst.
        difference = array.astype(np.float64) - MODEL(feeds())[name].astype(np.float64)
        np.testing.assert_allclose(difference, 0, rtol=0, atol=0.3, err_msg=name)


def test_each_call_of_a_profiled_engine_is_told(bundle: tuple[Path, Graph]) -> None:
    engine = OvEngine.profiled(*bundle, device="cpu", threads=1)
    plain = OvEngine(*bundle, device="cpu", threads=1)
    found = [engine(feeds()) for _ in range(3)][-1]
    for name, array in plain(feeds()).items():
        np.testing.assert_array_equal(found[name], array)
    times = engine.node_times()
    assert len(times) == 3
    for call in times:
        assert "Convolution" in {node.kind for node in call}
        assert all(node.name and node.time_ms >= 0 for node in call)


def test_an_engine_without_a_profile(bundle: tuple[Path, Graph]) -> None:
    error = r"has no profile: it ended or wasn't profiled\.$"
    engine = OvEngine(*bundle, device="cpu", threads=1)
    with pytest.raises(EngineError, match=error):
        engine.node_times()
    profiled = OvEngine.profiled(*bundle, device="cpu", threads=1)
    assert profiled.node_times() == []
    with pytest.raises(EngineError, match=error):
        profiled.node_times()
