"""A comparison of two runs as text: what regressed on top."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench.changes import Figure
from benchmarks.bench.compare import Comparison, Outcome, Row

ORDER: tuple[Outcome, ...] = ("regressed", "worse", "can't tell", "better", "no difference")
HEADER = ("subject", "figure", "old", "new", "change", "interval", "verdict")
MOST_IN_PERCENT = 9.0


def as_table(comparison: Comparison) -> str:
    """The comparison as a Markdown table that reads as plain text, with what to know around it."""
    rows = sorted(comparison.rows, key=lambda row: (ORDER.index(row.outcome), -_worse(row)))
    cells = [HEADER, *(_cells(row) for row in rows)]
    parts = [_summary(comparison), *comparison.broken, "", *_aligned(cells)]
    if comparison.notes:
        parts += ["", *(f"- {note}" for note in comparison.notes)]
    return "\n".join(parts)


def _summary(comparison: Comparison) -> str:
    count = len(comparison.regressed)
    limit = f"{comparison.fail_over * 100:g} %"
    if count:
        figures = "figure is" if count == 1 else "figures are"
        return f"{count} {figures} worse by more than {limit}, beyond the noise."
    return f"No figure is worse by more than {limit}, beyond the noise."


def _worse(row: Row) -> float:
    return row.figure.change.worse if row.figure.change else 0.0


def _cells(row: Row) -> tuple[str, ...]:
    figure, change = row.figure, row.figure.change
    name = row.subject.replace("|", "\\|")
    old, new = _value(figure, figure.old), _value(figure, figure.new)
    if change is None:
        return (name, figure.name, old, new, "", "", _verdict(row))
    exact = change.low == change.high
    interval = "exact" if exact else f"{_share(change.low)} to {_share(change.high)}"
    return (name, figure.name, old, new, _share(change.worse), interval, _verdict(row))


def _share(worse: float) -> str:
    """In percent; as a factor where percents would be too many to read."""
    return f"{worse:+.1%}" if worse < MOST_IN_PERCENT else f"×{1 + worse:.0f}"


def _value(figure: Figure, value: float) -> str:
    if figure.unit == "bytes":
        return f"{value / 1e6:.1f} MB"
    return f"{value:.4g} {figure.unit}".strip()


def _verdict(row: Row) -> str:
    change = row.figure.change
    if row.outcome != "can't tell":
        return row.outcome
    return f"can't tell below {_share(change.high)}" if change else "can't tell: under two sessions"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
