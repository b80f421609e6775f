"""The table that says it all: one line a subject. Columns that no subject fills are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.bench import results
from benchmarks.bench.results import ComponentLimit, Report, Subject, Summary
from benchmarks.report.formats import (
    ABSENT,
    BYTES,
    TIMES,
    Unit,
    datum,
    fixed,
    percent,
    quantity,
    significant,
    unit_for,
)
from benchmarks.report.markup import Html, element, join, text
from benchmarks.report.names import class_title, component_title, components_of
from benchmarks.report.section import Section
from benchmarks.report.tables import scrolling


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        group: the heading that it shares with its neighbours.
        title: its own.
        value: a subject's figure, None where there is none.
        units: the group takes one of them; empty for what has none.
        show: a subject's cell, where it is more than a figure in a unit.
    """

    group: str
    title: str
    value: Callable[[Subject], float | None]
    units: Sequence[Unit] = ()
    show: Callable[[Subject], Html] | None = None


def headline(report: Report) -> Section:
    """The table of all subjects."""
    columns = [c for c in _columns(report) if any(_filled(c, s) for s in report.subjects)]
    units = [_unit(report, column, columns) for column in columns]
    head = element("thead", _groups(columns), _titles(columns, units))
    rows = [row for subject in report.subjects for row in _rows(subject, columns, units)]
    body = element("tbody", join(rows))
    note = element(
        "p",
        "p50 and p95 are the median and the 95th percentile. "
        "Point at a figure for its exact value in milliseconds or bytes.",
        class_="note",
    )
    table = scrolling("Headline figures, one line a subject", head, body, class_="headline")
    return Section("headline", "At a glance", join((table, note)))


def _unit(report: Report, column: Column, columns: Sequence[Column]) -> Unit | None:
    """The unit of a column, which it shares with the others of its group."""
    group = [other for other in columns if other.group == column.group]
    values = [other.value(subject) for other in group for subject in report.subjects]
    return unit_for(values, column.units) if column.units else None


def _filled(column: Column, subject: Subject) -> bool:
    if column.show is not None:
        return column.show(subject) != ABSENT
    return column.value(subject) is not None


def _groups(columns: Sequence[Column]) -> Html:
    groups = [(name, len(list(members))) for name, members in groupby(columns, lambda c: c.group)]
    heads = [
        element("th", name, scope="colgroup", colspan=count, class_="group")
        for name, count in groups
    ]
    subject = element("th", "Subject", scope="col", rowspan=2)
    return element("tr", subject, element("th", "Runs on", scope="col", rowspan=2), *heads)


def _titles(columns: Sequence[Column], units: Sequence[Unit | None]) -> Html:
    heads = [
        element("th", f"{c.title}, {unit.name}" if unit else c.title, scope="col", class_="figure")
        for c, unit in zip(columns, units, strict=True)
    ]
    return element("tr", *heads)


def _rows(subject: Subject, columns: Sequence[Column], units: Sequence[Unit | None]) -> list[Html]:
    cells = [
        element("td", _cell(subject, column, unit), class_="figure")
        for column, unit in zip(columns, units, strict=True)
    ]
    failed = subject.error is not None
    mark = element("span", "failed", class_="badge bad") if failed else ""
    name = element("th", text(subject.name), mark, scope="row")
    runs_on = element("td", _runs_on(subject))
    row = element("tr", name, runs_on, *cells, class_="bad" if failed else None)
    if subject.error is None:
        return [row]
    told = element("td", text(subject.error), colspan=len(columns) + 2)
    return [row, element("tr", told, class_="bad error")]


def _cell(subject: Subject, column: Column, unit: Unit | None) -> Html:
    if column.show is not None:
        return column.show(subject)
    value = column.value(subject)
    return quantity(value, unit) if unit else datum(value)


def _runs_on(subject: Subject) -> Html:
    parts = [part for part in (subject.engine, subject.device, subject.precision) if part]
    return text(", ".join(parts or [subject.program]))


def _columns(report: Report) -> list[Column]:
    classes = dict.fromkeys(
        name for s in report.subjects if s.quality for name in s.quality.accuracy
    )
    return [
        Column("Whole picture", "p50", _time(results.PICTURE, "p50"), TIMES),
        Column("Whole picture", "p95", _time(results.PICTURE, "p95"), TIMES),
        Column("U-Net call", "p50", _time(results.UNET_CALL, "p50"), TIMES),
        Column("U-Net call", "p95", _time(results.UNET_CALL, "p95"), TIMES),
        Column("VAE", "p50", _time(results.VAE_DECODER, "p50"), TIMES),
        Column("Start", "load, warm", _time(results.LOAD, "p50"), TIMES),
        Column("Start", "load, cold", _time(results.COLD_LOAD, "p50"), TIMES),
        Column("Start", "first call", _time(results.FIRST_CALL, "p50"), TIMES),
        Column("Memory", "peak RSS", lambda s: s.memory and s.memory.peak_rss, BYTES),
        Column("Memory", "peak PSS", lambda s: s.memory and s.memory.peak_pss, BYTES),
        Column("Memory", "GPU", lambda s: s.memory and s.memory.device_peak, BYTES),
        Column("Disk", "size", lambda s: s.size_bytes, BYTES),
        Column("Quality", "PSNR, dB", lambda s: s.quality and s.quality.psnr_db, show=psnr),
        Column("Quality", "SSIM", lambda s: s.quality and s.quality.ssim, show=ssim),
        *(_accuracy(name) for name in classes),
        Column("Quality", "CLIP", lambda s: s.quality and s.quality.clip_score),
        *(_share(component) for component in components_of(report)),
        Column("Energy", "J a picture", lambda s: s.energy and s.energy.joules_per_picture),
    ]


def _time(stage: str, statistic: str) -> Callable[[Subject], float | None]:
    def value(subject: Subject) -> float | None:
        if stage not in subject.stages:
            return None
        summary: Summary = subject.stages[stage].summary
        return getattr(summary, statistic)

    return value


def psnr(subject: Subject) -> Html:
    """A subject's PSNR to the reference, or that there is no difference."""
    quality = subject.quality
    if quality is None:
        return ABSENT
    if quality.equal:
        return Html("equal")
    return fixed(quality.psnr_db, 1)


def ssim(subject: Subject) -> Html:
    """A subject's structural similarity to the reference."""
    return fixed(subject.quality.ssim if subject.quality else None, 4)


def _accuracy(name: str) -> Column:
    def value(subject: Subject) -> float | None:
        found = subject.quality and subject.quality.accuracy.get(name)
        return found.estimate if found else None

    title = class_title(name)
    return Column("Quality", title, value, show=lambda s: percent(value(s)))


def _share(component: str) -> Column:
    def value(subject: Subject) -> float | None:
        return next((_shared(x) for x in subject.limits if x.component == component), None)

    title = component_title(component)
    return Column("Share of roofline", title, value, show=lambda s: percent(value(s)))


def _shared(limit: ComponentLimit) -> float | None:
    return limit.share


def interval(estimate: float, low: float, high: float) -> str:
    """A share with its interval, in percent."""
    return f"{100 * estimate:.1f} % ({significant(100 * low)} to {significant(100 * high)})"
