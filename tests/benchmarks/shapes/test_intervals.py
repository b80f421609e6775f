import math

import pytest

from benchmarks.shapes.intervals import Z, paired_difference, wilson


def test_wilson_solves_its_defining_equation() -> None:
    """Both ends p satisfy (observed - p)^2 = z^2 p (1 - p) / n."""
    for successes, count in ((0, 10), (3, 10), (450, 500), (500, 500)):
        interval = wilson(successes, count)
        for end in (interval.low, interval.high):
            expected = Z**2 * end * (1 - end) / count
            assert math.isclose((successes / count - end) ** 2, expected, abs_tol=1e-12)
        assert interval.low <= interval.estimate <= interval.high


def test_equal_answers_differ_by_nothing() -> None:
    answers = [True] * 400 + [False] * 100
    interval = paired_difference(answers, answers)
    assert interval.estimate == 0
    assert interval.low < 0 < interval.high
    assert interval.high < 0.01


def test_a_planted_drop_is_found() -> None:
    before = [True] * 450 + [False] * 50
    after = [False] * 25 + before[25:]
    interval = paired_difference(before, after)
    assert interval.estimate == pytest.approx(-0.05)
    assert interval.low < -0.05 < interval.high < 0


def test_disagreements_both_ways_widen_the_interval() -> None:
    before = [True] * 250 + [False] * 250
    interval = paired_difference(before, before[::-1])
    assert interval.estimate == 0
    assert interval.high > 0.08


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="given 5, 4"):
        wilson(5, 4)
    with pytest.raises(ValueError, match="given 0, 0"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="given 1 and 2"):
        paired_difference([True], [True, False])
