"""The fixed calculation: its parts add up, and one slow part is no slow clock."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bench import fixed_calculation
from benchmarks.bench.fixed_calculation import CHUNKS, time_reference


class Clock:
    """Each part takes 2 ms, the fourth one 50."""

    def __init__(self) -> None:
        parts = [0.002] * CHUNKS
        parts[3] = 0.05
        self.times = [moment for part in parts for moment in (0.0, part)]

    def perf_counter(self) -> float:
        return self.times.pop(0)


def test_whole_and_undisturbed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_calculation, "time", Clock())
    found = time_reference()
    assert found.whole_ms == pytest.approx(2 * (CHUNKS - 1) + 50)
    assert found.undisturbed_ms == pytest.approx(2 * CHUNKS)


def test_calculation_is_done_and_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result is its input again, and no argument takes a slow path of the functions."""
    monkeypatch.setattr(fixed_calculation, "REPEATS", 2)
    x = fixed_calculation._X.copy()  # pyright: ignore[reportPrivateUsage]
    time_reference()
    y = fixed_calculation._Y  # pyright: ignore[reportPrivateUsage]
    np.testing.assert_array_equal(fixed_calculation._X, x)  # pyright: ignore[reportPrivateUsage]
    np.testing.assert_allclose(y, x, rtol=1e-15, atol=1e-15)
