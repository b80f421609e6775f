"""What of the Core ML engine shows without a Mac: devices, feeds, chunks, functions, the cache."""

from __future__ import annotations

import logging
import platform
import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtimes.bundle import cache_folder
from runtimes.engine import Engine, load_engine_class
from runtimes.engines.coreml import COMPUTE_UNITS
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import Graph
from tests.conftest import Once
from tests.runtimes.engines.core_ml_packages import (
    FUNCTION,
    MODEL,
    PLUS,
    expected,
    feeds,
    graph_of,
    with_input,
    write_packages,
)
from tests.runtimes.engines.fake_coremltools import FakeCoreMl

UNET = graph_of("Unet")
CHUNKS = graph_of("UnetChunk1", "UnetChunk2")

# Products and sums of values in half precision near 10, in float32 and in another order.
ATOL = 1e-4


@pytest.fixture
def bundle(once: Once, tmp_path: Path) -> Path:
    """A bundle of packages that the test may alter."""
    made = once("core-ml-packages", write_packages)
    shutil.copytree(made, tmp_path / "bundle" / "unet")
    return tmp_path / "bundle"


@pytest.fixture
def sdk(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCoreMl:
    """A Mac with coremltools and an empty cache, as far as the engine sees."""
    fake = FakeCoreMl()
    monkeypatch.setitem(sys.modules, "coremltools", fake)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.5", ("", "", ""), "arm64"))
    monkeypatch.setenv("LATEDGE_CACHE", str(tmp_path / "cache"))
    return fake


def load(folder: Path, graph: Graph, device: str = "cpu") -> Engine:
    return load_engine_class("coreml")(folder, graph, device=device, threads=None)


def assert_runs(engine: Engine, plus: float = 0.0) -> None:
    (found,) = engine(feeds()).values()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.astype(np.float64), expected(plus), rtol=0, atol=ATOL)


def test_feeds_are_laid_out_as_the_graph_wants_them(sdk: FakeCoreMl, bundle: Path) -> None:
    engine = load(bundle, UNET)
    assert_runs(engine)
    (fed,) = sdk.fed
    assert {name: array.shape for name, array in fed.items()} == {
        "sample": (2, 3),
        "timestep": (2,),
        "context": (2, 4, 1, 5),
    }
    assert engine.version == "coreml of macOS 15.5, coremltools 9.0"


@pytest.mark.parametrize(("device", "units"), COMPUTE_UNITS.items())
def test_a_device_is_a_choice_of_compute_units(
    sdk: FakeCoreMl, bundle: Path, device: str, units: str
) -> None:
    assert load(bundle, UNET, device.upper()).device == device
    assert [each[1:] for each in sdk.loaded] == [(units, None)]


@pytest.mark.parametrize("device", ["reference", "Reference:FP16"])
def test_the_reference_executor_is_a_device(bundle: Path, device: str) -> None:
    engine = load(bundle, UNET, device)
    assert engine.device == device.lower()
    if engine.device == "reference":
        assert_runs(engine)
        assert_runs(load(bundle, CHUNKS, device))
        assert_runs(load(bundle, graph_of("Unet", function=FUNCTION), device), PLUS)


def test_unknown_devices_are_refused(bundle: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown device 'ane'; known are all, cpu, gpu, npu, ref"
    ):
        load(bundle, UNET, "ane")


@pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac has Core ML")
@pytest.mark.parametrize("device", COMPUTE_UNITS)
def test_other_systems_are_told_of_the_reference_executor(bundle: Path, device: str) -> None:
    with pytest.raises(EngineError) as error:
        load(bundle, UNET, device)
    assert str(error.value) == (
        f"device '{device}': Core ML runs on macOS alone. `--device reference` evaluates its "
        "packages in NumPy on any system, for verification and tests, slowly."
    )


def test_a_function_of_a_package_is_chosen(sdk: FakeCoreMl, bundle: Path) -> None:
    assert_runs(load(bundle, graph_of("Unet", function="main")))
    assert_runs(load(bundle, graph_of("Unet", function=FUNCTION)), PLUS)
    assert [each[2] for each in sdk.loaded] == [None, FUNCTION]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_missing_function_is_named(sdk: FakeCoreMl, bundle: Path, device: str) -> None:
    with pytest.raises(EngineError, match=r"no function 'size_64x64' \(it has: main, size_768x512"):
        load(bundle, graph_of("Unet", function="size_64x64"), device)


def test_chunks_are_fed_with_the_inputs_and_what_came_before(sdk: FakeCoreMl, bundle: Path) -> None:
    assert_runs(load(bundle, CHUNKS))
    assert [sorted(fed) for fed in sdk.fed] == [["context"], ["sample", "timestep", "total"]]
    assert [path.name for path in sdk.compiled] == ["UnetChunk1.mlpackage", "UnetChunk2.mlpackage"]


@pytest.mark.parametrize("file", [MODEL, "Manifest.json"])
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_missing_file_of_a_chunk_is_named(
    sdk: FakeCoreMl, bundle: Path, device: str, file: str
) -> None:
    (bundle / "unet" / "UnetChunk2.mlpackage" / file).unlink()
    with pytest.raises(
        EngineError, match=r"UnetChunk2\.mlpackage.*(is missing|lies in no package)"
    ):
        load(bundle, CHUNKS, device)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_package_that_is_not_what_the_manifest_says(
    sdk: FakeCoreMl, bundle: Path, device: str
) -> None:
    fewer = msgspec.structs.replace(UNET, inputs=UNET.inputs[:1])
    with pytest.raises(EngineError, match=r"has inputs context, sample, timestep, where the manif"):
        load(bundle, fewer, device)
    with pytest.raises(EngineError, match=r"sample is float16, where the manifest says float32\."):
        load(bundle, with_input(UNET, "sample", dtype="float32"), device)
    with pytest.raises(
        EngineError, match=r"context has shape \[2, 4, 1, 5\], .* says \[2, 5, 4\]\."
    ):
        load(bundle, with_input(UNET, "context", axes=None), device)
    with pytest.raises(EngineError, match=r"input context of 3 axes can't be laid out as \[0, 1\]"):
        load(bundle, with_input(UNET, "context", axes=(0, 1)), device)


def entries() -> list[Path]:
    return sorted((cache_folder() / "coreml").iterdir())


def test_a_package_is_compiled_once(sdk: FakeCoreMl, bundle: Path) -> None:
    for device in ("cpu", "npu"):
        load(bundle, UNET, device).close()
    assert len(sdk.compiled) == 1
    assert {path for path, *_ in sdk.loaded} == {entries()[0] / "model.mlmodelc"}
    with (bundle / UNET.weights[0]).open("ab") as file:
        file.write(b"more")
    load(bundle, UNET)
    assert len(sdk.compiled) == len(entries()) == 2


def test_another_system_compiles_anew(
    sdk: FakeCoreMl, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(bundle, UNET)
    monkeypatch.setattr("platform.mac_ver", lambda: ("26.0", ("", "", ""), "arm64"))
    load(bundle, UNET)
    assert len(sdk.compiled) == 2


def test_the_least_recently_used_makes_room(
    sdk: FakeCoreMl, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(bundle, UNET)
    kept = entries()
    size_bytes = sum(path.stat().st_size for path in kept[0].rglob("*") if path.is_file())
    monkeypatch.setenv("LATEDGE_CACHE_MAX_GB", str(1.2 * size_bytes / 1e9))
    load(bundle, graph_of("main"))
    assert len(entries()) == 1
    assert entries() != kept


@pytest.mark.parametrize("limit", ["0", "1e-9"])
def test_without_room_the_engine_compiles_for_itself(
    sdk: FakeCoreMl,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: str,
) -> None:
    monkeypatch.setenv("LATEDGE_CACHE_MAX_GB", limit)
    with caplog.at_level(logging.WARNING, logger="latedge"):
        engine = load(bundle, UNET)
    assert ("no compiled model is kept in" in caplog.text) == (limit != "0")
    assert_runs(engine)
    ((own, *_),) = sdk.loaded
    assert own.exists()
    engine.close()
    assert not own.exists()


def test_a_broken_entry_is_dropped_and_the_package_compiled_anew(
    sdk: FakeCoreMl, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(bundle, UNET).close()
    (entries()[0] / "model.mlmodelc" / MODEL).write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="latedge"):
        engine = load(bundle, UNET)
    assert "dropping the compiled model" in caplog.text
    assert "the model is broken" in caplog.text
    assert_runs(engine)
    assert entries() == []


def test_what_the_compiler_says_is_told_in_one_line(sdk: FakeCoreMl, bundle: Path) -> None:
    sdk.compiler_says = '{\n    NSLocalizedDescription = "Error reading the weights.";\n}'
    with pytest.raises(EngineError) as error:
        load(bundle, UNET)
    assert str(error.value) == f"{UNET.file} can't be loaded on cpu: Error reading the weights."
    assert entries() == []


def test_a_failing_run_is_told(sdk: FakeCoreMl, bundle: Path) -> None:
    engine = load(bundle, UNET)
    sdk.fed = None  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(EngineError, match=r"model\.mlmodel failed: 'NoneType' object"):
        engine(feeds())


def test_coremltools_that_is_not_installed(
    sdk: FakeCoreMl, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(
        EngineError, match=r'not installed\. Install it: pip install "latedge\[core'
    ):
        load(bundle, UNET)


def test_wrong_feeds_are_named_by_the_roles_shapes(sdk: FakeCoreMl, bundle: Path) -> None:
    wrong = {**feeds(), "context": np.zeros((2, 4, 1, 5), np.float16)}
    with pytest.raises(EngineError, match=r"context has shape \[2, 5, 4\], given was \[2, 4, 1, 5"):
        load(bundle, UNET)(wrong)
