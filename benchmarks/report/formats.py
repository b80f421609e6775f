"""Figures as a reader wants them, each with its exact value in the markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.report.markup import Html, element, text

ABSENT = Html("–")
"""Stands for a figure that could not be had."""


@dataclass(frozen=True)
class Unit:
    """A unit, and its size in what results are written in (ms, bytes, FLOPs)."""

    name: str
    size: float


TIMES = (Unit("ms", 1.0), Unit("s", 1e3))
BYTES = (Unit("kB", 1e3), Unit("MB", 1e6), Unit("GB", 1e9))
FLOPS = (Unit("MFLOP", 1e6), Unit("GFLOP", 1e9), Unit("TFLOP", 1e12))


def unit_for(values: Iterable[float | None], units: Sequence[Unit]) -> Unit:
    """The unit for a column: the largest of those that its largest figure reaches."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return next((unit for unit in reversed(units) if largest >= unit.size), units[0])


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never cut before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{digits}g}" if decimals > 6 else f"{value:,.{max(0, decimals)}f}"


def datum(value: float | None, shown: str | None = None) -> Html:
    """A figure: what is shown, and its exact value for machines and for who points at it.

    Args:
        value: as the result has it; None gives `ABSENT`.
        shown: how it is shown; if None, whole numbers in full and others with three significant
            digits.
    """
    if value is None:
        return ABSENT
    if shown is None:
        shown = f"{value:,}" if isinstance(value, int) else significant(value)
    exact = repr(value)
    return element("data", shown, value=exact, title=None if shown == exact else exact)


def quantity(value: float | None, unit: Unit) -> Html:
    """A figure in the unit of its column, which the column's head names."""
    return ABSENT if value is None else datum(value, significant(value / unit.size))


def measure(value: float | None, units: Sequence[Unit]) -> Html:
    """A figure with a unit of its own."""
    if value is None:
        return ABSENT
    unit = unit_for((value,), units)
    return datum(value, f"{significant(value / unit.size)} {unit.name}")


def words(value: str | None) -> Html:
    """A text from a result, where there is one."""
    return text(value) if value else ABSENT


def fixed(value: float | None, decimals: int) -> Html:
    """A figure with so many decimals."""
    return ABSENT if value is None else datum(value, f"{value:.{decimals}f}")


def percent(value: float | None) -> Html:
    """A share in percent."""
    return ABSENT if value is None else datum(value, f"{100 * value:.1f} %")
