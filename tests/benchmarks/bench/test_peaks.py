"""The machine's peaks: counted right, with the threads that were asked for, and their failures."""

from __future__ import annotations

import os
import subprocess
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks.bench import peak_rates, peaks
from benchmarks.bench.peaks import PeakError, copy_bytes, default_threads, measure_peaks


class Clock:
    """Time that passes a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_rates, "time", Clock())
    monkeypatch.setattr(peak_rates, "PRODUCT_SECONDS", 10.0)
    monkeypatch.setattr(peak_rates, "COPY_SECONDS", 10.0)


@pytest.mark.usefixtures("clock")
def test_operations_and_bytes_are_counted() -> None:
    """Each product and each copy takes one second of the made clock."""
    assert peak_rates.product_flops_per_s(64) == 2 * 64**3
    assert peak_rates.copy_bytes_per_s(3, 4 * 1000) == 2 * 4 * 1000


@pytest.mark.usefixtures("clock")
def test_every_thread_copies_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[tuple[int, int]] = []
    real = np.copyto

    def copyto(target: Any, source: Any) -> None:
        copied.append((target.size, source.size))
        real(target, source)

    monkeypatch.setattr(np, "copyto", copyto)
    peak_rates.copy_bytes_per_s(3, 4 * 1000)
    assert set(copied) == {(334, 334), (333, 333)}
    assert len(copied) % 3 == 0


def test_sizes_that_would_take_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def rate(size: int) -> float:
        asked.append(size)
        return {384: 1e10, 512: 1.1e10, 768: 0.9e10, 1024: 1.0e10}[size]

    monkeypatch.setattr(peak_rates, "product_flops_per_s", rate)
    assert peak_rates.best_flops_per_s() == 1.1e10
    assert asked == [384, 512, 768, 1024]  # 2048 would take 1.6 s


def test_peaks_of_this_machine() -> None:
    before = time.process_time()
    found = measure_peaks(1)
    assert found.threads == 1
    assert found.flops_per_s > 1e8  # any processor that runs NumPy
    assert found.bytes_per_s > 1e8
    assert time.process_time() - before < 1.0  # another process did the work


def test_threads_reach_every_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> SimpleNamespace:
        seen.append((command, env))
        return SimpleNamespace(stdout='{"flops_per_s": 4.0, "bytes_per_s": 2.0}')

    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setattr(subprocess, "run", run)
    found = measure_peaks(3)
    assert (found.flops_per_s, found.bytes_per_s, found.threads) == (4.0, 2.0, 3)
    ((command, env),) = seen
    assert command[-2] == "3"
    assert {env[name] for name in peaks.THREAD_VARIABLES} == {"3"}
    assert measure_peaks(None).threads == default_threads()


def test_default_is_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(logical: bool) -> int | None:
        assert not logical
        return physical

    monkeypatch.setattr(psutil, "cpu_count", count)
    monkeypatch.setattr(peaks, "usable_cores", lambda _: 8)  # pyright: ignore[reportUnknownLambdaType]
    physical = 4
    assert default_threads() == 4
    physical = 16
    assert default_threads() == 8
    physical = None
    assert default_threads() == 8


def test_copy_is_no_strain_on_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=800))
    assert copy_bytes() == 100
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**40))
    assert copy_bytes() == peak_rates.COPY_BYTES


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys; sys.exit('no BLAS here')", "measured: no BLAS here"),
        ("raise SystemExit(3)", "measured: exit status 3"),
        ("print('nothing of use')", "measured: JSON is malformed"),
    ],
)
def test_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, source: str, message: str
) -> None:
    path = tmp_path / "rates.py"
    path.write_text(source)
    monkeypatch.setattr(peak_rates, "__file__", os.fspath(path))
    with pytest.raises(PeakError, match=message):
        measure_peaks(1)


def test_process_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    path = tmp_path / "rates.py"
    path.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(peak_rates, "__file__", os.fspath(path))
    monkeypatch.setattr(peaks, "TIMEOUT_S", 0.2)
    with pytest.raises(PeakError, match="timed out after"):
        measure_peaks(1)
