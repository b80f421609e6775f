"""The costliest nodes, by both engines' profilers, of sessions as the pipeline opens them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import openvino
import pytest

from benchmarks.bench.limits.costliest import costliest, most_of
from benchmarks.bench.limits.feeds import picture_calls
from benchmarks.bench.results import NodeCost, Settings
from runtimes.bundle import open_bundle
from runtimes.engine import ENGINES, NodeTime
from runtimes.errors import BundleError, EngineError
from tests.runtimes.fakes import write_fake_bundle

Make = Callable[[str], Path]


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        ("onnxruntime", {"Conv", "MatMul"}),
        ("openvino", {"Convolution", "FullyConnected"}),
    ],
)
def test_ten_nodes_of_a_network(
    target: str,
    kinds: set[str],
    shapes_of: Make,
    guided: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bundle = open_bundle(shapes_of(target))
    feeds = picture_calls(bundle, guided)["unet"].feeds
    found = costliest(bundle, "unet", feeds, "cpu", 1, calls=2)
    assert len(found) == 10
    assert kinds & {node.kind for node in found}
    # The bundle's own names: torch's modules.
    assert any("_blocks." in node.name for node in found)
    times = [node.time_ms for node in found]
    assert times == sorted(times, reverse=True)
    assert times[-1] > 0
    shares = [node.share for node in found]
    assert 0 < sum(shares) <= 1
    assert [s / shares[0] for s in shares] == pytest.approx([t / times[0] for t in times])
    assert list(tmp_path.iterdir()) == []


def test_medians_over_calls_and_shares_of_their_sum() -> None:
    calls = [
        [NodeTime("a", "Conv", 3.0), NodeTime("b", "Add", 1.0), NodeTime("a", "Conv", 1.0)],
        [NodeTime("a", "Conv", 6.0), NodeTime("b", "Add", 2.0)],
        [NodeTime("a", "Conv", 5.0), NodeTime("b", "Add", 9.0), NodeTime("c", "Mul", 3.0)],
    ]
    assert most_of(calls) == (
        NodeCost(name="a", kind="Conv", time_ms=5.0, share=0.5),
        NodeCost(name="c", kind="Mul", time_ms=3.0, share=0.3),
        NodeCost(name="b", kind="Add", time_ms=2.0, share=0.2),
    )
    assert [node.name for node in most_of(calls, shown=1)] == ["a"]


@pytest.mark.parametrize("times", [[], [[]], [[NodeTime("a", "Conv", 0.0)]]])
def test_no_times(times: list[list[NodeTime]]) -> None:
    with pytest.raises(EngineError, match=r"^the engine's profiler told no times of nodes\.$"):
        most_of(times)


def test_the_sessions_are_those_of_the_pipeline(
    shapes_of: Make, guided: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apart from the profile, the same options; with the cache on, the cached model."""
    made: list[tuple[str, Any]] = []
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, **others: Any) -> Any:
        made.append((path, options))
        return real(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setenv("LATEDGE_ORT_CACHE", "on")
    bundle = open_bundle(shapes_of("onnxruntime"))
    feeds = picture_calls(bundle, guided)["vae_decoder"].feeds
    assert costliest(bundle, "vae_decoder", feeds, "cpu", 1, calls=1)
    path, options = made[-1]
    assert Path(path).parent.parent.name == "onnxruntime"  # the cache's folder
    assert options.enable_profiling is True
    assert options.enable_cpu_mem_arena is False
    assert options.intra_op_num_threads == 1
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # The session that optimised and saved the model wrote no profile.
    assert all(not others.enable_profiling for _, others in made[:-1])


def test_openvino_compiles_as_in_the_pipeline(
    shapes_of: Make, guided: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, str]] = []
    real = openvino.Core.compile_model

    def compile_model(self: Any, path: str, device: str, options: dict[str, str]) -> Any:
        told.append(options)
        return real(self, path, device, options)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    bundle = open_bundle(shapes_of("openvino"))
    feeds = picture_calls(bundle, guided)["vae_decoder"].feeds
    assert costliest(bundle, "vae_decoder", feeds, "cpu", 1, calls=1)
    assert told == [{"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": "YES"}]


def test_an_engine_without_a_profiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "fake", "tests.runtimes.fakes:FakeEngine")
    bundle = open_bundle(write_fake_bundle(tmp_path / "bundle"))
    with pytest.raises(EngineError, match=r"^engine 'fake' tells no times of nodes\.$"):
        costliest(bundle, "unet", {}, "cpu", None)


def test_a_portable_bundle(shapes_of: Make) -> None:
    bundle = open_bundle(shapes_of("portable"))
    with pytest.raises(BundleError, match=r" is portable and can't run yet\. Compile it first\.$"):
        costliest(bundle, "unet", {}, "cpu", None)
