"""What of the Core ML engine shows without a Mac: devices, feeds, chunks, functions, the cache."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from runtimes.bundle import cache_folder
from runtimes.engine import Array, Engine, load_engine_class
from runtimes.engines.coreml import COMPUTE_UNITS
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import Graph, Port
from tests.runtimes.engines.fake_coremltools import (
    MODEL,
    WEIGHTS,
    FakeCoreMl,
    function,
    write_package,
)

FUNCTIONS = {"main": function(["sample", "timestep", "context"], "noise_pred")}


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCoreMl:
    """A Mac with coremltools and an empty cache, as far as the engine sees."""
    fake = FakeCoreMl()
    monkeypatch.setitem(sys.modules, "coremltools", fake)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.5", ("", "", ""), "arm64"))
    monkeypatch.setenv("LATEDGE_CACHE", str(tmp_path / "cache"))
    return fake


def write(folder: Path, name: str = "Unet", **functions: dict[str, Any]) -> Graph:
    package = f"unet/{name}.mlpackage"
    write_package(folder / package, **(functions or FUNCTIONS))
    return Graph(
        file=f"{package}/{MODEL}",
        inputs=(
            Port(role="sample", name="sample", dtype="float16", shape=(2, 3)),
            Port(role="timestep", name="timestep", dtype="float16", shape=(1,), repeat=2),
            Port(
                role="context", name="context", dtype="float32", shape=(2, 5, 4), axes=(0, 2, -1, 1)
            ),
        ),
        outputs=(Port(role="out_sample", name="noise_pred", dtype="float32", shape=(2, 3)),),
        weights=(f"{package}/{WEIGHTS}",),
        precision="fp16",
        engine="coreml",
    )


def load(folder: Path, graph: Graph, device: str = "cpu") -> Engine:
    return load_engine_class("coreml")(folder, graph, device=device, threads=None)


def feeds() -> dict[str, Array]:
    return {
        "sample": np.full((2, 3), 0.5, np.float16),
        "timestep": np.array([7], np.float16),
        "context": np.arange(40, dtype=np.float32).reshape(2, 5, 4),
    }


EXPECTED = 0.5 * 6 + 2 * 7 + sum(range(40))


def test_feeds_are_laid_out_as_the_graph_wants_them(sdk: FakeCoreMl, tmp_path: Path) -> None:
    engine = load(tmp_path, write(tmp_path))
    given = feeds()
    for array in given.values():
        array.flags.writeable = False
    found = engine(given)["noise_pred"]
    np.testing.assert_array_equal(found, np.full((2, 3), EXPECTED, np.float32))
    (fed,) = sdk.fed
    assert {name: array.shape for name, array in fed.items()} == {
        "sample": (2, 3),
        "timestep": (2,),
        "context": (2, 4, 1, 5),
    }
    np.testing.assert_array_equal(fed["context"][1, :, 0, 2], given["context"][1, 2])
    assert engine.version == "coreml of macOS 15.5, coremltools 9.0"


@pytest.mark.parametrize(("device", "units"), COMPUTE_UNITS.items())
def test_a_device_is_a_choice_of_compute_units(
    sdk: FakeCoreMl, tmp_path: Path, device: str, units: str
) -> None:
    assert load(tmp_path, write(tmp_path), device.upper()).device == device
    assert [each[1] for each in sdk.loaded] == [units]


def test_unknown_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown device 'ane'; known are all, cpu, gpu, npu, ref"
    ):
        load(tmp_path, write(tmp_path), "ane")


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
@pytest.mark.parametrize("device", COMPUTE_UNITS)
def test_other_systems_are_told_of_the_reference_executor(tmp_path: Path, device: str) -> None:
    with pytest.raises(EngineError) as error:
        load(tmp_path, write(tmp_path), device)
    assert str(error.value) == (
        f"device '{device}': Core ML runs on macOS alone. `--device reference` evaluates its "
        "packages in NumPy on any system, for verification and tests, slowly."
    )


def test_a_function_of_a_package_is_chosen(sdk: FakeCoreMl, tmp_path: Path) -> None:
    takes = ["sample", "timestep", "context"]
    wide = function(takes, "noise_pred", plus=1000)
    graph = write(tmp_path, main=function(takes, "noise_pred"), size_768x512=wide)
    chosen = msgspec.structs.replace(graph, function="size_768x512")
    (found,) = load(tmp_path, chosen)(feeds()).values()
    assert found[0, 0] == EXPECTED + 1000
    assert [each[2] for each in sdk.loaded] == ["size_768x512"]
    missing = msgspec.structs.replace(graph, function="size_64x64")
    with pytest.raises(EngineError, match=r"no function 'size_64x64' \(it has: main, size_768x512"):
        load(tmp_path, missing)


def test_chunks_are_fed_with_the_inputs_and_what_came_before(
    sdk: FakeCoreMl, tmp_path: Path
) -> None:
    graph = write(tmp_path, "UnetChunk1", main=function(["sample", "context"], "hidden"))
    second = write(tmp_path, "UnetChunk2", main=function(["timestep", "hidden"], "noise_pred", 1))
    both = msgspec.structs.replace(
        graph, chunks=(second.file,), weights=(*graph.weights, *second.weights)
    )
    (found,) = load(tmp_path, both)(feeds()).values()
    assert found[0, 0] == 1 + 14 + 6 * (3 + sum(range(40)))
    assert [sorted(fed) for fed in sdk.fed] == [["context", "sample"], ["hidden", "timestep"]]
    assert [path.name for path in sdk.compiled] == ["UnetChunk1.mlpackage", "UnetChunk2.mlpackage"]


def test_a_missing_chunk_is_named(sdk: FakeCoreMl, tmp_path: Path) -> None:
    other = f"unet/UnetChunk2.mlpackage/{MODEL}"
    graph = msgspec.structs.replace(write(tmp_path), chunks=(other,))
    with pytest.raises(
        EngineError, match=r"UnetChunk2.*model\.mlmodel is missing\. Make the bundl"
    ):
        load(tmp_path, graph)


def test_a_package_with_other_names_than_the_manifest_says(sdk: FakeCoreMl, tmp_path: Path) -> None:
    graph = write(tmp_path, main=function(["sample"], "noise_pred"))
    with pytest.raises(EngineError, match=r"has inputs sample, where the manifest says context, "):
        load(tmp_path, graph)
    graph = write(tmp_path, "Other", main=function(["sample", "timestep", "context"], "eps"))
    with pytest.raises(EngineError, match=r"has outputs eps, where the manifest says noise_pred"):
        load(tmp_path, graph)


def test_a_graph_outside_of_a_package_is_refused(sdk: FakeCoreMl, tmp_path: Path) -> None:
    (tmp_path / "model.mlmodel").touch()
    graph = msgspec.structs.replace(write(tmp_path), file="model.mlmodel")
    with pytest.raises(
        EngineError, match=r"model\.mlmodel can't be loaded: it lies in no \.mlpack"
    ):
        load(tmp_path, graph)


def entries() -> list[Path]:
    return sorted((cache_folder() / "coreml").iterdir())


def test_a_package_is_compiled_once(sdk: FakeCoreMl, tmp_path: Path) -> None:
    graph = write(tmp_path)
    for device in ("cpu", "npu"):
        load(tmp_path, graph, device).close()
    assert len(sdk.compiled) == 1
    assert {path for path, *_ in sdk.loaded} == {entries()[0] / "model.mlmodelc"}
    (tmp_path / graph.weights[0]).write_bytes(b"others")
    load(tmp_path, graph)
    assert len(sdk.compiled) == len(entries()) == 2


def test_another_system_compiles_anew(
    sdk: FakeCoreMl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = write(tmp_path)
    load(tmp_path, graph)
    monkeypatch.setattr("platform.mac_ver", lambda: ("26.0", ("", "", ""), "arm64"))
    load(tmp_path, graph)
    assert len(sdk.compiled) == 2


def test_the_least_recently_used_makes_room(
    sdk: FakeCoreMl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(tmp_path, "A"), write(tmp_path, "B")
    (tmp_path / second.weights[0]).write_bytes(b"others")
    load(tmp_path, first)
    kept = entries()
    size_bytes = sum(path.stat().st_size for path in kept[0].rglob("*") if path.is_file())
    monkeypatch.setenv("LATEDGE_CACHE_MAX_GB", str(1.5 * size_bytes / 1e9))
    load(tmp_path, second)
    assert len(entries()) == 1
    assert entries() != kept


@pytest.mark.parametrize("limit", ["0", "1e-9"])
def test_without_room_the_engine_compiles_for_itself(
    sdk: FakeCoreMl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: str,
) -> None:
    monkeypatch.setenv("LATEDGE_CACHE_MAX_GB", limit)
    with caplog.at_level(logging.WARNING, logger="latedge"):
        engine = load(tmp_path, write(tmp_path))
    assert ("no compiled model is kept in" in caplog.text) == (limit != "0")
    (found,) = engine(feeds()).values()
    assert found[0, 0] == EXPECTED
    ((own, *_),) = sdk.loaded
    assert own.exists()
    engine.close()
    assert not own.exists()


def test_a_broken_entry_is_dropped_and_the_package_compiled_anew(
    sdk: FakeCoreMl, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = write(tmp_path)
    load(tmp_path, graph).close()
    (entries()[0] / "model.mlmodelc" / "weights" / "weight.bin").write_bytes(b"altered")
    with caplog.at_level(logging.WARNING, logger="latedge"):
        engine = load(tmp_path, graph)
    assert "dropping the compiled model" in caplog.text
    assert "the weights are broken" in caplog.text
    (found,) = engine(feeds()).values()
    assert found[0, 0] == EXPECTED
    assert entries() == []


def test_what_the_compiler_says_is_told_in_one_line(sdk: FakeCoreMl, tmp_path: Path) -> None:
    graph = write(tmp_path)
    (tmp_path / graph.weights[0]).write_bytes(b"too many")
    with pytest.raises(EngineError) as error:
        load(tmp_path, graph)
    assert str(error.value) == f"{graph.file} can't be loaded on cpu: Error reading the weights."
    assert entries() == []


def test_a_failing_run_and_a_closed_engine(sdk: FakeCoreMl, tmp_path: Path) -> None:
    engine = load(tmp_path, write(tmp_path))
    sdk.fed = None  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(EngineError, match=r"model\.mlmodel failed: 'NoneType' object"):
        engine(feeds())
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match=r"model\.mlmodel is closed\. Open the bundle again\."):
        engine(feeds())


def test_coremltools_that_is_not_installed(
    sdk: FakeCoreMl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(
        EngineError, match=r'not installed\. Install it: pip install "latedge\[core'
    ):
        load(tmp_path, write(tmp_path))


def test_wrong_feeds_are_named_by_the_roles_shapes(sdk: FakeCoreMl, tmp_path: Path) -> None:
    engine = load(tmp_path, write(tmp_path))
    wrong = {**feeds(), "context": np.zeros((2, 4, 1, 5), np.float32)}
    with pytest.raises(EngineError, match=r"context has shape \[2, 5, 4\], given was \[2, 4, 1, 5"):
        engine(wrong)
