"""Memory over time, and its peaks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from benchmarks.bench.results import Memory, MemoryPoint, Report
from benchmarks.report.formats import BYTES, quantity, unit_for
from benchmarks.report.markup import Html, join, short, text
from benchmarks.report.names import in_order, indexed, stage_of_memory
from benchmarks.report.plot import Plot, Trace, colour, figure, hover_name, legend_name, si_axis
from benchmarks.report.section import Section
from benchmarks.report.tables import table

_NOTE = (
    "Resident memory of a subject's processes, from their start. Diamonds: where a stage begins."
)
_HOVER = "<b>%{customdata}</b><br>%{y:.4s}B at %{x:.4s}s<extra></extra>"
_MARK_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]} begins at %{x:.4s}s<extra></extra>"
_ORDER = ("load", "first_call", "picture")

Row = tuple[int, str, Memory]


def memory(report: Report) -> Section | None:
    """The subjects' memory; None where it was not sampled."""
    rows = [(i, s.name, s.memory) for i, s in indexed(report) if s.memory is not None]
    if not rows:
        return None
    sampled = [row for row in rows if row[2].timeline]
    peaks = _figures(rows)
    return Section("memory", "Memory", join((_plot(sampled), peaks)) if sampled else peaks)


def _plot(rows: Sequence[Row]) -> Html:
    told = "; ".join(f"{short(name, 60)} peaks at {m.peak_rss / 1e6:.4g} MB" for _, name, m in rows)
    plot = Plot(
        name="memory",
        title="Memory over time",
        summary=f"Resident memory over time by subject: {told}",
        data=[trace for row in rows for trace in _traces(*row)],
        layout={
            "xaxis": si_axis("s", "since the process began", rangemode="tozero"),
            "yaxis": si_axis("B", rangemode="tozero"),
            "hovermode": "closest",
            "showlegend": True,
        },
        height=380,
    )
    return figure(plot, note=_NOTE)


def _traces(index: int, name: str, found: Memory) -> list[Trace]:
    shown, points = hover_name(name), found.timeline
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": legend_name(name),
        "legendgroup": str(index),
        "x": [point.time_ms / 1e3 for point in points],
        "y": [point.rss_bytes for point in points],
        "customdata": [shown] * len(points),
        "hovertemplate": _HOVER,
        "meta": colour(index),
    }
    return [line, _marks(index, shown, found)] if found.marks else [line]


def _marks(index: int, shown: str, found: Memory) -> Trace:
    stages = in_order(found.marks, _ORDER)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{shown}: stages",
        "legendgroup": str(index),
        "showlegend": False,
        "x": [found.marks[stage] / 1e3 for stage in stages],
        "y": [_at(found.timeline, found.marks[stage]) for stage in stages],
        "customdata": [[shown, stage_of_memory(stage)] for stage in stages],
        "hovertemplate": _MARK_HOVER,
        "marker": {"symbol": "diamond", "size": 10},
        "meta": {**colour(index), "role": "marks"},
    }


def _at(timeline: Sequence[MemoryPoint], time_ms: float) -> int:
    """The last sample until then, or the first one."""
    place = bisect_right([point.time_ms for point in timeline], time_ms)
    return timeline[max(0, place - 1)].rss_bytes


def _figures(rows: Sequence[Row]) -> Html:
    stages = in_order((stage for *_, m in rows for stage in m.by_stage), _ORDER)
    columns = {
        "peak RSS": [m.peak_rss for *_, m in rows],
        "peak PSS": [m.peak_pss for *_, m in rows],
        "after loading": [m.loaded_rss for *_, m in rows],
        **{f"peak, {stage_of_memory(s)}": [m.by_stage.get(s) for *_, m in rows] for s in stages},
        "GPU": [m.device_peak for *_, m in rows],
    }
    kept = {title: found for title, found in columns.items() if any(v is not None for v in found)}
    unit = unit_for((value for found in kept.values() for value in found), BYTES)
    body = [
        [text(name), *(quantity(found[i], unit) for found in kept.values())]
        for i, (_, name, _) in enumerate(rows)
    ]
    return table("Memory", ["Subject", *(f"{title}, {unit.name}" for title in kept)], body)
