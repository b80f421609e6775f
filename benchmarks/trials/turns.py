"""A session of `latedge bench`, of subjects that find one more folder of packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench.client import REPOSITORY, Program
from benchmarks.bench.entry import Entry
from benchmarks.bench.noise import NoiseWatch
from benchmarks.bench.protocol import Ask
from benchmarks.bench.results import Noise, Plan
from benchmarks.bench.sessions import Watch, rotated, run_sessions
from runtimes.errors import LatedgeError

Samples = dict[str, dict[str, list[float]]]
"""Milliseconds by subject and stage."""

WARMUP = 2


def bundle_program(bundle: Path, threads: int | None, packages: Path) -> Program:
    """The worker of a bundle, with one more folder to find packages in."""
    asked = [] if threads is None else ["--threads", str(threads)]
    command = (sys.executable, "-m", "benchmarks.bench.worker", str(bundle), *asked)
    return Program(command, {"PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(packages)))})


def take_turns(
    programs: Mapping[str, Program], ask: Ask, rounds: int, number: int
) -> tuple[Samples, Noise]:
    """One session, with a new process for each subject.

    Args:
        programs: workers by subject.
        ask: the picture that each draws in each round.
        rounds: how many.
        number: of the session; each begins with the next subject.

    Returns:
        The samples, and how steady the machine was.

    Raises:
        LatedgeError: a subject failed.
    """
    entries = [Entry(name, each, "latedge", REPOSITORY, ()) for name, each in programs.items()]
    pids: set[int] = set()
    noise = NoiseWatch()
    noise.start(lambda: pids)

    def tick(running: set[int]) -> None:
        pids.clear()
        pids.update(running)
        noise.tick()

    plan = Plan(sessions=1, rounds=rounds, warmup=WARMUP)
    watch = Watch(tell=lambda what: None, tick=tick)
    measured = run_sessions(rotated(entries, number), plan, ask, watch)
    for each in measured:
        if each.error is not None:
            raise LatedgeError(f"{each.entry.name}: {each.error}")
    samples = {
        each.entry.name: {stage: kept[0] for stage, kept in each.samples.items()}
        for each in measured
    }
    return samples, noise.finish()
