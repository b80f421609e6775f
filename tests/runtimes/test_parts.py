"""Components come and go: one at a time with low memory, from many threads, and on closing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.compile import compile
from runtimes.component import Component, NotFiniteError
from runtimes.engine import Array
from runtimes.errors import EngineError, UsageError
from runtimes.manifest import Graph, Port
from runtimes.parts import Memory, Parts
from runtimes.pipeline import Pipeline
from runtimes.result import Preview, Result
from runtimes.timings import Stopwatch
from tests.conftest import Once
from tests.runtimes import fakes
from tests.runtimes.fakes import FakeEngine

Write = Callable[..., Path]

WAIT_S = 20
"""Nothing here waits this long unless it is broken."""


@pytest.fixture
def events(fake_engine: type[FakeEngine], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the fake engine loads and frees: "+unet", "-unet"."""
    found: list[str] = []
    load, close = FakeEngine.__init__, FakeEngine.close

    def loading(self: FakeEngine, folder: Path, graph: Graph, **options: Any) -> None:
        load(self, folder, graph, **options)
        found.append(f"+{self.component}")

    def closing(self: FakeEngine) -> None:
        close(self)
        found.append(f"-{self.component}")

    monkeypatch.setattr(FakeEngine, "__init__", loading)
    monkeypatch.setattr(FakeEngine, "close", closing)
    return found


STAGES = ["+text_encoder", "-text_encoder", "+unet", "-unet", "+vae_decoder", "-vae_decoder"]


# --- memory


def test_low_memory_holds_one_component_at_a_time(fake_bundle: Write, events: list[str]) -> None:
    with Pipeline.open(fake_bundle(), memory="low") as pipe:
        # Which engine there is, in which version, the smallest component tells.
        assert events == STAGES[:2]
        events.clear()
        result = pipe("a red circle", seed=3)
        assert events == STAGES
        pipe("a red circle", seed=4)
        assert events == STAGES * 2
    assert events == STAGES * 2
    assert sorted(result.timings.load) == ["text_encoder", "unet", "vae_decoder"]
    stages = [result.timings.text_encoder, *result.timings.unet, result.timings.vae_decoder]
    assert sum(stages) + sum(result.timings.load.values()) <= result.timings.total


def test_high_memory_loads_once(fake_bundle: Write, events: list[str]) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pipe("x", seed=0)
        result = pipe("x", seed=0)
        assert events == ["+text_encoder", "+unet", "+vae_decoder"]
    assert sorted(events[3:]) == ["-text_encoder", "-unet", "-vae_decoder"]
    assert result.timings.load == {}


def test_memory_does_not_alter_pictures(fake_bundle: Write) -> None:
    bundle = fake_bundle()
    with Pipeline.open(bundle) as high, Pipeline.open(bundle, memory="low") as low:
        found, expected = low("x", seed=3), high("x", seed=3)
    np.testing.assert_array_equal(found.latents, expected.latents)
    assert found.images == expected.images
    assert found.origin == expected.origin


def test_previews_load_the_decoder_beside_the_unet(fake_bundle: Write, events: list[str]) -> None:
    def show(preview: Preview) -> None:
        if preview.index == 0:
            assert preview.picture().size == (24, 32)

    with Pipeline.open(fake_bundle(), memory="low") as pipe:
        events.clear()
        pipe("x", seed=0, callback=show)
    assert events == [*STAGES[:3], "+vae_decoder", "-vae_decoder", *STAGES[3:]]


def test_a_failing_stage_frees_its_component(fake_bundle: Write, events: list[str]) -> None:
    FakeEngine.nan_at["unet"] = 1
    with Pipeline.open(fake_bundle(), memory="low") as pipe:
        events.clear()
        with pytest.raises(EngineError, match="unet gave NaN or infinite values at step 2 of 4"):
            pipe("x", seed=0)
        assert events == STAGES[:4]


def test_unknown_memory_is_refused_before_anything_is_loaded(
    fake_bundle: Write, events: list[str]
) -> None:
    memory: Any = "lo"
    with pytest.raises(UsageError, match=r"unknown memory 'lo'; .* Did you mean 'low'\?"):
        Pipeline.open(fake_bundle(), memory=memory)
    assert events == []


def test_loading_is_timed_by_component(fake_bundle: Write) -> None:
    watch = Stopwatch()

    def load(name: str, graph: str) -> Component:
        assert graph == "model"
        return component(name, np.zeros(1, np.float32))

    parts = Parts(load, {})
    for _ in range(2):
        with parts.use("vae_encoder", watch) as found:
            assert found.name == "vae_encoder"
    assert list(watch.loads_ms) == ["vae_encoder"]


# --- many threads


@dataclass(frozen=True)
class Job:
    """What one of many concurrent calls is asked for."""

    seed: int
    height: int
    width: int
    count: int

    def draw(self, pipe: Pipeline) -> Result:
        return pipe(
            f"a red circle {self.seed}",
            seed=self.seed,
            num_inference_steps=3,
            sampler="euler",
            height=self.height,
            width=self.width,
            num_images_per_prompt=self.count,
        )


def assert_as_alone(pipe: Pipeline, jobs: list[Job], workers: int) -> None:
    alone = [job.draw(pipe) for job in jobs]
    with ThreadPoolExecutor(workers) as pool:
        together = list(pool.map(lambda job: job.draw(pipe), jobs))
    for job, mine, expected in zip(jobs, together, alone, strict=True):
        np.testing.assert_array_equal(mine.latents, expected.latents, err_msg=str(job))
        assert mine.images == expected.images, job
        assert mine.settings == expected.settings
    assert len({result.latents.tobytes() for result in together}) == len(jobs)


@pytest.mark.parametrize("memory", ["high", "low"])
def test_many_threads_draw_what_each_draws_alone(fake_bundle: Write, memory: Memory) -> None:
    jobs = [Job(i, 16 + 8 * (i % 3), 24 + 8 * (i % 2), 1 + i % 2) for i in range(24)]
    with Pipeline.open(fake_bundle(), memory=memory) as pipe:
        assert_as_alone(pipe, jobs, workers=8)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_many_threads_draw_what_each_draws_alone_with_true_engines(
    once: Once, shapes_bundle: Path, target: str
) -> None:
    folder = once(f"shapes-{target}", lambda out: compile(shapes_bundle, out, target=target))
    jobs = [Job(i, 64 - 16 * (i % 2), 64 + 16 * (i % 3), 1 + i % 2) for i in range(6)]
    with Pipeline.open(folder, threads=2) as pipe:
        assert_as_alone(pipe, jobs, workers=4)


def test_high_memory_runs_calls_at_once(
    fake_bundle: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting, formula = threading.Barrier(2, timeout=WAIT_S), fakes.predict

    def meet(*arrays: Array) -> Array:
        meeting.wait()  # raises where nobody else comes
        return formula(*arrays)

    monkeypatch.setattr(fakes, "predict", meet)
    with Pipeline.open(fake_bundle()) as pipe, ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda seed: pipe("x", seed=seed), (0, 1))
    assert (first.seed, second.seed) == (0, 1)


def test_low_memory_queues_calls(fake_bundle: Write, events: list[str]) -> None:
    with Pipeline.open(fake_bundle(), memory="low") as pipe, ThreadPoolExecutor(4) as pool:
        events.clear()
        list(pool.map(lambda seed: pipe("x", seed=seed), range(8)))
    assert events == STAGES * 8


# --- closing


class Gate:
    """A callback that stops a call at its first step until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _: Preview) -> None:
        self.reached.set()
        assert self.go_on.wait(WAIT_S)


@pytest.mark.parametrize("memory", ["high", "low"])
def test_closing_ends_running_calls_at_their_next_step_and_waits(
    fake_bundle: Write, events: list[str], memory: Memory
) -> None:
    pipe, gate = Pipeline.open(fake_bundle(), memory=memory), Gate()
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(pipe, "x", seed=0, callback=gate)
        assert gate.reached.wait(WAIT_S)
        events.clear()
        closing = pool.submit(pipe.close)
        while not pipe._parts._closed:  # pyright: ignore[reportPrivateUsage]
            assert not closing.done()
        assert events == []
        gate.go_on.set()
        with pytest.raises(EngineError, match="the pipeline is closed; open the bundle again"):
            call.result(WAIT_S)
        closing.result(WAIT_S)
    assert len(fakes.made("unet").calls) == 1
    assert all(engine.closed for engine in FakeEngine.made)


def test_closing_from_a_callback_ends_the_call(fake_bundle: Write) -> None:
    pipe = Pipeline.open(fake_bundle())
    with pytest.raises(EngineError, match="the pipeline is closed"):
        pipe("x", seed=0, callback=lambda _: pipe.close())
    assert [engine.closed for engine in FakeEngine.made] == [True] * 3
    pipe.close()


@pytest.mark.parametrize("memory", ["high", "low"])
def test_calls_after_closing_fail(fake_bundle: Write, memory: Memory) -> None:
    pipe = Pipeline.open(fake_bundle(), memory=memory)
    result: list[Preview] = []
    pipe("x", seed=0, callback=result.append)
    pipe.close()
    with pytest.raises(EngineError, match="the pipeline is closed; open the bundle again"):
        pipe("x", seed=0)
    with pytest.raises(EngineError, match="the pipeline is closed; open the bundle again"):
        result[0].picture()


# --- garbage out of an engine


class Constant:
    """An engine that gives one value."""

    def __init__(self, graph: Graph, value: Array) -> None:
        self.graph, self.value = graph, value
        self.device, self.version = "cpu", "constant 1"

    def __call__(self, feeds: object, outputs: object = None) -> dict[str, Array]:
        return {self.graph.outputs[0].name: self.value}

    def close(self) -> None:
        pass


def component(name: str, value: Array) -> Component:
    port = Port(role="sample", name="x", dtype="float32", shape=("batch", 2))
    graph = Graph(
        file="f", inputs=(port,), outputs=(port,), weights=(), precision="fp32", engine="constant"
    )
    return Component(name, Constant(graph, value), {"sample": port}, port)


@pytest.mark.parametrize("name", ["text_encoder", "vae_encoder", "unet", "vae_decoder"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_values_name_the_component(name: str, bad: float) -> None:
    with pytest.raises(NotFiniteError, match=f"^{name} gave NaN or infinite values. "):
        component(name, np.array([[0, bad]], np.float32))(sample=np.zeros((1, 2), np.float32))
