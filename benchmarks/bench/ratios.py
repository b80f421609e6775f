"""The ratio of two subjects that were measured side by side, stage by stage, with its interval.

The run: sessions, in each a new process for every subject; in a session rounds, in which the
subjects take turns in alternating order. Three things disturb it, and each has its answer:

- Bursts of other programs' work. A call takes 9 ms, and 17 where the neighbouring core or the cache
  is taken: the samples come in heaps. A mean follows the tail, a median jumps from heap to heap.
  The ratio of a session is the median over the ratios of *pairs* of calls (the two-sample estimate
  of Hodges and Lehmann 1963, "Estimates of location based on rank tests", of logarithms). On
  recorded noise, two cores and a load average of 5 to 8, a session of 24 rounds had a standard
  deviation of 2.4 % by it, 4.2 by medians and 4.1 by means (U-Net calls; pictures 3.1, 3.7, 3.6).
- Drift: clocks, temperature, work of others that lasts seconds. A pair's calls are of the same
  round or of neighbouring ones, so both met the same machine.
- What a process keeps for life: where its memory lies, which threads sit where (Mytkowicz et al.
  2009, "Producing wrong data without doing anything obviously wrong!"). More rounds don't average
  that out, new processes do: the session is the unit, as Kalibera and Jones 2013, "Rigorous
  benchmarking in reasonable time", have it. The interval is Student's over the sessions' log
  ratios. It stays valid where some sessions are noisier than others, which is the rule (Ibragimov
  and Müller 2010, "t-statistic based correlation and heterogeneity robust inference": at 92 % and
  above it can only become too wide).

The confidence holds for all stages of a pair together (Bonferroni). Half of what may go wrong is
given to the whole picture and the U-Net's call, for which benchmarks are made, the other half to
the rest.

How much it takes, on two cores with a load average of 2 to 13 (resampled from 161 sessions of the
shapes bundle, one thread, pictures of 5 steps): 10 sessions of 24 rounds found a planted 5 % in 96
of 100 runs and called equal subjects different in 2; 15 of 12 found it in 83, 10 of 12 in 67, 5 of
24 in 50, 5 of 5 in 12; false alarms stayed at 1 to 3. `python -m benchmarks.harness_trials` shows
it.

What it can't see: what strikes a minority of the calls (that is what the percentiles are for); a
difference that all processes of a build share, such as the layout of its code; work of others that
falls in step with one subject's turns; and subjects that disturb each other by what they leave in
the caches.

Not taken: where the pairs' ratios lie densest. It looks twice as sharp where both subjects are the
same, since equal heaps pile up at 1, and isn't where they differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.results import PICTURE, STAGES, UNET_CALL, Ratio, Stage, Verdict
from benchmarks.bench.student import quantile

CONFIDENCE = 0.95
FEWEST_SESSIONS = 2
WINDOW = 1
"""How many rounds apart the calls of a pair may be."""

LONGEST_REACH = math.log(1000)
"""The interval of two sessions may leave the range of floats: it ends at a thousandfold."""

_FIRST = (PICTURE, UNET_CALL)

Floats = NDArray[np.float64]


def paired_ratios(
    above: Mapping[str, Stage],
    below: Mapping[str, Stage],
    *,
    subject: str,
    baseline: str,
    confidence: float = CONFIDENCE,
) -> tuple[Ratio, ...]:
    """The ratios of all stages that both subjects have in two sessions or more.

    Args:
        above: stages of the subject above the line, in the order in which they were measured.
        below: of the one below, measured in turns with it.
        subject: name of the one above.
        baseline: name of the one below.
        confidence: of all intervals together, between 0 and 1.

    Returns:
        In the order of `STAGES`; none where there are fewer than two sessions, since what a process
        brings along can't be told then.

    Raises:
        ValueError: the confidence is out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1; given {confidence}")
    logs = {name: session_logs(name, above, below) for name in STAGES}
    enough = {name: found for name, found in logs.items() if len(found) >= FEWEST_SESSIONS}
    outside = outside_shares(tuple(enough), 1 - confidence)
    intervals = {name: t_interval(found, outside[name]) for name, found in enough.items()}
    return tuple(
        Ratio(
            stage=name,
            subject=subject,
            baseline=baseline,
            estimate=estimate,
            low=low,
            high=high,
            confidence=confidence,
            pairs=_pairs(name, above, below),
            verdict=verdict(low, high),
        )
        for name, (estimate, low, high) in intervals.items()
    )


def session_logs(name: str, above: Mapping[str, Stage], below: Mapping[str, Stage]) -> list[float]:
    """The log ratio of a stage in each session that both subjects have."""
    return [float(np.median(_pair_logs(*session))) for session in _sessions(name, above, below)]


def outside_shares(stages: Sequence[str], outside: float) -> dict[str, float]:
    """How much of the error that is allowed in all falls to each stage."""
    first = [name for name in stages if name in _FIRST]
    rest = [name for name in stages if name not in _FIRST]
    if not first or not rest:
        return {name: outside / len(stages) for name in stages}
    shares = {name: outside / 2 / len(first) for name in first}
    return shares | {name: outside / 2 / len(rest) for name in rest}


def t_interval(logs: Sequence[float], outside: float) -> tuple[float, float, float]:
    """Estimate, low and high of a ratio from independent log ratios, two or more."""
    values = np.array(logs, dtype=np.float64)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = min(quantile(outside, len(values) - 1) * error, LONGEST_REACH)
    middle = float(values.mean())
    return math.exp(middle), math.exp(middle - reach), math.exp(middle + reach)


def verdict(low: float, high: float) -> Verdict:
    """What an interval of a ratio allows to say."""
    return "slower" if low > 1 else "faster" if high < 1 else "no difference"


def _sessions(
    name: str, above: Mapping[str, Stage], below: Mapping[str, Stage]
) -> list[tuple[Floats, Floats]]:
    """The logarithms of both subjects, [rounds, calls] each, by session."""
    if name not in above or name not in below:
        return []
    both = zip(_rounds(name, above), _rounds(name, below), strict=False)
    return [(one, other) for one, other in both if one.size and other.size]


def _rounds(name: str, stages: Mapping[str, Stage]) -> list[Floats]:
    """A stage's samples as logarithms [rounds, calls of a round], by session.

    A round is a picture. Where the samples are not so many a picture, as the one of a load, each is
    a round of its own.
    """
    pictures = stages[PICTURE].sessions if PICTURE in stages else ()
    found: list[Floats] = []
    for index, samples in enumerate(stages[name].sessions):
        drawn = len(pictures[index]) if index < len(pictures) else 0
        calls = len(samples) // drawn if drawn and len(samples) % drawn == 0 else 1
        found.append(np.log(samples).reshape(-1, max(calls, 1)))
    return found


def _pair_logs(above: Floats, below: Floats) -> Floats:
    """The log ratios of all pairs of calls whose rounds are at most `WINDOW` apart."""
    near = (below[max(0, i - WINDOW) : i + WINDOW + 1] for i in range(len(above)))
    pairs = [
        np.subtract.outer(row, others).ravel() for row, others in zip(above, near, strict=True)
    ]
    return np.concatenate(pairs)


def _pairs(name: str, above: Mapping[str, Stage], below: Mapping[str, Stage]) -> int:
    """Rounds that both subjects have."""
    return sum(min(len(one), len(other)) for one, other in _sessions(name, above, below))
