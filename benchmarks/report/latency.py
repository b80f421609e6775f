"""Latency: a plot for each stage, for stages differ by orders of magnitude."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.bench.results import STAGES, Report, Stage
from benchmarks.report.formats import TIMES, Unit, datum, percent, quantity, unit_for
from benchmarks.report.markup import Html, element, join, short, text
from benchmarks.report.names import indexed, stage_title, stages_of
from benchmarks.report.plot import Plot, Trace, colour, figure, hover_name, names_axis, si_axis
from benchmarks.report.section import Section, grid
from benchmarks.report.tables import table

POINTS = 1000
"""Points of a subject that a plot shows at most: more are slow to draw, and cover each other."""

_BAR, _BAR_WIDTH, _CLOUD, _JITTER = -0.16, 0.4, 0.26, 0.11
"""Within a subject's row: where its bar and its points are, and how far the points are spread."""

_SECTION_NOTE = (
    "Bars: median. Whiskers: 10th to 95th percentile. Points: single samples, below their bar."
)
_STATISTICS = ("min", "p50", "p90", "p95", "p99", "max")
_HOVER = (
    "<b>%{customdata[0]}</b><br>p50 %{x:.4s}s<br>p10 %{customdata[1]:.4s}s, "
    "p95 %{customdata[2]:.4s}s<br>%{customdata[3]} samples<extra></extra>"
)
_POINT_HOVER = "<b>%{customdata[0]}</b><br>%{x:.4s}s, session %{customdata[1]}<extra></extra>"


def latency(report: Report) -> Section | None:
    """The stages' times; None where nothing was timed."""
    stages = stages_of(report)
    if not stages:
        return None
    note = element("p", _SECTION_NOTE, class_="note")
    plots = grid(*(_stage(report, i, stage) for i, stage in enumerate(stages)))
    return Section("latency", "Latency", join((note, plots)))


def _stage(report: Report, number: int, stage: str) -> Html:
    timed = [(i, s.name, s.stages[stage]) for i, s in indexed(report) if stage in s.stages]
    data = [t for row, (i, name, found) in enumerate(timed) for t in _traces(row, i, name, found)]
    told = "; ".join(f"{short(name, 60)} {found.summary.p50:.4g} ms" for _, name, found in timed)
    plot = Plot(
        name=f"latency-{stage if stage in STAGES else number}",
        title=stage_title(stage),
        summary=f"Median time of {stage_title(stage)} by subject: {told}",
        data=data,
        layout={
            "xaxis": si_axis("s", rangemode="tozero"),
            "yaxis": names_axis([name for _, name, _ in timed]),
            "showlegend": False,
            "barmode": "overlay",
            "hovermode": "closest",
        },
        height=50 + 54 * len(timed),
    )
    return figure(plot, _figures(stage, timed), _note(stage, [found for *_, found in timed]))


def _note(stage: str, found: Sequence[Stage]) -> str:
    what = STAGES.get(stage, "")
    most = max(stage.summary.n for stage in found)
    cut = f" Of {most} samples {POINTS} are drawn as points." if most > POINTS else ""
    return f"{what[:1].upper()}{what[1:]}.{cut}" if what else cut.strip()


def _traces(row: int, index: int, name: str, stage: Stage) -> list[Trace]:
    """A subject's bar (the median), whisker (p10 to p95) and samples, in seconds."""
    times = [(number, time) for number, s in enumerate(stage.sessions, 1) for time in s]
    low = float(np.percentile([time for _, time in times], 10)) if times else stage.summary.min
    summary, shown = stage.summary, hover_name(name)
    bar = {
        "type": "bar",
        "orientation": "h",
        "name": shown,
        "x": [summary.p50 / 1e3],
        "y": [row + _BAR],
        "width": _BAR_WIDTH,
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [(summary.p95 - summary.p50) / 1e3],
            "arrayminus": [(summary.p50 - low) / 1e3],
        },
        "customdata": [[shown, low / 1e3, summary.p95 / 1e3, summary.n]],
        "hovertemplate": _HOVER,
        "meta": colour(index),
    }
    return [bar, _points(row, index, shown, _thinned(times))]


def _points(row: int, index: int, shown: str, times: Sequence[tuple[int, float]]) -> Trace:
    # The golden ratio's multiples spread evenly, and alike in every report.
    offsets = [((0.618034 * i) % 1 - 0.5) * 2 * _JITTER for i in range(len(times))]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": shown,
        "x": [time / 1e3 for _, time in times],
        "y": [round(row + _CLOUD + offset, 4) for offset in offsets],
        "customdata": [[shown, session] for session, _ in times],
        "hovertemplate": _POINT_HOVER,
        "meta": {**colour(index), "role": "points"},
    }


def _thinned(times: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Evenly chosen samples; the least and the largest stay."""
    if len(times) <= POINTS:
        return times
    chosen = {round(i) for i in np.linspace(0, len(times) - 1, POINTS - 2)}
    values = [time for _, time in times]
    chosen |= {int(np.argmin(values)), int(np.argmax(values))}
    return [times[i] for i in sorted(chosen)]


def _figures(stage: str, timed: Sequence[tuple[int, str, Stage]]) -> Html:
    unit = unit_for((found.summary.max for *_, found in timed), TIMES)
    head = ["Subject", *(f"{name}, {unit.name}" for name in _STATISTICS), "spread", "samples"]
    rows = [_row(name, found, unit) for _, name, found in timed]
    return table(f"{stage_title(stage)}: times", head, rows)


def _row(name: str, stage: Stage, unit: Unit) -> list[str]:
    figures = [quantity(getattr(stage.summary, key), unit) for key in _STATISTICS]
    summary = stage.summary
    return [text(name), *figures, percent(summary.spread), datum(summary.n, f"{summary.n:,}")]
