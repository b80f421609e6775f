"""Sessions × rounds of bundles that take turns, and nothing else of `latedge bench`."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench.client import REPOSITORY, Program, Worker
from benchmarks.bench.protocol import Ask
from benchmarks.bench.results import FIRST_CALL, LOAD, PICTURE, Plan, Stage
from benchmarks.bench.statistics import stage

Samples = dict[str, list[list[float]]]


def bundle_program(bundle: Path, threads: int | None, extra_path: Path) -> Program:
    """The worker of a bundle, with one more folder to find packages in."""
    asked = [] if threads is None else ["--threads", str(threads)]
    command = (sys.executable, "-m", "benchmarks.bench.worker", str(bundle), *asked)
    return Program(command, {"PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(extra_path)))})


def take_turns(
    programs: Mapping[str, Program], plan: Plan, ask: Ask
) -> dict[str, dict[str, Stage]]:
    """Measures subjects as `latedge bench` does.

    Args:
        programs: workers by subject.
        plan: sessions, rounds and warm-up.
        ask: the picture.

    Returns:
        Stages by subject.
    """
    samples: dict[str, Samples] = {name: defaultdict(list) for name in programs}
    for number in range(plan.sessions):
        with ExitStack() as stack:
            _session(number, programs, plan, ask, samples, stack)
    return {
        name: {key: stage(values) for key, values in found.items()}
        for name, found in samples.items()
    }


def _session(
    number: int,
    programs: Mapping[str, Program],
    plan: Plan,
    ask: Ask,
    samples: Mapping[str, Samples],
    stack: ExitStack,
) -> None:
    workers: dict[str, Worker] = {}
    for name in _order(programs, number):
        workers[name] = stack.enter_context(Worker(programs[name]))
        samples[name][LOAD].append([workers[name].open().load_ms])
    for name, worker in workers.items():
        samples[name][FIRST_CALL].append(worker.draw(ask).stages[PICTURE])
        for _ in range(plan.warmup - 1):
            worker.draw(ask)
    found: dict[str, defaultdict[str, list[float]]] = {name: defaultdict(list) for name in programs}
    for turn in range(plan.rounds):
        for name in _order(programs, number + turn):
            for key, values in workers[name].draw(ask).stages.items():
                found[name][key] += values
    for name, stages in found.items():
        for key, values in stages.items():
            samples[name][key].append(values)


def _order(programs: Mapping[str, Program], number: int) -> list[str]:
    """Forwards and backwards in turn."""
    names = list(programs)
    return names if number % 2 == 0 else names[::-1]
