"""How steady the machine was: what others took of it, and whether it slowed itself down."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import structs

from benchmarks.bench.fixed_calculation import ReferenceTime, time_reference
from benchmarks.bench.results import Noise
from benchmarks.bench.sensors import Sensors, read_sensors
from benchmarks.bench.statistics import summarize
from benchmarks.bench.system_load import ProcessorTime, load_average, own_seconds, processor_time

OTHERS_MEAN = 0.05
"""Share of all processor time that others may take of a quiet machine, over the run. Where the run
uses all cores, its times grow by about as much: by 5 %, the difference that people look for. An
idle virtual machine's own services took 0.5 % here, a loop on one of two cores takes 50 %."""
OTHERS_MAX = 0.15
"""The same, in the worst round: medians bear one."""
STOLEN = 0.01
"""By the hypervisor; 0.4 % at most was seen here while the guest itself was fully busy."""
UNEVEN = 0.1
"""Of the undisturbed reference, 90th percentile above the least: a hypervisor that tells no stolen
time, or a neighbour on the other thread of a core. Load by others alone gave 0.6 to 1.6 % here, at
98 % of all processor time."""
THROTTLED_DRIFT = 0.05
"""Load by others alone, at 98 %, gave 0.3 % at most."""
THROTTLED_FREQUENCY = -0.1
"""Clocks of idle and busy cores differ by more, but only the fastest core's is looked at."""

LEAST_SPAN_S = 0.5
"""Shares are taken over rounds of this length at least, shorter ones together: the system counts
time in ticks of 10 ms."""


@dataclass(frozen=True)
class Probes:
    """Where the figures come from; made ones in tests."""

    processor: Callable[[], ProcessorTime] = processor_time
    own: Callable[[Iterable[int]], float] = own_seconds
    reference: Callable[[], ReferenceTime] = time_reference
    sensors: Callable[[], Sensors] = read_sensors
    load: Callable[[], float | None] = load_average
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class _Moment:
    clock: float
    processor: ProcessorTime
    own: float


@dataclass
class _Seen:
    """What the ticks told so far."""

    references: list[ReferenceTime] = field(default_factory=list[ReferenceTime])
    sensors: list[Sensors] = field(default_factory=list[Sensors])
    shares: list[float] = field(default_factory=list[float])


class NoiseWatch:
    """Watches the machine during a run: `start`, `tick` between rounds, `finish`.

    A tick takes some 20 ms, the reference calculation.
    """

    def __init__(self, probes: Probes | None = None) -> None:
        self._probes = probes or Probes()
        self._seen = _Seen()
        self._own: Callable[[], set[int]] = set
        self._load_before: float | None = None
        self._begin: _Moment | None = None
        self._last: _Moment | None = None

    @property
    def reference_ms(self) -> list[float]:
        """Milliseconds of the reference calculation at `start`, at each tick and at `finish`."""
        return [reference.whole_ms for reference in self._seen.references]

    @property
    def others_shares(self) -> list[float]:
        """Share of all processor time that others took, of each half second or longer round."""
        return list(self._seen.shares)

    def start(self, own: Callable[[], set[int]]) -> None:
        """Begins to watch.

        Args:
            own: numbers of the processes that belong to the run, asked for at every tick. This
                process and those of its children that have ended are among them by themselves.
        """
        self._own = own
        self._load_before = self._probes.load()
        self._probes.reference()  # the first brings caches and clock up
        self._begin = self._last = self._moment()
        self._look()

    def tick(self) -> float:
        """Ends a round; between this and the next call the next one runs.

        Returns:
            Milliseconds of the reference calculation.
        """
        last, now = self._last, self._moment()
        if last is None:
            raise RuntimeError("NoiseWatch.tick comes after start")
        if now.clock - last.clock >= LEAST_SPAN_S:
            share = _others(last, now)
            self._seen.shares += [] if share is None else [share]
            self._last = now
        return self._look()

    def finish(self) -> Noise:
        """Ends watching; the figures and what they mean."""
        self.tick()
        begin, end = self._begin, self._moment()
        assert begin is not None  # or `tick` had raised
        shares = self._seen.shares
        others = _others(begin, end)
        return judge(
            Noise(
                load_before=self._load_before,
                others_share=others,
                others_share_max=max(shares) if shares else others,
                steal_share=_share(begin, end, end.processor.stolen - begin.processor.stolen),
                reference=summarize([self.reference_ms]),
                drift=_drift(self._seen.references),
                frequency_drop=_frequency_drop(self._seen.sensors),
                temperature_c=max(
                    (s.temperature_c for s in self._seen.sensors if s.temperature_c is not None),
                    default=None,
                ),
                verdict="quiet",
            ),
            uneven=_uneven(self._seen.references),
            throttled=_throttled(self._seen.sensors),
        )

    def _moment(self) -> _Moment:
        pids = self._own() | {os.getpid()}
        return _Moment(self._probes.clock(), self._probes.processor(), self._probes.own(pids))

    def _look(self) -> float:
        self._seen.references.append(self._probes.reference())
        # Right after the calculation, while its core is at the clock that it works with.
        self._seen.sensors.append(self._probes.sensors())
        return self._seen.references[-1].whole_ms


def judge(noise: Noise, *, uneven: float, throttled: int) -> Noise:
    """The same figures with the verdict and its reasons.

    A machine is throttled where the processor says so, where its frequency fell, or where the same
    calculation became slower though nobody else worked. Where others did, it is noisy.

    Args:
        noise: all figures.
        uneven: undisturbed reference, 90th percentile by the least, less 1.
        throttled: how often the processor told that it throttled, during the run.
    """
    others = _others_work(noise)
    slowed = _throttling(noise, throttled, others_worked=bool(others))
    noisy = others + _unevenness(noise, uneven)
    return structs.replace(
        noise,
        verdict="throttled" if slowed else "noisy" if noisy else "quiet",
        reasons=(*slowed, *noisy),
    )


def _others_work(noise: Noise) -> list[str]:
    reasons: list[str] = []
    if noise.others_share is not None and noise.others_share > OTHERS_MEAN:
        reasons.append(
            f"processes outside the run took {noise.others_share:.0%} of all processor time; "
            f"on a quiet machine it is under {OTHERS_MEAN:.0%}"
        )
    if noise.others_share_max is not None and noise.others_share_max > OTHERS_MAX:
        reasons.append(
            f"in the worst round they took {noise.others_share_max:.0%}, more than {OTHERS_MAX:.0%}"
        )
    if noise.steal_share is not None and noise.steal_share > STOLEN:
        reasons.append(f"the hypervisor took {noise.steal_share:.1%} of the time away")
    return reasons


def _unevenness(noise: Noise, uneven: float) -> list[str]:
    reasons: list[str] = []
    if uneven > UNEVEN:
        reasons.append(
            f"the speed of one and the same calculation varied by {uneven:.0%}, "
            f"more than {UNEVEN:.0%}"
        )
    if noise.drift < -THROTTLED_DRIFT:
        reasons.append(f"the machine became {-noise.drift:.0%} faster during the run")
    return reasons


def _throttling(noise: Noise, throttled: int, *, others_worked: bool) -> list[str]:
    reasons: list[str] = []
    if throttled:
        reasons.append(f"the processor told {throttled} times that it throttled")
    if noise.frequency_drop is not None and noise.frequency_drop < THROTTLED_FREQUENCY:
        reasons.append(f"its frequency fell by {-noise.frequency_drop:.0%}")
    if noise.drift > THROTTLED_DRIFT and not others_worked:
        reasons.append(
            f"one and the same calculation became {noise.drift:.0%} slower during the run, "
            "though nobody else worked"
        )
    return reasons


def _share(begin: _Moment, end: _Moment, seconds: float) -> float | None:
    total = end.processor.total - begin.processor.total
    return min(1.0, max(0.0, seconds / total)) if total > 0 else None


def _others(begin: _Moment, end: _Moment) -> float | None:
    busy = end.processor.busy - begin.processor.busy
    return _share(begin, end, busy - (end.own - begin.own))


def _drift(references: Sequence[ReferenceTime]) -> float:
    """Of the undisturbed times: those of the clock, which others' load doesn't alter."""
    times = [reference.undisturbed_ms for reference in references]
    third = max(1, len(times) // 3)
    return statistics.median(times[-third:]) / statistics.median(times[:third]) - 1


def _uneven(references: Sequence[ReferenceTime]) -> float:
    times = [reference.undisturbed_ms for reference in references]
    return float(np.percentile(times, 90)) / min(times) - 1


def _frequency_drop(sensors: Sequence[Sensors]) -> float | None:
    told = [s.frequency_mhz for s in sensors if s.frequency_mhz is not None]
    return min(told) / max(told) - 1 if told else None


def _throttled(sensors: Sequence[Sensors]) -> int:
    told = [s.throttled for s in sensors if s.throttled is not None]
    return told[-1] - told[0] if told else 0
