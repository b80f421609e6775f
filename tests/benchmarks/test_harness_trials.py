"""The trials of the harness: the planted slowdown is real, the judging right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench.client import REPOSITORY
from benchmarks.bench.results import PICTURE, UNET_CALL
from benchmarks.command_line import run_command
from benchmarks.harness_trials import NAME, main
from benchmarks.trials import overhead
from benchmarks.trials import slowed as slowed_module
from benchmarks.trials.slowed import PREFIX, SHARE, SlowedOnnxRuntime, register, slowed_bundle
from benchmarks.trials.trial import AGAIN, FIRST, SLOWED, Session, judge, keep, read_sessions
from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError, UsageError
from runtimes.manifest import Graph

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def bundle(once: Callable[..., Path], exported: Make) -> Path:
    """A tiny bundle that ONNX Runtime runs."""
    from exporter.compile import compile

    return once(
        "trials-onnxruntime",
        lambda folder: compile(exported("tiny-sd15"), folder, target="onnxruntime"),
    )


class Clock:
    """Processor time that passes only where work is done or looked at."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0

    def read(self) -> float:
        self.now += 1e-5
        self.looks += 1
        return self.now


class Working:
    """An engine whose call takes a second of processor time."""

    version, device = "working 1", "cpu"

    def __init__(self, clock: Clock, graph: Graph) -> None:
        self.graph, self._clock = graph, clock

    def __call__(self, feeds: object, outputs: object = None) -> dict[str, np.ndarray]:
        self._clock.now += 1.0
        return {"y": np.array([1.0])}

    def close(self) -> None:
        self.graph = None


GRAPH = Graph(file="x", inputs=(), outputs=(), weights=(), precision="fp32", engine="onnxruntime")


@pytest.mark.parametrize(("threads", "share"), [(1, SHARE), (2, SHARE / 2)])
def test_a_slowed_call_spins_for_its_share_of_the_work(
    monkeypatch: pytest.MonkeyPatch, threads: int, share: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(
        slowed_module, "load_engine_class", lambda name: lambda *a, **k: Working(clock, GRAPH)
    )
    engine = SlowedOnnxRuntime(Path(), GRAPH, device="cpu", threads=threads)
    monkeypatch.setattr(time, "process_time", clock.read)
    monkeypatch.setattr(time, "thread_time", clock.read)
    assert engine({})["y"] == [1.0]
    assert clock.now == pytest.approx(1 + share, abs=1e-4)
    assert (engine.version, engine.device, engine.graph) == ("working 1", "cpu", GRAPH)


def test_a_slowed_bundle_draws_what_the_bundle_draws(bundle: Path, tmp_path: Path) -> None:
    slowed = slowed_bundle(bundle, tmp_path / "slowed")
    register(tmp_path / "packages")
    paths = os.pathsep.join((str(REPOSITORY), str(tmp_path / "packages")))
    code = (
        "import sys; from pathlib import Path; from runtimes.pipeline import Pipeline\n"
        "for path in sys.argv[1:]:\n"
        "    with Pipeline.open(Path(path), threads=1) as pipe:\n"
        "        found = pipe('x', num_inference_steps=2, seed=0, output_type='latent')\n"
        "        with pipe._parts.use('unet') as unet:\n"
        "            print(type(unet.engine).__name__, found.latents.tobytes().hex())\n"
    )
    command = [sys.executable, "-c", code, str(bundle), str(slowed)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    (plain, expected), (engine, found) = (line.split() for line in done.stdout.splitlines())
    assert (plain, engine) == ("OrtEngine", "SlowedOnnxRuntime")
    assert found == expected
    assert open_bundle(bundle).graph("unet").engine == "onnxruntime"
    assert open_bundle(slowed).graph("unet").engine == PREFIX + "onnxruntime"


def test_a_portable_bundle_is_refused(exported: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its engine is none: it is portable; slowed ones are"):
        slowed_bundle(exported("tiny-sd15"), tmp_path / "slowed")
    assert not (tmp_path / "slowed").exists()


def session(slower: float, level: float = 1.0) -> Session:
    calls = [level * each for each in (1.0, 1.1, 0.9, 1.0)]
    drawn = {UNET_CALL: calls, PICTURE: [calls[0] + calls[1], calls[2] + calls[3]]}
    times = {FIRST: 1.0, AGAIN: 1.0, SLOWED: slower}
    samples = {
        name: {key: [value * factor for value in values] for key, values in drawn.items()}
        for name, factor in times.items()
    }
    return Session(load=level, samples=samples)


def test_trials_are_judged_by_verdicts() -> None:
    found = judge([session(1.05, 1.0), session(1.0501, 3.0)])
    assert found.no_difference
    assert found.found
    assert found.load == 2.0
    missed = judge([session(1.05), session(0.95)])
    assert missed.no_difference
    assert not missed.found


def test_a_difference_in_any_stage_counts() -> None:
    both = [session(1.05), session(1.05)]
    for each in both:
        each.samples[AGAIN][UNET_CALL] = [time * 1.01 for time in each.samples[AGAIN][UNET_CALL]]
    assert not judge(both).no_difference


def test_sessions_are_kept_and_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert read_sessions(path) == []
    kept = [session(1.05), session(1.1, 2.0)]
    for each in kept:
        keep(path, each)
    assert read_sessions(path) == kept


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(LatedgeError, match=r"x\.jsonl holds no sessions of trials"):
        read_sessions(path)


def test_one_session_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_command(main, NAME, [str(tmp_path), "--sessions", "1"]) == 2
    assert "--sessions 1: an interval needs 2 or more." in capsys.readouterr().err


def test_everything_is_measured_and_what_is_kept_is_not_measured_again(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overhead, "WATCH_S", 0.1)
    monkeypatch.setattr(overhead, "LOOPS", 1)
    output, kept = tmp_path / "out" / "harness.json", tmp_path / "kept"
    arguments = [str(bundle), "-o", str(output), "--keep", str(kept), "--threads", "1"]
    arguments += ["--trials", "1", "--sessions", "2", "--rounds", "1", "--steps", "1"]
    assert run_command(main, NAME, arguments) == 0
    first = capsys.readouterr()
    (found,) = json.loads(output.read_text())["bundles"]
    assert [each["of"] for each in found["overhead"]] == ["stopwatch", "component"]
    assert found["overhead"][0]["calls"] == 2 * 8
    assert found["parts"]["share"] > 0
    assert {ratio["stage"] for ratio in found["trials"][0]["same"]} >= {UNET_CALL, PICTURE, "load"}
    assert "session 2 of 2" in first.err
    assert "of 1 trials" in first.out
    assert len(read_sessions(kept / f"{bundle.name}.jsonl")) == 2
    assert run_command(main, NAME, arguments) == 0
    assert "session" not in capsys.readouterr().err
