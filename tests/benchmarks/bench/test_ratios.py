"""Ratios of subjects that took turns: right on numbers made by hand, and at the promised rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.bench.ratios import outside_shares, paired_ratios, session_logs, t_interval
from benchmarks.bench.results import (
    LOAD,
    PICTURE,
    SAMPLER,
    STAGES,
    TEXT_ENCODER,
    UNET_CALL,
    Ratio,
    Stage,
)
from benchmarks.bench.statistics import stage

Stages = dict[str, Stage]


def ratios(above: Stages, below: Stages, **options: float) -> dict[str, Ratio]:
    found = paired_ratios(above, below, subject="new", baseline="old", **options)
    return {ratio.stage: ratio for ratio in found}


def pictures(sessions: Sequence[Sequence[float]]) -> Stages:
    return {PICTURE: stage(sessions)}


def test_equal_samples_have_a_ratio_of_one_and_no_width() -> None:
    same = pictures([[10.0, 11.0], [12.0, 10.0]])
    assert ratios(same, same)[PICTURE] == Ratio(
        stage=PICTURE,
        subject="new",
        baseline="old",
        estimate=1.0,
        low=1.0,
        high=1.0,
        confidence=0.95,
        pairs=4,
        verdict="no difference",
    )


def test_interval_is_students_over_the_sessions_logarithms() -> None:
    above = pictures([[10.2], [10.4], [10.9]])
    below = pictures([[10.0], [10.0], [10.0]])
    logs = np.log([1.02, 1.04, 1.09])
    reach = 4.302652729696142 * logs.std(ddof=1) / math.sqrt(3)  # t, two degrees, 95 %
    found = ratios(above, below)[PICTURE]
    expected = np.exp([logs.mean(), logs.mean() - reach, logs.mean() + reach])
    assert (found.estimate, found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert found.verdict == "no difference"


@pytest.mark.parametrize(("factor", "verdict"), [(1.05, "slower"), (0.95, "faster")])
def test_a_factor_is_found_in_every_stage(factor: float, verdict: str) -> None:
    below = {name: stage([[10.0, 11.0], [10.5, 10.0]]) for name in STAGES}
    above = {
        name: stage([[x * factor * (1 + 1e-6 * i) for x in s] for i, s in enumerate(each.sessions)])
        for name, each in below.items()
    }
    found = ratios(above, below)
    assert list(found) == list(STAGES)
    assert {ratio.verdict for ratio in found.values()} == {verdict}
    for ratio in found.values():
        assert ratio.estimate == pytest.approx(factor, rel=1e-5)


def test_a_burst_in_some_rounds_of_a_session_does_not_move_it() -> None:
    quiet = [10.0, 10.1, 9.9, 10.0, 10.1, 9.9, 10.0]
    hit = [10.0, 10.1, 30.0, 10.0, 40.0, 9.9, 10.0]
    found = session_logs(PICTURE, pictures([hit]), pictures([quiet]))
    assert found == pytest.approx([0.0], abs=0.011)


def test_drift_cancels_although_a_subject_changes_more_than_the_subjects_differ() -> None:
    # Twice as slow at the end; the subject takes 3 % longer throughout.
    machine = np.geomspace(10.0, 20.0, 40).tolist()
    slower = [time * 1.03 for time in machine]
    found = session_logs(PICTURE, pictures([slower]), pictures([machine]))
    assert found == pytest.approx([math.log(1.03)], rel=1e-9)


def test_pairs_are_of_the_same_or_of_neighbouring_rounds() -> None:
    # Rounds of two calls. Within one round of each other all ratios are 1; over two, a thousand.
    calls = [1.0, 1.0, 1.0, 1.0, 1000.0, 1000.0, 1000.0, 1000.0]
    stages = {PICTURE: stage([[1.0] * 4]), UNET_CALL: stage([calls])}
    shifted = {**stages, UNET_CALL: stage([[*calls[2:], 1000.0, 1000.0]])}
    assert session_logs(UNET_CALL, shifted, stages) == [0.0]


def test_calls_per_picture_may_differ() -> None:
    above = {PICTURE: stage([[4.0, 4.0], [4.0, 4.0]]), UNET_CALL: stage([[2.0] * 4, [2.0] * 4])}
    below = {PICTURE: stage([[2.0, 2.0], [2.0, 2.0]]), UNET_CALL: stage([[1.0] * 2, [1.0] * 2])}
    found = ratios(above, below)
    assert found[UNET_CALL].estimate == pytest.approx(2.0, rel=1e-12)
    assert found[UNET_CALL].pairs == 4


def test_a_load_is_paired_by_session() -> None:
    drawn = stage([[10.0] * 3] * 2)
    above = {LOAD: stage([[110.0], [220.0]]), PICTURE: drawn}
    below = {LOAD: stage([[100.0], [200.0]]), PICTURE: drawn}
    found = ratios(above, below)[LOAD]
    assert (found.estimate, found.pairs) == (pytest.approx(1.1, rel=1e-9), 2)


def test_a_session_that_broke_off_counts_as_far_as_it_came() -> None:
    above = pictures([[10.0, 10.0], [10.0], []])
    below = pictures([[10.0, 10.0], [10.0, 10.0], [10.0, 10.0]])
    assert ratios(above, below)[PICTURE].pairs == 3


def test_one_session_gives_no_ratio() -> None:
    assert ratios(pictures([[10.0, 11.0]]), pictures([[10.0, 11.0]])) == {}


def test_stages_that_one_lacks_are_left_out() -> None:
    both = pictures([[10.0], [10.0]])
    assert list(ratios({**both, SAMPLER: both[PICTURE]}, both)) == [PICTURE]


def test_interval_of_two_sessions_that_contradict_each_other_stays_finite() -> None:
    found = ratios(pictures([[1.0], [1e6]]), pictures([[1e6], [1.0]]))[PICTURE]
    assert (found.low, found.high) == pytest.approx((1e-3, 1e3), rel=1e-9)


def test_half_of_the_error_goes_to_the_picture_and_the_unet() -> None:
    found = outside_shares(tuple(STAGES), 0.05)
    assert found[PICTURE] == found[UNET_CALL] == pytest.approx(0.0125)
    assert found[TEXT_ENCODER] == pytest.approx(0.025 / 6)
    assert sum(found.values()) == pytest.approx(0.05)
    assert outside_shares((LOAD, SAMPLER), 0.05) == {LOAD: 0.025, SAMPLER: 0.025}
    assert outside_shares((), 0.05) == {}


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=f"between 0 and 1; given {confidence}"):
        ratios({}, {}, confidence=confidence)


def trial(rng: np.random.Generator, factor: float) -> dict[str, Ratio]:
    """Two subjects on a machine whose other core is taken half of the time.

    A call takes 9 ms and 17 while the core is taken, which one subject in five meets alone, with
    bursts on top; a process is up to a percent slower than another for life.
    """
    shape, per_round = (10, 24, 6), (10, 24, 1)
    taken = rng.random(per_round) < 0.5
    measured: list[Stages] = []
    for slower in (factor, 1.0):
        alone = rng.random(per_round) < 0.2
        bursts = np.where(rng.random(shape) < 0.2, rng.exponential(8.0, shape), 0.0)
        process = np.exp(rng.normal(0, 0.004, (10, 1, 1)))
        noise = np.exp(rng.normal(0, 0.02, shape))
        times = (np.where(taken ^ alone, 17.0, 9.0) * noise + bursts) * process * slower
        flat = times.reshape(10, -1).tolist()
        measured.append({UNET_CALL: stage(flat), PICTURE: stage(times.sum(2).tolist())})
    return ratios(*measured)


def test_no_difference_is_seen_where_none_is() -> None:
    # 60 trials at 95 %: more than 8 false alarms come with a probability below 0.5 %.
    rng = np.random.default_rng(1)
    alarms = [
        any(ratio.verdict != "no difference" for ratio in trial(rng, 1.0).values())
        for _ in range(60)
    ]
    assert sum(alarms) <= 8


def test_a_slowdown_is_found() -> None:
    rng = np.random.default_rng(2)
    found = [trial(rng, 1.05)[UNET_CALL].verdict == "slower" for _ in range(20)]
    assert sum(found) >= 19


def test_t_interval_holds_the_truth_as_often_as_it_says_with_unequal_sessions() -> None:
    # Sessions whose noise differs tenfold: at 95 % Student's interval may only be too wide.
    rng = np.random.default_rng(3)
    noise = np.array([0.01, 0.01, 0.02, 0.1, 0.1])
    held = [
        low <= 1 <= high
        for _, low, high in (t_interval(rng.normal(0, noise).tolist(), 0.05) for _ in range(2000))
    ]
    assert np.mean(held) >= 0.94
