"""The ratio of a stage in two runs that did not take turns, with what the machine may have done.

A run's own sessions tell how far its sessions differ; they can't tell that the whole run met a
slower machine. Two figures of a run can: a fixed calculation that is timed between the rounds, and
the share of the processors that others left. Neither slows down exactly as a stage does, so nothing
is divided by them. Each is taken as what may explain a change, wholly or not at all, and the
interval holds every case.

On two cores at load averages of 2 to 13, where the same call took 9 to 38 ms, no pair out of 182 of
equal runs was told apart (10 sessions each), and 5 % more work was told in 6: what that takes is
turns, in one run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.bench.ratios import FEWEST_SESSIONS, LONGEST_REACH, Floats
from benchmarks.bench.results import Noise, Stage
from benchmarks.bench.student import quantile

_LEAST_FREE = 0.05


@dataclass(frozen=True)
class Change:
    """By how much something is worse: 0.05 is 5 %, below 0 it is better.

    Attributes:
        worse: the estimate; of several cases the one nearest to no change.
        low: lower end of the interval.
        high: upper end.
    """

    worse: float
    low: float
    high: float


@dataclass(frozen=True)
class MachineChange:
    """How much longer the same work may have taken in the new run because of the machine.

    Attributes:
        reference: ratio of the medians of the fixed calculation, new by old; 1 where unknown.
        free: ratio of the processor share that others left, old by new; 1 where unknown.
    """

    reference: float = 1.0
    free: float = 1.0

    @classmethod
    def between(cls, old: Noise | None, new: Noise | None) -> MachineChange:
        """From what two runs noted of their machine; nothing where one noted nothing."""
        if old is None or new is None:
            return cls()
        before, after = _free(old), _free(new)
        free = 1.0 if before is None or after is None else before / after
        return cls(new.reference.p50 / old.reference.p50, free)

    @property
    def cases(self) -> tuple[float, ...]:
        """Logarithms of what a change may owe to the machine."""
        return 0.0, math.log(self.reference), math.log(self.free)


def stage_change(old: Stage, new: Stage, machine: MachineChange, outside: float) -> Change | None:
    """How much longer a stage takes in the new run.

    The logarithm of a session's median is one value; Welch's interval (1947) of the difference of
    their means lets one run be noisier than the other. Its degrees of freedom are rounded down.

    Args:
        old: the stage in the old run.
        new: in the new one.
        machine: what the machine may have done.
        outside: probability outside the interval.

    Returns:
        None where a run has fewer than two sessions, which tell nothing of how sessions differ.
    """
    before, after = _medians(old), _medians(new)
    if min(len(before), len(after)) < FEWEST_SESSIONS:
        return None
    reach = _welch_reach(before, after, outside)
    middles = [float(after.mean() - before.mean()) - case for case in machine.cases]
    crossed = min(middles) <= 0 <= max(middles)
    nearest = 0.0 if crossed else min(middles, key=abs)
    ends = (nearest, min(middles) - reach, max(middles) + reach)
    return Change(*(math.expm1(end) for end in ends))


def middle_ms(stage: Stage) -> float:
    """What `stage_change` compares: the geometric mean of the sessions' medians, milliseconds."""
    return math.exp(float(_medians(stage).mean()))


def _medians(stage: Stage) -> Floats:
    return np.array([math.log(np.median(session)) for session in stage.sessions if session])


def _welch_reach(before: Floats, after: Floats, outside: float) -> float:
    """How far the interval of a difference of two means reaches to each side."""
    parts = [float(values.var(ddof=1)) / len(values) for values in (before, after)]
    total = sum(parts)
    if total == 0:
        return 0.0
    below = sum(part**2 / (len(v) - 1) for part, v in zip(parts, (before, after), strict=True))
    degrees = max(int(total**2 / below), 1)
    return min(quantile(outside, degrees) * math.sqrt(total), LONGEST_REACH)


def _free(noise: Noise) -> float | None:
    """The share of the processors that others left; None where it isn't known."""
    if noise.others_share is None:
        return None
    return max(1 - noise.others_share - (noise.steal_share or 0.0), _LEAST_FREE)
