"""How cost grows: over the size of the picture, and over how many are made at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.bench.results import Batch, Report, Resolution
from benchmarks.report.formats import ABSENT, BYTES, TIMES, datum, measure
from benchmarks.report.markup import Html, element, join, short, text
from benchmarks.report.names import indexed
from benchmarks.report.plot import (
    Plot,
    Trace,
    colour,
    figure,
    hover_name,
    legend_name,
    log_axis,
    si_axis,
)
from benchmarks.report.section import Section, grid
from benchmarks.report.tables import table

_SIZE_NOTE = "Both axes are logarithmic: a straight line is a power of the number of pixels."
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}: %{y:.4"

Point = tuple[float, str, float]
"""Place on the horizontal axis, its label, value."""


def resolutions(report: Report) -> Section | None:
    """Cost over resolution; None where one size was measured."""
    rows = [(i, s.name, s.resolutions) for i, s in indexed(report) if s.resolutions]
    if not rows:
        return None
    sizes = sorted({(r.height * r.width, _size(r)) for *_, found in rows for r in found})
    ticks = dict(sizes)
    axis = {"type": "log", "tickvals": list(ticks), "ticktext": list(ticks.values())}
    plots = [
        _plot(f"size-{name}", title, unit, axis, [(i, n, _sizes(f, value)) for i, n, f in rows])
        for name, title, unit, value in _SIZE_PLOTS
    ]
    figures = _resolution_table([(name, r) for _, name, found in rows for r in found])
    return _section("resolution", "Cost over resolution", plots, figures, note=_SIZE_NOTE)


def batches(report: Report) -> Section | None:
    """Throughput over batch sizes; None where one picture was made at a time."""
    rows = [(i, s.name, s.batches) for i, s in indexed(report) if s.batches]
    if not rows:
        return None
    sizes = sorted({batch.size for *_, found in rows for batch in found})
    axis = {"tickvals": sizes, "title": {"text": "pictures at once"}}
    plots = [
        _plot(f"batch-{name}", title, unit, axis, [(i, n, _batches(f, value)) for i, n, f in rows])
        for name, title, unit, value in _BATCH_PLOTS
    ]
    figures = _batch_table([(name, batch) for _, name, found in rows for batch in found])
    return _section("batch", "Throughput over batch", plots, figures)


_SIZE_PLOTS: tuple[tuple[str, str, str, Callable[[Resolution], float | None]], ...] = (
    ("picture", "Whole picture", "s", lambda r: _seconds(r.picture_ms)),
    ("unet", "U-Net call", "s", lambda r: _seconds(r.unet_call_ms)),
    ("vae", "VAE decoder", "s", lambda r: _seconds(r.vae_decoder_ms)),
    ("memory", "Peak memory", "B", lambda r: r.peak_rss),
)

_BATCH_PLOTS: tuple[tuple[str, str, str, Callable[[Batch], float | None]], ...] = (
    ("rate", "Pictures a second", "", lambda b: b.pictures_per_s),
    ("memory", "Peak memory", "B", lambda b: b.peak_rss),
)


def _seconds(time_ms: float | None) -> float | None:
    return None if time_ms is None else time_ms / 1e3


def _size(found: Resolution) -> str:
    return f"{found.width}×{found.height}"


def _sizes(found: Sequence[Resolution], value: Callable[[Resolution], float | None]) -> list[Point]:
    points = [(r.height * r.width, _size(r), value(r)) for r in found]
    return sorted((x, label, y) for x, label, y in points if y is not None and y > 0)


def _batches(found: Sequence[Batch], value: Callable[[Batch], float | None]) -> list[Point]:
    points = [(batch.size, f"{batch.size} at once", value(batch)) for batch in found]
    return sorted((x, label, y) for x, label, y in points if y is not None and y > 0)


def _section(
    name: str, title: str, plots: Sequence[Html | None], figures: Html, *, note: str = ""
) -> Section:
    drawn = [plot for plot in plots if plot is not None]
    told = element("p", note, class_="note") if note else ""
    return Section(name, title, join((told, grid(*drawn), figures)) if drawn else figures)


def _plot(
    name: str,
    title: str,
    unit: str,
    axis: dict[str, Any],
    rows: Sequence[tuple[int, str, list[Point]]],
) -> Html | None:
    """A line for each subject; None where no subject has a figure."""
    drawn = [(index, subject, points) for index, subject, points in rows if points]
    if not drawn:
        return None
    told = "; ".join(
        f"{short(subject, 60)}: " + ", ".join(f"{label} {y:.4g} {unit}" for _, label, y in points)
        for _, subject, points in drawn
    )
    plot = Plot(
        name=name,
        title=title,
        summary=told,
        data=[_line(index, subject, points, unit) for index, subject, points in drawn],
        layout={
            "xaxis": axis,
            "yaxis": _heights(unit, drawn, logarithmic=axis.get("type") == "log"),
            "hovermode": "closest",
            "showlegend": True,
        },
        height=320,
    )
    return figure(plot)


def _heights(
    unit: str, drawn: Sequence[tuple[int, str, list[Point]]], *, logarithmic: bool
) -> dict[str, Any]:
    if logarithmic:
        return log_axis([y for *_, points in drawn for *_, y in points], unit)
    return si_axis(unit, rangemode="tozero") if unit else {"rangemode": "tozero"}


def _line(index: int, subject: str, points: Sequence[Point], unit: str) -> Trace:
    shown = hover_name(subject)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": legend_name(subject),
        "x": [x for x, _, _ in points],
        "y": [y for _, _, y in points],
        "customdata": [[shown, label] for _, label, _ in points],
        "hovertemplate": f"{_HOVER}{'s' if unit else 'g'}}}{unit}<extra></extra>",
        "marker": {"size": 8},
        "meta": colour(index),
    }


def _resolution_table(rows: Sequence[tuple[str, Resolution]]) -> Html:
    head = ["Subject", "size", "picture", "U-Net call", "VAE decoder", "peak RSS", "error"]
    body = [
        [
            text(name),
            _size(r),
            measure(r.picture_ms, TIMES),
            measure(r.unet_call_ms, TIMES),
            measure(r.vae_decoder_ms, TIMES),
            measure(r.peak_rss, BYTES),
            ABSENT if r.error is None else text(r.error),
        ]
        for name, r in rows
    ]
    return table("Cost over resolution", head, body)


def _batch_table(rows: Sequence[tuple[str, Batch]]) -> Html:
    head = ["Subject", "at once", "pictures a second", "a batch", "peak RSS", "error"]
    body = [
        [
            text(name),
            datum(batch.size),
            datum(batch.pictures_per_s),
            measure(batch.batch_ms, TIMES),
            measure(batch.peak_rss, BYTES),
            ABSENT if batch.error is None else text(batch.error),
        ]
        for name, batch in rows
    ]
    return table("Throughput over batch", head, body)
