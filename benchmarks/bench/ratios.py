"""The ratio of two subjects that were measured side by side, stage by stage, with its interval.

The run: sessions, in each a new process for every subject; in a session rounds, in which the
subjects take turns in alternating order. Three things disturb it, and each has its answer:

- Bursts of other programs' work. A call takes 9 ms, and 17 where the neighbouring core or the cache
  is taken: the samples have two or three heaps. Means follow the tail, and the median of a subject
  jumps from heap to heap. The ratio of a session is the median over the ratios of *pairs* of calls
  (Hodges and Lehmann 1963, "Estimates of location based on rank tests", for two samples, on
  logarithms), which does neither.
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

What it can't see: a difference that every process of a machine shares with its build (the layout of
the code), work of others that falls in step with one subject's turns, and two subjects that disturb
each other by what they leave in the caches.
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
    subject: Mapping[str, Stage],
    baseline: Mapping[str, Stage],
    *,
    subject_name: str,
    baseline_name: str,
    confidence: float = CONFIDENCE,
) -> tuple[Ratio, ...]:
    """The ratios subject by baseline of all stages that both have in two sessions or more.

    Args:
        subject: stages of the one above the line, sessions and rounds in the order of the run.
        baseline: of the one below, measured in turns with it.
        subject_name: for the result.
        baseline_name: for the result.
        confidence: of all intervals together, between 0 and 1.

    Returns:
        In the order of `STAGES`; none where there are fewer than two sessions, since what a process
        brings along can't be told then.

    Raises:
        ValueError: the confidence is out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1; given {confidence}")
    logs = {name: session_logs(name, subject, baseline) for name in STAGES}
    enough = {name: found for name, found in logs.items() if len(found) >= FEWEST_SESSIONS}
    outside = outside_shares(tuple(enough), 1 - confidence)
    ratios: list[Ratio] = []
    for name, found in enough.items():
        estimate, low, high = t_interval(found, outside[name])
        ratios.append(
            Ratio(
                stage=name,
                subject=subject_name,
                baseline=baseline_name,
                estimate=estimate,
                low=low,
                high=high,
                confidence=confidence,
                pairs=_pairs(name, subject, baseline),
                verdict=verdict(low, high),
            )
        )
    return tuple(ratios)


def session_logs(
    name: str, subject: Mapping[str, Stage], baseline: Mapping[str, Stage]
) -> list[float]:
    """The log ratio of a stage in each session that both subjects have."""
    return [
        float(np.median(_pair_logs(above, below)))
        for above, below in _by_session(name, subject, baseline)
    ]


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


def _by_session(
    name: str, subject: Mapping[str, Stage], baseline: Mapping[str, Stage]
) -> list[tuple[Floats, Floats]]:
    """Logarithms by session and round: a pair of arrays [rounds, calls] for each session."""
    if name not in subject or name not in baseline:
        return []
    sessions = zip(_rounds(name, subject), _rounds(name, baseline), strict=False)
    return [(above, below) for above, below in sessions if above.size and below.size]


def _rounds(name: str, stages: Mapping[str, Stage]) -> list[Floats]:
    """A stage's samples as logarithms [rounds, calls of a round], by session.

    A round is a picture. Where the samples are not so many a picture, as the one of a load, each is
    a round of its own.
    """
    pictures = stages[PICTURE].sessions if PICTURE in stages else ()
    found: list[Floats] = []
    for index, samples in enumerate(stages[name].sessions):
        drawn = len(pictures[index]) if index < len(pictures) else 0
        whole = drawn > 0 and len(samples) % drawn == 0
        found.append(np.log(samples).reshape(drawn if whole else len(samples), -1))
    return found


def _pair_logs(above: Floats, below: Floats) -> Floats:
    """The log ratios of all pairs of calls whose rounds are at most `WINDOW` apart."""
    return np.concatenate(
        [
            np.subtract.outer(row, below[max(0, i - WINDOW) : i + WINDOW + 1]).ravel()
            for i, row in enumerate(above)
        ]
    )


def _pairs(name: str, subject: Mapping[str, Stage], baseline: Mapping[str, Stage]) -> int:
    sessions = _by_session(name, subject, baseline)
    return sum(min(len(above), len(below)) for above, below in sessions)
