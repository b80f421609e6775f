"""Processor time: of the system, nothing twice; of processes, with their ended children."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

import psutil
import pytest

from benchmarks.bench.system_load import load_average, own_seconds, processor_time


class Times(NamedTuple):
    """What Linux tells."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float
    guest: float
    guest_nice: float


class Few(NamedTuple):
    """What every system tells."""

    user: float
    system: float
    idle: float


BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_time_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_times", lambda: Times(10, 1, 2, 50, 5, 0.5, 0.5, 3, 8, 1))
    found = processor_time()
    assert (found.total, found.busy, found.stolen) == (72, 14, 3)
    monkeypatch.setattr(psutil, "cpu_times", lambda: Few(10, 2, 50))
    assert processor_time() == (62, 12, 0)


def test_processes_with_ended_children_are_counted() -> None:
    """A process that burns 0.3 s and one whose child did; counted in ticks of 10 ms."""
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])\n"
    wait = "print('done', flush=True); sys.stdin.read()"
    for work in (BURN, child):
        code = f"import sys\n{work}{wait}"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert 0.25 <= own_seconds([process.pid, process.pid + 10_000_000]) < 3
            process.communicate()
    assert own_seconds([process.pid]) == 0.0


def test_load_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 2.0, 3.0), raising=False)
    assert load_average() == 1.5
    monkeypatch.delattr(os, "getloadavg")
    assert load_average() is None
