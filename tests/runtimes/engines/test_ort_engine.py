"""Devices of ONNX Runtime, what its sessions are told, and its cache from outside."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from runtimes.bundle import hash_file
from runtimes.engines.cache_size import LIMIT
from runtimes.engines.ort import PROVIDERS, OrtEngine
from runtimes.engines.ort_cache import MODEL_NAME, SWITCH, WEIGHTS_NAME
from runtimes.engines.sdk import import_sdk
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import MANIFEST_NAME, Graph
from tests.runtimes.engines.engine_models import INPUTS, OUTPUTS, Model, feeds, write_bundle

MODEL = Model.random()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph]:
    folder = tmp_path_factory.mktemp("ort") / "bundle"
    return folder, write_bundle(folder, "onnxruntime", MODEL)


class Port:
    def __init__(self, name: str) -> None:
        self.name = name


class FakeSession:
    """Stands for a session of a wheel with every provider; `starts` are those that work."""

    made: ClassVar[list[FakeSession]] = []
    starts: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        path: str,
        options: Any,
        providers: Sequence[tuple[str, Mapping[str, str]] | str],
        enable_fallback: bool,
    ) -> None:
        self.path, self.options, self.enable_fallback = path, options, enable_fallback
        self.asked = [p if isinstance(p, tuple) else (p, {}) for p in providers]
        self.made.append(self)

    def get_providers(self) -> list[str]:
        return [name for name, _ in self.asked if name in self.starts]

    def get_inputs(self) -> list[Port]:
        return [Port(name) for name in INPUTS]

    def get_outputs(self) -> list[Port]:
        return [Port(name) for name in OUTPUTS]


ALL = frozenset(provider.name for provider in PROVIDERS.values())


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[FakeSession]:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: sorted(ALL))
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
    monkeypatch.setattr(FakeSession, "starts", ALL)
    monkeypatch.setattr(FakeSession, "made", [])
    return FakeSession.made


CPU = ("CPUExecutionProvider", {})


@pytest.mark.parametrize(
    ("device", "providers"),
    [
        ("cpu", [CPU]),
        ("gpu", [("CUDAExecutionProvider", {"device_id": "0"}), CPU]),
        ("CUDA:1", [("CUDAExecutionProvider", {"device_id": "1"}), CPU]),
        (
            "tensorrt:2",
            [
                ("TensorrtExecutionProvider", {"device_id": "2"}),
                ("CUDAExecutionProvider", {"device_id": "2"}),
                CPU,
            ],
        ),
        ("coreml", [("CoreMLExecutionProvider", {}), CPU]),
        ("dml:1", [("DmlExecutionProvider", {"device_id": "1"}), CPU]),
        ("openvino", [("OpenVINOExecutionProvider", {}), CPU]),
    ],
)
def test_a_device_stands_for_providers(
    bundle: tuple[Path, Graph],
    sessions: list[FakeSession],
    device: str,
    providers: list[tuple[str, dict[str, str]]],
) -> None:
    engine = OrtEngine(*bundle, device=device, threads=3)
    (session,) = sessions
    assert session.asked == providers
    assert session.enable_fallback is False
    assert engine.device == device.lower()
    assert session.options.intra_op_num_threads == 3
    assert session.options.enable_cpu_mem_arena is False
    assert session.options.enable_mem_pattern is not device.startswith("dml")


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "tensorrt", "coreml", "dml", "openvino"])
def test_a_provider_that_the_wheel_lacks(bundle: tuple[Path, Graph], device: str) -> None:
    provider = PROVIDERS[device.partition(":")[0]]
    if provider.name in onnxruntime.get_available_providers():
        pytest.skip(f"this wheel has {provider.name}")
    with pytest.raises(EngineError) as error:
        OrtEngine(*bundle, device=device, threads=None)
    assert re.fullmatch(
        rf"device '{device}' needs {provider.name}, which onnxruntime {onnxruntime.__version__} "
        rf"doesn't have here \(it has: .*CPUExecutionProvider.*\)\. "
        rf"Install it: {re.escape(provider.install)}",
        str(error.value),
    )
    if provider.name in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        assert 'pip install "latedge[onnxruntime-gpu]"' in str(error.value)


@pytest.mark.parametrize("device", ["gpu", "cuda:1", "tensorrt"])
def test_without_any_wheel_the_one_for_gpus_is_named(
    bundle: tuple[Path, Graph], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    command = re.escape('pip install "latedge[onnxruntime-gpu]"')
    with pytest.raises(EngineError, match=f"^onnxruntime is not installed. .*: {command}$"):
        OrtEngine(*bundle, device=device, threads=None)


@pytest.mark.parametrize("device", ["gpu", "tensorrt", "coreml"])
def test_the_cpu_never_replaces_a_device(
    bundle: tuple[Path, Graph],
    sessions: list[FakeSession],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    monkeypatch.setattr(FakeSession, "starts", frozenset({"CPUExecutionProvider"}))
    name = PROVIDERS[device].name
    with pytest.raises(
        EngineError,
        match=rf"^{name} of onnxruntime .* did not start, and unet/model\.onnx would run on "
        r"CPUExecutionProvider instead\. Check the device's driver and",
    ):
        OrtEngine(*bundle, device=device, threads=None)
    assert len(sessions) == 1


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpu:0", r"^device 'cpu:0': cpu takes no number\. Say 'cpu'\.$"),
        ("cuda:", r"^device 'cuda:': after the colon comes a number, as in 'cuda:0'\.$"),
        ("cuda:-1", r"^device 'cuda:-1': after the colon comes a number, as in 'cuda:0'\.$"),
        ("cuda:one", r"^device 'cuda:one': after the colon comes a number, as in 'cuda:0'\.$"),
        ("cud", r"^unknown device 'cud'; known are coreml, cpu, cuda, dml, .* mean 'cuda'\?$"),
        ("npu", r"^unknown device 'npu'; known are coreml, cpu, cuda, dml, gpu, openvino, tens"),
    ],
)
def test_a_device_that_can_not_be(bundle: tuple[Path, Graph], device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OrtEngine(*bundle, device=device, threads=None)


def test_a_run_that_fails_is_one_line(
    bundle: tuple[Path, Graph],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = OrtEngine(*bundle, device="cpu", threads=None)

    def fail(*_: object) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : no memory left\nstack")

    monkeypatch.setattr(engine, "_session", type("Session", (), {"run": fail})())
    with pytest.raises(EngineError, match=r"^unet/model\.onnx failed: no memory left$"):
        engine(feeds())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_before_the_sdk_loads(
    bundle: tuple[Path, Graph],
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    found: str,
) -> None:
    if given is None:
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    else:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
    seen: list[str | None] = []

    def note(module: str, extra: str) -> ModuleType:
        seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
        return import_sdk(module, extra)

    monkeypatch.setattr("runtimes.engines.ort.import_sdk", note)
    OrtEngine(*bundle, device="cpu", threads=None)
    assert seen == [found]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of optimised models, switched on for models of any size."""
    monkeypatch.setenv("LATEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(SWITCH, "on")
    return tmp_path / "cache" / "onnxruntime"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the models that sessions are made of, in order."""
    paths: list[str] = []
    session = onnxruntime.InferenceSession

    def noted(path: str, *args: Any, **options: Any) -> onnxruntime.InferenceSession:
        paths.append(path)
        return session(path, *args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    return paths


def assert_right(engine: OrtEngine, model: Model = MODEL) -> None:
    expected = model(feeds())
    for name, array in engine(feeds()).items():
        difference = array.astype(np.float64) - expected[name].astype(np.float64)
        # As in test_engine_contract.py: sums of 37 products in another order.
        np.testing.assert_allclose(difference, 0, rtol=0, atol=2e-5, err_msg=name)


def test_the_optimised_model_is_made_once(
    bundle: tuple[Path, Graph], cache: Path, opened: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    own = str(bundle[0] / bundle[1].file)
    for threads in (None, 1, 2):
        assert_right(OrtEngine(*bundle, device="cpu", threads=threads))
    (entry,) = cache.iterdir()
    kept = str(entry / MODEL_NAME)
    assert opened == [own, kept, kept, kept]
    assert sorted(path.name for path in entry.iterdir()) == ["entry.json", MODEL_NAME, WEIGHTS_NAME]
    assert caplog.records == []


def test_the_cache_changes_no_bit(
    bundle: tuple[Path, Graph], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = [OrtEngine(*bundle, device="cpu", threads=1)(feeds()) for _ in range(2)]
    monkeypatch.setenv(SWITCH, "off")
    plain = OrtEngine(*bundle, device="cpu", threads=1)(feeds())
    assert len(list(cache.iterdir())) == 1
    for found in cached:
        for name, array in found.items():
            np.testing.assert_array_equal(array, plain[name], err_msg=name)


def test_weights_in_the_cache_are_fp32_and_mapped(bundle: tuple[Path, Graph], cache: Path) -> None:
    OrtEngine(*bundle, device="cpu", threads=None)
    (entry,) = cache.iterdir()
    kept = onnx.load(str(entry / MODEL_NAME), load_external_data=False)
    assert "Cast" not in {node.op_type for node in kept.graph.node}
    largest = max(kept.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    assert largest.data_type == onnx.TensorProto.FLOAT
    assert {entry.key: entry.value for entry in largest.external_data}["location"] == WEIGHTS_NAME


def test_large_float32_weights_are_neither_copied_nor_cached(
    bundle: tuple[Path, Graph], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, str, list[str]]] = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path: str, options: Any, **given: Any) -> None:
            packing = options.get_session_config_entry("session.disable_prepacking")
            made.append((path, packing, given["disabled_optimizers"]))
            super().__init__(path, options, **given)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    (size,) = ((bundle[0] / name).stat().st_size for name in bundle[1].weights)
    monkeypatch.setattr("runtimes.engines.ort.installed_memory_bytes", lambda: 4 * size - 1)
    graph = msgspec.structs.replace(bundle[1], precision="fp32")
    assert_right(OrtEngine(bundle[0], graph, device="cpu", threads=1))
    assert made == [(str(bundle[0] / graph.file), "1", ["ConstantFolding"])]
    assert not cache.exists()


@pytest.mark.parametrize("installed_shares", [4, None])
def test_others_are_cached(
    bundle: tuple[Path, Graph],
    cache: Path,
    installed_shares: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (size,) = ((bundle[0] / name).stat().st_size for name in bundle[1].weights)
    installed = None if installed_shares is None else installed_shares * size
    monkeypatch.setattr("runtimes.engines.ort.installed_memory_bytes", lambda: installed)
    graph = msgspec.structs.replace(bundle[1], precision="fp32")
    assert_right(OrtEngine(bundle[0], graph, device="cpu", threads=1))
    assert len(list(cache.iterdir())) == 1


def test_other_weights_are_another_entry(
    bundle: tuple[Path, Graph], cache: Path, tmp_path: Path
) -> None:
    OrtEngine(*bundle, device="cpu", threads=None)
    other = Model.random(seed=9)
    graph = write_bundle(tmp_path / "other", "onnxruntime", other)
    assert_right(OrtEngine(tmp_path / "other", graph, device="cpu", threads=None), other)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("reseal", [False, True])
@pytest.mark.parametrize("name", [MODEL_NAME, WEIGHTS_NAME])
def test_a_broken_entry_is_dropped_and_made_again(
    bundle: tuple[Path, Graph],
    cache: Path,
    opened: list[str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    name: str,
    reseal: bool,
) -> None:
    OrtEngine(*bundle, device="cpu", threads=None)
    (entry,) = cache.iterdir()
    whole = (entry / name).read_bytes()
    (entry / name).write_bytes(whole[: len(whole) // 2])
    if reseal:  # as if it had been written like that: only ONNX Runtime finds out
        record = json.loads((entry / "entry.json").read_bytes())
        record["files"][name] = {"size": len(whole) // 2, "sha256": hash_file(entry / name)}
        (entry / "entry.json").write_text(json.dumps(record))
    opened.clear()
    with caplog.at_level(logging.WARNING, logger="latedge"):
        assert_right(OrtEngine(*bundle, device="cpu", threads=None))
    own, kept = str(bundle[0] / bundle[1].file), str(entry / MODEL_NAME)
    assert opened == ([kept, own, kept] if reseal else [own, kept])
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"dropping the optimised model {entry}: ")
    assert (entry / name).read_bytes() == whole
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("why", ["off", "no room allowed", "no manifest", "small", "not the CPU"])
def test_no_entry_is_made(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    graph = write_bundle(tmp_path / "bundle", "onnxruntime", MODEL)
    if why == "off":
        monkeypatch.setenv(SWITCH, "off")
    elif why == "no room allowed":
        monkeypatch.setenv(LIMIT, "0")
    elif why == "no manifest":
        (tmp_path / "bundle" / MANIFEST_NAME).unlink()
    elif why == "small":
        monkeypatch.delenv(SWITCH)
    elif why == "not the CPU":
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: sorted(ALL))
        monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
        monkeypatch.setattr(FakeSession, "starts", ALL)
        monkeypatch.setattr(FakeSession, "made", [])
        OrtEngine(tmp_path / "bundle", graph, device="cuda", threads=None)
        assert not cache.exists()
        return
    assert_right(OrtEngine(tmp_path / "bundle", graph, device="cpu", threads=None))
    assert not cache.exists()


@pytest.mark.parametrize("trouble", ["no folder", "no room", "full disk"])
def test_trouble_with_the_cache_is_a_warning(
    bundle: tuple[Path, Graph],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
) -> None:
    if trouble == "no folder":  # the tests may run as root, whom no permission stops
        cache.parent.mkdir()
        cache.write_text("a file where the folder would be")
    elif trouble == "no room":
        monkeypatch.setenv(LIMIT, "0.0000001")
    else:
        monkeypatch.setattr("os.fsync", _disk_full)
    with caplog.at_level(logging.WARNING, logger="latedge"):
        assert_right(OrtEngine(*bundle, device="cpu", threads=None))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"no optimised model is kept in {cache}: ")
    assert cache.is_file() or list(cache.iterdir()) == []


def _disk_full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_that_was_not_written_whole_is_not_used(
    bundle: tuple[Path, Graph], cache: Path, tmp_path: Path
) -> None:
    """ONNX Runtime writes into a file system that refuses more than a few bytes per file."""
    if not hasattr(os, "fork"):
        pytest.skip("limits on file sizes are a matter of POSIX systems")
    code = (
        "import resource, signal, sys, msgspec\n"
        "from pathlib import Path\n"
        "from runtimes.manifest import Graph\n"
        "from runtimes.engines.ort import OrtEngine\n"
        "from tests.runtimes.engines.engine_models import feeds\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        "graph = msgspec.json.decode(sys.argv[2], type=Graph)\n"
        "engine = OrtEngine(Path(sys.argv[1]), graph, device='cpu', threads=1)\n"
        "print(float(engine(feeds())['projected'][1, 2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle[0]), msgspec.json.encode(bundle[1]).decode()],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    expected = float(MODEL(feeds())["projected"][1, 2])
    assert float(done.stdout) == pytest.approx(expected, abs=2e-5)
    assert "no optimised model is kept in" in done.stderr
    assert not cache.exists() or list(cache.iterdir()) == []
