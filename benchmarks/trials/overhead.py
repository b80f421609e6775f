"""What the harness adds to a call: timed and watched as in a benchmark, against the bare call.

Twice: as a ratio of interleaved calls, which holds everything and is only as sharp as the machine is
quiet; and as the sum of its parts, each alone, which the work of others hardly blurs.
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
from runtimes.timings import Stopwatch

CALLS = 8
"""Calls in a block; blocks of the three kinds take turns."""
WARM = 10
OUTSIDE = 0.05
LAPS, LOOPS = 10_000, 20
WATCH_S, WATCHES = 2.0, 5
LAPS, LOOPS = 10_000, 20
WATCH_S, WATCHES = 2.0, 5


@dataclass(frozen=True)
class Overhead:
    """A ratio of calls in the same process.

    Attributes:
        of: what is above the line.
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


def measure_overhead(
    bundle: Path, threads: int | None, sessions: int, rounds: int
) -> tuple[Overhead, ...]:
    """The harness by the bare component, and the component by the bare engine.

    The sampler of the process's memory runs while the calls of the harness do, and no others.

    Args:
        bundle: compiled.
        threads: within an operation; None leaves it to the engine.
        sessions: processes, one after the other.
        rounds: of a block of each kind.
    """
    samples: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for number in range(sessions):
        for kind, calls in _session(bundle, threads, rounds, number).items():
            samples[kind].append(calls)
    stages = {kind: _stages(calls) for kind, calls in samples.items()}
    pairs = (("stopwatch", "component"), ("component", "engine"))
    return tuple(_overhead(of, by, stages) for of, by in pairs)


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
    process.stdin.write(f"{kind} {count}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise LatedgeError("the process that calls the U-Net ended; its own error is above.")
    return json.loads(line)


def _stages(sessions: list[list[float]]) -> dict[str, Stage]:
    """Calls as stages of rounds, a block each."""
    blocks = [
        [sum(calls[i : i + CALLS]) for i in range(0, len(calls), CALLS)] for calls in sessions
    ]
    return {UNET_CALL: stage(sessions), PICTURE: stage(blocks)}


def _overhead(of: str, by: str, stages: dict[str, dict[str, Stage]]) -> Overhead:
    logs = session_logs(UNET_CALL, stages[of], stages[by])
    ratio, low, high = t_interval(logs, OUTSIDE)
    summary = stages[by][UNET_CALL].summary
    return Overhead(of, by, summary.p50, ratio, low, high, len(logs), summary.n)
