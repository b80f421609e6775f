"""Order statistics of a stage's samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.bench.results import Stage, Summary

PERCENTILES = (0, 25, 50, 75, 90, 95, 99, 100)


def summarize(sessions: Sequence[Sequence[float]]) -> Summary:
    """Percentiles of all samples, whichever session they are from.

    Args:
        sessions: milliseconds by session, each above 0; a session may be empty, not all of them.

    Returns:
        Percentiles interpolated linearly between the two nearest samples (Hyndman and Fan's
        definition 7, NumPy's default).

    Raises:
        ValueError: there is no sample, or one is no time above 0.
    """
    samples = np.array([sample for session in sessions for sample in session], dtype=np.float64)
    if not samples.size:
        raise ValueError("a stage needs at least one sample; given none")
    wrong = samples[~(np.isfinite(samples) & (samples > 0))]
    if wrong.size:
        raise ValueError(f"samples are milliseconds above 0; given {wrong[0]}")
    least, p25, p50, p75, p90, p95, p99, largest = np.percentile(samples, PERCENTILES).tolist()
    return Summary(
        n=samples.size,
        min=least,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        max=largest,
        spread=(p75 - p25) / p50,
    )


def stage(sessions: Sequence[Sequence[float]]) -> Stage:
    """A stage: its samples and their summary.

    Raises:
        ValueError: as `summarize` does.
    """
    kept = tuple(tuple(float(sample) for sample in session) for session in sessions)
    return Stage(sessions=kept, summary=summarize(kept))
