"""The watch on noise: shares from made counters, each reason of each verdict, and real load."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from msgspec import structs

from benchmarks.bench.fixed_calculation import ReferenceTime
from benchmarks.bench.noise import NoiseWatch, Probes, judge
from benchmarks.bench.results import Noise, Summary
from benchmarks.bench.sensors import Sensors
from benchmarks.bench.system_load import ProcessorTime, own_seconds, processor_time

EVEN = ReferenceTime(20.0, 20.0)
WARM = Sensors(3000.0, 50.0, 4)


@dataclass
class Computer:
    """A machine of two cores whose time the test passes."""

    now: float = 100.0
    busy: float = 50.0
    stolen: float = 0.0
    own: float = 7.0
    reference: ReferenceTime = EVEN
    sensors: Sensors = WARM
    asked: list[set[int]] = field(default_factory=list[set[int]])

    def run(self, seconds: float, *, own: float, others: float, stolen: float = 0.0) -> None:
        self.now += seconds
        self.busy += own + others
        self.own += own
        self.stolen += stolen

    def own_seconds(self, pids: Iterable[int]) -> float:
        self.asked.append(set(pids))
        return self.own

    def probes(self) -> Probes:
        return Probes(
            processor=lambda: ProcessorTime(2 * self.now, self.busy, self.stolen),
            own=self.own_seconds,
            reference=lambda: self.reference,
            sensors=lambda: self.sensors,
            load=lambda: 0.25,
            clock=lambda: self.now,
        )


@pytest.fixture
def computer() -> Computer:
    return Computer()


@pytest.fixture
def watch(computer: Computer) -> NoiseWatch:
    made = NoiseWatch(computer.probes())
    made.start(lambda: {41, 42})
    return made


def test_quiet_run(computer: Computer, watch: NoiseWatch) -> None:
    for reference in (19.0, 21.0, 23.0):
        computer.run(1.0, own=1.9, others=0.01)
        computer.reference = ReferenceTime(reference, 19.5)
        assert watch.tick() == reference
    noise = watch.finish()
    assert noise.others_share == pytest.approx(0.005)
    assert noise.others_share_max == pytest.approx(0.005)
    assert (noise.steal_share, noise.load_before, noise.temperature_c) == (0.0, 0.25, 50.0)
    assert (noise.verdict, noise.reasons) == ("quiet", ())
    assert watch.reference_ms == [20.0, 19.0, 21.0, 23.0, 23.0]
    assert (noise.reference.n, noise.reference.p50, noise.reference.max) == (5, 21.0, 23.0)
    assert noise.reference.spread == pytest.approx(3 / 21)
    assert computer.asked[0] == {41, 42, os.getpid()}


def test_worst_round_is_told(computer: Computer, watch: NoiseWatch) -> None:
    for others in (0.0, 0.0, 0.0, 0.5, 0.0, 0.0):
        computer.run(2.0, own=1.0, others=others)
        watch.tick()
    noise = watch.finish()
    assert noise.others_share == pytest.approx(0.5 / 24)
    assert noise.others_share_max == pytest.approx(0.125)
    assert noise.verdict == "quiet"
    computer.run(1.0, own=1.0, others=0.4)
    noise = watch.finish()
    assert noise.others_share_max == pytest.approx(0.2)
    assert noise.verdict == "noisy"
    assert noise.reasons == ("in the worst round they took 20%, more than 15%",)


def test_short_rounds_are_taken_together(computer: Computer, watch: NoiseWatch) -> None:
    for _ in range(10):
        computer.run(0.125, own=0.1, others=0.02)
        watch.tick()
    assert watch.others_shares == pytest.approx([0.08, 0.08])


def test_counters_that_stand_still_give_no_share(computer: Computer) -> None:
    watch = NoiseWatch(structs_probes(computer))
    watch.start(set)
    computer.run(1.0, own=0.0, others=0.0)
    noise = watch.finish()
    assert (noise.others_share, noise.others_share_max, noise.steal_share) == (None, None, None)
    assert noise.verdict == "quiet"


def structs_probes(computer: Computer) -> Probes:
    made = computer.probes()
    return Probes(
        processor=lambda: ProcessorTime(0.0, 0.0, 0.0),
        own=made.own,
        reference=made.reference,
        sensors=lambda: Sensors(None, None, None),
        load=lambda: None,
        clock=made.clock,
    )


def test_others_load_is_noise(computer: Computer, watch: NoiseWatch) -> None:
    computer.run(1.0, own=1.0, others=0.9, stolen=0.05)
    noise = watch.finish()
    assert noise.verdict == "noisy"
    assert noise.reasons == (
        "processes outside the run took 45% of all processor time; on a quiet machine it is "
        "under 5%",
        "in the worst round they took 45%, more than 15%",
        "the hypervisor took 2.5% of the time away",
    )


def slow_down(computer: Computer, watch: NoiseWatch, factor: float, others: float) -> Noise:
    for i in range(9):
        computer.run(1.0, own=1.0, others=others)
        time_ms = 20.0 * (1 + (factor - 1) * i / 8)
        computer.reference = ReferenceTime(1.5 * time_ms, time_ms)
        watch.tick()
    return watch.finish()


def test_slower_clock_is_throttling_where_nobody_else_works(
    computer: Computer, watch: NoiseWatch
) -> None:
    noise = slow_down(computer, watch, factor=1.09, others=0.0)
    assert noise.drift == pytest.approx(0.09)
    assert noise.verdict == "throttled"
    (reason,) = noise.reasons
    assert reason == (
        "one and the same calculation became 9% slower during the run, though nobody else worked"
    )


def test_much_slower_clock_is_throttling_still(computer: Computer, watch: NoiseWatch) -> None:
    noise = slow_down(computer, watch, factor=1.4, others=0.0)
    assert noise.verdict == "throttled"
    assert [reason.split(",")[0] for reason in noise.reasons] == [
        "one and the same calculation became 40% slower during the run",
        "the speed of one and the same calculation varied by 40%",
    ]


def test_slower_clock_is_noise_where_others_work(computer: Computer, watch: NoiseWatch) -> None:
    noise = slow_down(computer, watch, factor=1.09, others=0.4)
    assert noise.drift > 0.05
    assert noise.verdict == "noisy"


def test_faster_and_uneven_clock_is_noise(computer: Computer, watch: NoiseWatch) -> None:
    noise = slow_down(computer, watch, factor=0.8, others=0.0)
    assert noise.verdict == "noisy"
    uneven, faster = noise.reasons
    assert uneven.startswith("the speed of one and the same calculation varied by 2")
    assert faster == "the machine became 20% faster during the run"


def test_processor_that_tells_is_believed(computer: Computer, watch: NoiseWatch) -> None:
    computer.run(1.0, own=1.0, others=0.0)
    computer.sensors = Sensors(2400.0, 95.0, 6)
    noise = watch.finish()
    assert noise.frequency_drop == pytest.approx(-0.2)
    assert noise.temperature_c == 95.0
    assert noise.verdict == "throttled"
    assert noise.reasons == (
        "the processor told 2 times that it throttled",
        "its frequency fell by 20%",
    )


SUMMARY = Summary(n=1, min=20, p50=20, p90=20, p95=20, p99=20, max=20, spread=0)
STEADY = Noise(
    load_before=None,
    others_share=0.049,
    others_share_max=0.149,
    steal_share=0.009,
    reference=SUMMARY,
    drift=0.049,
    frequency_drop=-0.09,
    temperature_c=None,
    verdict="quiet",
)


def test_just_under_every_threshold_is_quiet() -> None:
    assert judge(STEADY, uneven=0.09, throttled=0).verdict == "quiet"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"others_share": 0.051}, "noisy"),
        ({"others_share_max": 0.151}, "noisy"),
        ({"steal_share": 0.011}, "noisy"),
        ({"drift": -0.051}, "noisy"),
        ({"drift": 0.051}, "throttled"),
        ({"frequency_drop": -0.11}, "throttled"),
        ({"frequency_drop": -0.11, "others_share": 0.3}, "throttled"),
    ],
)
def test_just_over_each_threshold_is_not(changed: dict[str, float], verdict: str) -> None:
    found = judge(structs.replace(STEADY, **changed), uneven=0.0, throttled=0)
    assert found.verdict == verdict
    assert found.reasons


def test_uneven_speed_and_told_throttling() -> None:
    assert judge(STEADY, uneven=0.11, throttled=0).verdict == "noisy"
    assert judge(STEADY, uneven=0.0, throttled=1).verdict == "throttled"


def test_tick_before_start_is_refused() -> None:
    with pytest.raises(RuntimeError, match="comes after start"):
        NoiseWatch().tick()


def test_real_load_beside_the_run_is_seen_and_own_load_is_not() -> None:
    """A loop, watched as another's and as the run's own: its time is all that they differ by."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        try:
            watches = [started(set()), started({loop.pid})]
            began, own = processor_time(), own_seconds([loop.pid])
            while own_seconds([loop.pid]) < own + 0.5:
                time.sleep(0.05)
            alien, known = (watch.finish() for watch in watches)
            total = processor_time().total - began.total
            taken = (own_seconds([loop.pid]) - own) / total
        finally:
            loop.kill()
    assert alien.others_share is not None
    assert known.others_share is not None
    assert alien.others_share - known.others_share == pytest.approx(taken, rel=0.3)


def started(pids: set[int]) -> NoiseWatch:
    watch = NoiseWatch()
    watch.start(lambda: pids)
    return watch
