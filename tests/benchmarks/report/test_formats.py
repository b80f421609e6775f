"""Figures as a reader sees them."""

from __future__ import annotations

import pytest

from benchmarks.report.formats import (
    ABSENT,
    BYTES,
    TIMES,
    datum,
    fixed,
    measure,
    percent,
    quantity,
    significant,
    unit_for,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1234.56, "1,235"),
        (123.4, "123"),
        (12.345, "12.3"),
        (1.0, "1.00"),
        (0.012345, "0.0123"),
        (-0.5, "-0.500"),
        (1.5e-9, "1.5e-09"),
    ],
)
def test_three_digits(value: float, shown: str) -> None:
    assert significant(value) == shown


@pytest.mark.parametrize(
    ("values", "unit"),
    [((None, 999.0), "ms"), ((1.0, 1_000.0), "s"), ((0.2,), "ms"), ((None,), "ms"), ((), "ms")],
)
def test_columns_take_the_unit_of_their_largest_figure(
    values: tuple[float | None, ...], unit: str
) -> None:
    assert unit_for(values, TIMES).name == unit


def test_exact_values_are_kept() -> None:
    seconds = unit_for((1234.5678,), TIMES)
    assert quantity(1234.5678, seconds) == '<data value="1234.5678" title="1234.5678">1.23</data>'
    assert datum(12) == '<data value="12">12</data>'
    assert (
        datum(4_270_000_000) == '<data value="4270000000" title="4270000000">4,270,000,000</data>'
    )
    assert fixed(0.98765, 4) == '<data value="0.98765" title="0.98765">0.9877</data>'
    assert percent(0.5) == '<data value="0.5" title="0.5">50.0 %</data>'
    assert ">6.10 GB<" in measure(6.1e9, BYTES)


def test_absent_figures() -> None:
    unit = TIMES[0]
    absent = (
        quantity(None, unit),
        measure(None, TIMES),
        percent(None),
        fixed(None, 1),
        datum(None),
    )
    assert absent == (ABSENT,) * 5
