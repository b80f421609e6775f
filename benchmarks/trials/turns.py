"""One session of bundles that take turns, and nothing else of `latedge bench`."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench.client import REPOSITORY, Program, Worker
from benchmarks.bench.protocol import Ask
from benchmarks.bench.results import FIRST_CALL, LOAD, PICTURE

Samples = dict[str, dict[str, list[float]]]
"""Milliseconds by subject and stage."""

WARMUP = 2


def bundle_program(bundle: Path, threads: int | None, packages: Path) -> Program:
    """The worker of a bundle, with one more folder to find packages in."""
    asked = [] if threads is None else ["--threads", str(threads)]
    command = (sys.executable, "-m", "benchmarks.bench.worker", str(bundle), *asked)
    return Program(command, {"PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(packages)))})


def take_turns(programs: Mapping[str, Program], ask: Ask, rounds: int, number: int) -> Samples:
    """A session as `latedge bench` makes it.

    Args:
        programs: workers by subject.
        ask: the picture that each draws in each round.
        rounds: how many.
        number: of the session; odd ones begin with the last subject.
    """
    found: dict[str, defaultdict[str, list[float]]] = {name: defaultdict(list) for name in programs}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in _order(programs, number):
            workers[name] = stack.enter_context(Worker(programs[name]))
            found[name][LOAD].append(workers[name].open().load_ms)
        for name, worker in workers.items():
            found[name][FIRST_CALL] += worker.draw(ask).stages[PICTURE]
            for _ in range(WARMUP - 1):
                worker.draw(ask)
        for turn in range(rounds):
            for name in _order(programs, number + turn):
                for stage, values in workers[name].draw(ask).stages.items():
                    found[name][stage] += values
    return {name: dict(stages) for name, stages in found.items()}


def _order(programs: Mapping[str, Program], number: int) -> list[str]:
    """Forwards and backwards in turn."""
    names = list(programs)
    return names if number % 2 == 0 else names[::-1]
