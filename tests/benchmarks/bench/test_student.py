"""Student's quantiles against published tables."""

from __future__ import annotations

import pytest

from benchmarks.bench.student import quantile

TABLE = {
    (0.05, 1): 12.7062047364,
    (0.05, 2): 4.3026527297,
    (0.05, 4): 2.7764451052,
    (0.05, 9): 2.2621571628,
    (0.01, 5): 4.0321429836,
    (0.01, 30): 2.7499956536,
    (0.001, 3): 12.9239786367,
    (0.5, 7): 0.7111417778,
}
"""(outside, degrees) → the two-sided quantile, from printed tables of the distribution."""


@pytest.mark.parametrize(("asked", "expected"), TABLE.items())
def test_quantile_is_that_of_the_tables(asked: tuple[float, int], expected: float) -> None:
    assert quantile(*asked) == pytest.approx(expected, rel=1e-9)


def test_many_degrees_come_near_the_normal_distribution() -> None:
    # The first term of the expansion in 1/degrees: z + (z³ + z) / (4·degrees).
    z = 1.959963984540054
    assert quantile(0.05, 10_000) == pytest.approx(z + (z**3 + z) / 40_000, rel=1e-7)


@pytest.mark.parametrize(("outside", "degrees"), [(0.0, 3), (1.0, 3), (0.05, 0)])
def test_out_of_range_is_refused(outside: float, degrees: int) -> None:
    with pytest.raises(ValueError, match=f"given {outside}, {degrees}"):
        quantile(outside, degrees)
