"""What two runs that did not take turns allow to say of a stage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.bench.between_runs import MachineChange, stage_change
from benchmarks.bench.results import Stage
from benchmarks.bench.statistics import stage
from tests.benchmarks.bench.reports import noise

STEADY = MachineChange()


def levels(*medians: float) -> Stage:
    return stage([[median] for median in medians])


def test_interval_is_welchs_of_the_sessions_median_logarithms() -> None:
    # By hand: variances 1e-4 and 4e-4 of 3 sessions each, in logarithms; a difference of 0.05.
    old = levels(*np.exp([0.99, 1.0, 1.01]))
    new = levels(*np.exp([1.03, 1.05, 1.07]))
    found = stage_change(old, new, STEADY, 0.05)
    parts = 1e-4 / 3, 4e-4 / 3
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 2)
    assert int(degrees) == 2
    reach = 4.302652729696142 * math.sqrt(sum(parts))
    assert found is not None
    expected = [math.expm1(each) for each in (0.05, 0.05 - reach, 0.05 + reach)]
    assert [found.worse, found.low, found.high] == pytest.approx(expected, rel=1e-9)


def test_the_median_of_a_session_counts_not_its_bursts() -> None:
    found = stage_change(
        stage([[10.0, 10.0, 10.0], [10.0, 10.0, 10.0]]),
        stage([[10.0, 90.0, 10.0], [10.0, 10.0, 70.0]]),
        STEADY,
        0.05,
    )
    assert found is not None
    assert (found.worse, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_slower_machine_explains_a_change_as_far_as_it_was_slower() -> None:
    old, new = levels(10.0, 10.0, 10.0), levels(11.0, 11.0, 11.0)
    for machine, low, high in (
        (MachineChange(reference=1.1), 0.0, 0.1),
        (MachineChange(free=1.1), 0.0, 0.1),
        (MachineChange(reference=1.05), 1.1 / 1.05 - 1, 0.1),
        (MachineChange(reference=1 / 1.1), 0.1, 0.21),
    ):
        found = stage_change(old, new, machine, 0.05)
        assert found is not None
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
        assert found.worse == pytest.approx(low, abs=1e-12)


def test_where_the_cases_contradict_each_other_the_estimate_is_no_change() -> None:
    # 4 % slower as measured, and the machine itself was 10 % slower.
    found = stage_change(levels(10.0, 10.0), levels(10.4, 10.4), MachineChange(1.1), 0.05)
    assert found is not None
    assert found.worse == 0.0
    assert (found.low, found.high) == pytest.approx((1.04 / 1.1 - 1, 0.04), rel=1e-9)


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1)])
def test_fewer_than_two_sessions_tell_nothing(old: int, new: int) -> None:
    assert stage_change(levels(*[1.0] * old), levels(*[1.0] * new), STEADY, 0.05) is None


def test_empty_sessions_are_no_sessions() -> None:
    assert stage_change(stage([[1.0], []]), levels(1.0, 1.0), STEADY, 0.05) is None


def test_change_of_the_machine_comes_from_both_runs() -> None:
    found = MachineChange.between(noise(10.0, 0.1), noise(12.0, 0.4, steal_share=0.1))
    assert found.reference == pytest.approx(1.2)
    assert found.free == pytest.approx(0.9 / 0.5)


def test_what_a_run_did_not_note_changes_nothing() -> None:
    assert MachineChange.between(None, noise()) == MachineChange.between(noise(), None) == STEADY
    assert MachineChange.between(noise(10.0, None), noise(10.0, 0.5)) == STEADY


def test_a_machine_that_others_took_wholly_is_not_divided_by() -> None:
    assert MachineChange.between(noise(others=0.0), noise(others=1.0)).free == pytest.approx(20)


def test_the_truth_lies_in_the_interval_as_often_as_it_says() -> None:
    # Welch's interval is a little off with few sessions; rounded down it stays on the safe side.
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(1000):
        old = levels(*np.exp(rng.normal(0, 0.01, 5)))
        new = levels(*np.exp(rng.normal(0.03, 0.05, 5)))
        found = stage_change(old, new, STEADY, 0.05)
        assert found is not None
        held += found.low <= math.expm1(0.03) <= found.high
    assert held >= 940
