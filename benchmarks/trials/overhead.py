"""What the harness adds to a call: timed and watched as in a benchmark, against the bare call.

Twice: as a ratio of interleaved calls, which holds everything and is only as sharp as the machine
is quiet; and as the sum of its parts, each alone, which the work of others hardly blurs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.memory import MemorySampler
from benchmarks.bench.ratios import session_logs, t_interval
from benchmarks.bench.results import PICTURE, UNET_CALL, Stage
from benchmarks.bench.statistics import stage
from benchmarks.trials.call_worker import KINDS
from runtimes.errors import LatedgeError
from runtimes.timings import Stopwatch

Calls = subprocess.Popen[str]
"""The process that makes the calls."""

CALLS = 8
"""Calls in a block; blocks of the three kinds take turns."""
WARM = 10
OUTSIDE = 0.05
LAPS, LOOPS = 10_000, 20
WATCH_S, WATCHES = 2.0, 5


@dataclass(frozen=True)
class Overhead:
    """A ratio of calls in the same process.

    Attributes:
        of: what is above the line, a kind of `benchmarks.trials.call_worker`.
        by: what is below.
        call_ms: median of the latter.
        ratio: by the estimator of `benchmarks.bench.ratios`.
        low: lower end of the 95 % interval over sessions.
        high: upper end.
        sessions: processes.
        calls: of each kind in all.
    """

    of: str
    by: str
    call_ms: float
    ratio: float
    low: float
    high: float
    sessions: int
    calls: int


@dataclass(frozen=True)
class Parts:
    """What the harness does, piece by piece.

    Attributes:
        lap_us: of the stopwatch around a call: the best of several loops of empty laps.
        sampler_share: processor time of the memory sampler, by time; if it ran on the very core
            that computes, a call would take longer by this.
        call_ms: the call they are added to.
        share: both together, of the call.
    """

    lap_us: float
    sampler_share: float
    call_ms: float
    share: float


def measure_overhead(
    bundle: Path, threads: int | None, sessions: int, rounds: int
) -> tuple[Overhead, ...]:
    """The harness by the bare component, and the component by the bare engine.

    The sampler of the process's memory runs while the calls of the harness do, and no others.

    Args:
        bundle: compiled.
        threads: within an operation; None leaves it to the engine.
        sessions: processes, one after the other; 2 or more.
        rounds: of a block of each kind.

    Raises:
        LatedgeError: the process that makes the calls ended.
    """
    samples: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for number in range(sessions):
        for kind, calls in _session(bundle, threads, rounds, number).items():
            samples[kind].append(calls)
    stages = {kind: _stages(calls) for kind, calls in samples.items()}
    pairs = (("stopwatch", "component"), ("component", "engine"))
    return tuple(_overhead(of, by, stages) for of, by in pairs)


def measure_parts(bundle: Path, threads: int | None, call_ms: float) -> Parts:
    """The cost of a lap, and of watching a process that has the bundle's U-Net loaded.

    Args:
        bundle: compiled.
        threads: within an operation; None leaves it to the engine.
        call_ms: a call's time.

    Raises:
        LatedgeError: the process that is watched ended.
    """
    lap_us = min(_empty_lap_us() for _ in range(LOOPS))
    with _start(bundle, threads) as process:
        _block(process, "component", WARM)
        share = statistics.median(_sampler_share(process.pid) for _ in range(WATCHES))
    return Parts(lap_us, share, call_ms, lap_us / 1000 / call_ms + share)


def _empty_lap_us() -> float:
    watch = Stopwatch()
    start = time.perf_counter()
    for _ in range(LAPS):
        with watch.lap("unet"):
            pass
    return (time.perf_counter() - start) / LAPS * 1e6


def _sampler_share(pid: int) -> float:
    """Processor time that this process spends on watching another one, by time."""
    sampler = MemorySampler(pid)
    sampler.start()
    cpu, start = time.process_time(), time.perf_counter()
    time.sleep(WATCH_S)
    spent = (time.process_time() - cpu) / (time.perf_counter() - start)
    sampler.stop()
    return spent


def _start(bundle: Path, threads: int | None) -> Calls:
    asked = [str(bundle), *([] if threads is None else [str(threads)])]
    command = [sys.executable, "-m", "benchmarks.trials.call_worker", *asked]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _session(bundle: Path, threads: int | None, rounds: int, number: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    with _start(bundle, threads) as process:
        for kind in KINDS:
            _block(process, kind, WARM)
        for turn in range(rounds):
            for kind in KINDS if (number + turn) % 2 == 0 else reversed(KINDS):
                found[kind] += _watched(process, kind)
    return found


def _watched(process: Calls, kind: str) -> list[float]:
    """A block; with the sampler where the harness is what is measured."""
    if kind != "stopwatch":
        return _block(process, kind, CALLS)
    sampler = MemorySampler(process.pid)
    sampler.start()
    try:
        return _block(process, kind, CALLS)
    finally:
        sampler.stop()


def _block(process: Calls, kind: str, count: int) -> list[float]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{kind} {count}\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        raise LatedgeError("the process that calls the U-Net ended; its own error is above.")
    return json.loads(line)


def _stages(sessions: list[list[float]]) -> dict[str, Stage]:
    """Calls as a stage whose rounds are the blocks."""
    blocks = [
        [sum(calls[i : i + CALLS]) for i in range(0, len(calls), CALLS)] for calls in sessions
    ]
    return {UNET_CALL: stage(sessions), PICTURE: stage(blocks)}


def _overhead(of: str, by: str, stages: dict[str, dict[str, Stage]]) -> Overhead:
    logs = session_logs(UNET_CALL, stages[of], stages[by])
    ratio, low, high = t_interval(logs, OUTSIDE)
    summary = stages[by][UNET_CALL].summary
    return Overhead(of, by, summary.p50, ratio, low, high, len(logs), summary.n)
