"""A process whose time is up is ended, wherever it is."""

from __future__ import annotations

import signal
import subprocess
import sys

from benchmarks.bench.client import REPOSITORY
from benchmarks.peers.limited import ENDED, explain


def limited(seconds: str, *module: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.peers.limited", seconds, *module]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_module_runs_with_its_arguments() -> None:
    done = limited("60", "timeit", "-n1", "-r1", "pass")
    assert done.returncode == 0
    assert "1 loop" in done.stdout


def test_its_time_is_up() -> None:
    done = limited("0.5", "timeit", "-n1", "-r1", "import time; time.sleep(60)")
    assert done.returncode == -signal.SIGALRM


def test_the_alarm_is_called_by_its_name() -> None:
    assert explain(f"{ENDED}: line", 60) == "it took longer than 60 s (--timeout): line"
    assert explain("ValueError: x", 60) == "ValueError: x"
