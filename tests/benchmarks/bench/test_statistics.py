"""Percentiles of a stage's samples."""

from __future__ import annotations

import math

import pytest

from benchmarks.bench.statistics import stage, summarize


def test_percentiles_are_interpolated_over_all_sessions() -> None:
    found = summarize([[50.0, 10.0, 20.0], [40.0, 30.0]])
    assert (found.n, found.min, found.p50, found.max) == (5, 10.0, 30.0, 50.0)
    # Position p·(n - 1) among the sorted samples: 3.6, 3.8 and 3.96 of [10, 20, 30, 40, 50].
    assert (found.p90, found.p95, found.p99) == pytest.approx((46.0, 48.0, 49.6), rel=1e-12)
    assert found.spread == pytest.approx((40 - 20) / 30, rel=1e-12)


def test_one_sample_is_every_percentile() -> None:
    found = summarize([[], [7.0]])
    assert (found.n, found.min, found.p50, found.p99, found.max, found.spread) == (1, 7, 7, 7, 7, 0)


def test_stage_keeps_the_samples_in_their_order() -> None:
    found = stage([[3.0, 1.0], [2]])
    assert found.sessions == ((3.0, 1.0), (2.0,))
    assert found.summary == summarize([[3.0, 1.0], [2.0]])


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample; given none"):
        summarize([[], []])


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_time_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"milliseconds above 0; given {wrong}"):
        summarize([[1.0, wrong]])
