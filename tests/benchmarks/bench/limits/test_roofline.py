"""Each component beside the machine's peaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.bench.limits import limits
from benchmarks.bench.limits.count import count
from benchmarks.bench.results import (
    STAGES,
    TEXT_ENCODER,
    UNET_CALL,
    ComponentLimit,
    Peaks,
    Settings,
    Stage,
    Summary,
)
from exporter.compile import compile
from runtimes.bundle import open_bundle
from runtimes.engine import ENGINES
from tests.runtimes.fakes import write_fake_bundle
from tests.runtimes.optimum.exports import as_optimum, as_optimum_intel

Make = Callable[[str], Path]

PEAKS = Peaks(flops_per_s=2e9, bytes_per_s=1e9, threads=1)


def stage(p50: float) -> Stage:
    summary = Summary(n=3, min=1.0, p50=p50, p90=p50, p95=p50, p99=p50, max=p50, spread=0.0)
    return Stage(sessions=((p50, p50, p50),), summary=summary)


MEASURED = {name: stage(2000.0) for name in STAGES}


def of(
    bundle: Path,
    settings: Settings,
    stages: dict[str, Stage] = MEASURED,
    peaks: Peaks | None = PEAKS,
    *,
    profile: bool = False,
) -> dict[str, ComponentLimit]:
    found = limits(
        open_bundle(bundle), settings, stages, peaks, device="cpu", threads=1, profile=profile
    )
    return {limit.component: limit for limit in found}


@pytest.mark.parametrize(
    ("target", "file"),
    [("onnxruntime", "model.onnx"), ("openvino", "openvino_model.xml")],
)
def test_the_roofline_of_each_component(
    target: str, file: str, shapes_of: Make, guided: Settings
) -> None:
    found = of(shapes_of(target), guided)
    assert list(found) == ["text_encoder", "unet", "vae_decoder"]
    assert found["unet"].feeds == {
        "sample": (2, 4, 8, 6),
        "timestep": (1,),
        "encoder_hidden_states": (2, 77, 128),
    }
    for name, limit in found.items():
        counted = count(shapes_of(target) / name / file, limit.feeds)
        assert (limit.flops, limit.bytes) == (counted.flops, counted.bytes)
        assert limit.bytes_by_node == counted.bytes_by_node
        assert limit.by_kind == counted.by_kind
        bounds = (counted.flops / 2e6, counted.bytes / 1e6)
        assert (limit.compute_ms, limit.memory_ms) == pytest.approx(bounds, rel=1e-12)
        assert limit.roofline_ms == pytest.approx(max(bounds), rel=1e-12)
        assert limit.share == pytest.approx(max(bounds) / 2000, rel=1e-12)
        assert limit.time_ms == 2000
        assert (limit.costliest, limit.note) == ((), None)


@pytest.mark.parametrize(
    ("target", "make", "timestep"),
    [("onnxruntime", as_optimum, ()), ("openvino", as_optimum_intel, (1,))],
)
def test_folders_of_optimum(
    target: str,
    make: Callable[[Path, Path], Path],
    timestep: tuple[int, ...],
    shapes_of: Make,
    guided: Settings,
    tmp_path: Path,
) -> None:
    """Weights within the graph, a timestep of other rank or any length, no manifest."""
    own = of(shapes_of(target), guided)
    found = of(make(shapes_of(target), tmp_path / "optimum"), guided)
    assert found["unet"].feeds["timestep"] == timestep
    for name, limit in found.items():
        assert limit.flops == own[name].flops
        assert limit.bytes == pytest.approx(own[name].bytes, rel=1e-4)  # the timestep's type
        assert limit.note is None


def test_memory_can_be_the_limit(shapes_of: Make, guided: Settings) -> None:
    slow = msgspec.structs.replace(PEAKS, bytes_per_s=1e6)
    limit = of(shapes_of("openvino"), guided, peaks=slow)["unet"]
    assert limit.compute_ms is not None
    assert limit.memory_ms is not None
    assert limit.memory_ms > limit.compute_ms
    assert limit.roofline_ms == limit.memory_ms


def test_what_was_not_measured_is_absent(shapes_of: Make, guided: Settings) -> None:
    found = of(shapes_of("openvino"), guided, {UNET_CALL: stage(10.0)}, None)
    assert found["unet"].time_ms == 10.0
    assert found["vae_decoder"].time_ms is None
    for limit in found.values():
        assert limit.flops is not None
        assert limit.compute_ms is limit.memory_ms is limit.roofline_ms is limit.share is None
    assert of(shapes_of("openvino"), guided, {})["unet"].share is None


def test_a_stage_of_several_calls_is_shared_out(
    shapes_bundle: Path, guided: Settings, tmp_path: Path
) -> None:
    compile(shapes_bundle, tmp_path / "one", target="onnxruntime", batch=1)
    found = of(tmp_path / "one", guided, {TEXT_ENCODER: stage(30.0), UNET_CALL: stage(30.0)})
    encoder, unet = found["text_encoder"], found["unet"]
    assert encoder.feeds == {"input_ids": (1, 77)}
    assert encoder.time_ms == 15.0
    assert encoder.note == "the measured stage makes 2 calls; the figures are of one"
    # Guidance in two halves: each is a call of its own, and timed as one.
    assert unet.feeds["sample"] == (1, 4, 8, 6)
    assert unet.time_ms == 30.0
    assert unet.note is None


def test_costliest_nodes_are_added_where_asked_for(shapes_of: Make, guided: Settings) -> None:
    found = of(shapes_of("onnxruntime"), guided, profile=True)
    assert [len(limit.costliest) for limit in found.values()] == [10, 10, 10]
    assert [limit.note for limit in found.values()] == [None] * 3


def test_what_can_not_be_had_is_a_note(
    guided: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "fake", "tests.runtimes.fakes:FakeEngine")
    settings = msgspec.structs.replace(guided, height=32, width=24)
    limit = of(write_fake_bundle(tmp_path / "bundle"), settings, profile=True)["unet"]
    assert limit.flops is limit.bytes is limit.bytes_by_node is limit.roofline_ms is None
    assert limit.by_kind == ()
    assert limit.time_ms == 2000
    assert limit.note == (
        "not counted: model.fake is neither an ONNX graph nor an OpenVINO IR; its FLOPs and bytes "
        "can't be counted; no costliest nodes: engine 'fake' tells no times of nodes"
    )
