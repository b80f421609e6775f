"""The machine's limits, and how near each component comes to them.

Williams, Waterman, Patterson (2009), "Roofline: an insightful visual performance model for
multicore architectures".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.bench.results import ComponentLimit, Peaks, Report
from benchmarks.report.formats import (
    BYTES,
    FLOPS,
    TIMES,
    datum,
    measure,
    percent,
    quantity,
    significant,
    unit_for,
    words,
)
from benchmarks.report.markup import Html, element, join, short, text
from benchmarks.report.names import component_title, components_of, indexed
from benchmarks.report.plot import Plot, Trace, colour, figure, hover_name, legend_name, log_axis
from benchmarks.report.section import Section
from benchmarks.report.tables import details, table

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
"""Of the components, in the report's order."""

_NOTE = (
    "The roof is the most that the machine does at an intensity: bound by memory on the slope, by "
    "arithmetic where it is flat. Bytes are the least that a call moves."
)
_HOVER = (
    "<b>%{customdata[0]}</b>, %{customdata[1]}<br>%{y:.4s}FLOP/s at %{x:.4g} FLOP a byte<br>"
    "%{customdata[2]} of the roofline<extra></extra>"
)

Row = tuple[int, str, ComponentLimit]


def roofline(report: Report) -> Section | None:
    """The components beside the roofline; None where nothing was counted."""
    rows = [(i, s.name, limit) for i, s in indexed(report) for limit in s.limits]
    if not rows:
        return None
    timed = [row for row in rows if _can_be_drawn(row[2])]
    plot = _plot(report, timed) if timed else ""
    return Section("roofline", "Roofline", join((_peaks(report.peaks), plot, *_tables(rows))))


def _can_be_drawn(limit: ComponentLimit) -> bool:
    """Whether it has a place on logarithmic axes."""
    return min(limit.flops or 0, limit.bytes or 0, limit.time_ms or 0) > 0


def _peaks(peaks: Peaks | None) -> Html:
    if peaks is None:
        return Html("")
    return element(
        "p",
        "This machine's peaks, measured in the same run: ",
        datum(peaks.flops_per_s, f"{significant(peaks.flops_per_s / 1e9)} GFLOP/s"),
        " in float32 and ",
        datum(peaks.bytes_per_s, f"{significant(peaks.bytes_per_s / 1e9)} GB/s"),
        f", with {peaks.threads} thread{'' if peaks.threads == 1 else 's'}.",
    )


def intensity(limit: ComponentLimit) -> float:
    """FLOPs a byte, of a limit that can be drawn."""
    return (limit.flops or 0) / (limit.bytes or math.inf)


def achieved(limit: ComponentLimit) -> float:
    """FLOPs a second, of a limit that can be drawn."""
    return (limit.flops or 0) / (limit.time_ms or math.inf) * 1e3


def _plot(report: Report, rows: Sequence[Row]) -> Html:
    components = components_of(report)
    points = [_trace(i, s.name, rows, components) for i, s in indexed(report)]
    roof = [_roof(report.peaks, rows)] if report.peaks else []
    plot = Plot(
        name="roofline",
        title="Roofline",
        summary="; ".join(
            f"{short(name, 60)}, {component_title(x.component)}: {achieved(x) / 1e9:.4g} GFLOP/s"
            for _, name, x in rows
        ),
        data=[*roof, *(t for t in points if t["x"]), *_legend(components)],
        layout={
            "xaxis": {
                "title": {"text": "FLOP a byte"},
                **log_axis(_reach(report.peaks, rows)),
            },
            "yaxis": log_axis(_heights(report.peaks, rows), "FLOP/s"),
            "hovermode": "closest",
            "showlegend": True,
        },
        height=460,
    )
    return figure(plot, note=_NOTE)


def _trace(index: int, name: str, rows: Sequence[Row], components: Sequence[str]) -> Trace:
    mine = [limit for i, _, limit in rows if i == index]
    symbols = [SYMBOLS[components.index(x.component) % len(SYMBOLS)] for x in mine]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": legend_name(name),
        "x": [intensity(x) for x in mine],
        "y": [achieved(x) for x in mine],
        "customdata": [
            [hover_name(name), hover_name(component_title(x.component)), _share(x)] for x in mine
        ],
        "hovertemplate": _HOVER,
        "marker": {"symbol": symbols, "size": 13},
        "meta": {**colour(index), "role": "marks"},
    }


def _share(limit: ComponentLimit) -> str:
    return "unknown share" if limit.share is None else f"{100 * limit.share:.1f} %"


def _reach(peaks: Peaks | None, rows: Sequence[Row]) -> list[float]:
    """The intensities that the plot holds: all points, and the roof's corner between its ends."""
    marks = [intensity(limit) for *_, limit in rows]
    if peaks is not None:
        marks.append(peaks.flops_per_s / peaks.bytes_per_s)
    return [min(marks) / 2, max(marks) * 2]


def _heights(peaks: Peaks | None, rows: Sequence[Row]) -> list[float]:
    top = [peaks.flops_per_s] if peaks is not None else []
    return [*top, *(achieved(limit) for *_, limit in rows)]


def _roof(peaks: Peaks, rows: Sequence[Row]) -> Trace:
    """The roof, from left of the leftmost point to right of the rightmost, and its corner."""
    left, right = _reach(peaks, rows)
    x = [left, peaks.flops_per_s / peaks.bytes_per_s, right]
    y = [min(peaks.flops_per_s, peaks.bytes_per_s * value) for value in x]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "machine's peak",
        "x": x,
        "y": y,
        "hovertemplate": "%{y:.4s}FLOP/s at %{x:.4g} FLOP a byte<extra></extra>",
        "meta": {"role": "limit"},
    }


def _legend(components: Sequence[str]) -> list[Trace]:
    """Entries that tell the symbols; they draw nothing."""
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": legend_name(component_title(name)),
            "x": [None],
            "y": [None],
            "hoverinfo": "skip",
            "marker": {"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 10},
            "meta": {"role": "key"},
        }
        for i, name in enumerate(components)
    ]


def _tables(rows: Sequence[Row]) -> list[Html]:
    head = ["Subject", "Component", "FLOP a call", "bytes, least", "bytes by node"]
    head += ["measured", "compute bound", "memory bound", "share of roofline", "input shapes"]
    body = [
        [
            text(name),
            text(component_title(x.component)),
            measure(x.flops, FLOPS),
            measure(x.bytes, BYTES),
            measure(x.bytes_by_node, BYTES),
            measure(x.time_ms, TIMES),
            measure(x.compute_ms, TIMES),
            measure(x.memory_ms, TIMES),
            percent(x.share),
            words(_shapes(x)),
        ]
        for _, name, x in rows
    ]
    counts = table("Counts and limits of each component", head, body)
    kinds = [_kinds(name, x) for _, name, x in rows if x.by_kind]
    return [counts, details("FLOPs and bytes by operator", *kinds)] if kinds else [counts]


def _shapes(limit: ComponentLimit) -> str:
    return ", ".join(f"{n} {'×'.join(map(str, shape))}" for n, shape in limit.feeds.items())


def _kinds(name: str, limit: ComponentLimit) -> Html:
    flops = unit_for((kind.flops for kind in limit.by_kind), FLOPS)
    moved = unit_for((kind.bytes for kind in limit.by_kind), BYTES)
    rows = [
        [text(k.kind), datum(k.nodes), quantity(k.flops, flops), quantity(k.bytes, moved)]
        for k in limit.by_kind
    ]
    title = f"{name}: {component_title(limit.component)}"
    head = ["Operator", "nodes", f"{flops.name}", f"{moved.name}"]
    return join((element("h4", text(title)), table(title, head, rows)))
