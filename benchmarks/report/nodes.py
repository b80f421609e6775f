"""The nodes that cost the most, as the engines' own profilers tell."""

from __future__ import annotations

from benchmarks.bench.results import ComponentLimit, NodeCost, Report, Subject
from benchmarks.report.formats import datum, percent, significant
from benchmarks.report.markup import Html, element, join, text
from benchmarks.report.names import component_title
from benchmarks.report.section import Section
from benchmarks.report.tables import table


def nodes(report: Report) -> Section | None:
    """The costliest nodes of each component; None where none was profiled."""
    parts = [
        _component(subject, limit)
        for subject in report.subjects
        for limit in subject.limits
        if limit.costliest
    ]
    return Section("nodes", "Costliest nodes", join(parts)) if parts else None


def _component(subject: Subject, limit: ComponentLimit) -> Html:
    together = sum(node.share for node in limit.costliest)
    title = element(
        "summary",
        text(subject.name),
        f", {component_title(limit.component)}: {100 * together:.0f} % in "
        f"{len(limit.costliest)} nodes",
    )
    largest = max(node.share for node in limit.costliest) or 1.0
    rows = [_row(node, largest) for node in limit.costliest]
    caption = f"Costliest nodes of {subject.name}, {component_title(limit.component)}"
    body = table(caption, ["Node", "share", "", "ms a call", "operator"], rows)
    return element("details", title, body, class_="nodes", open=limit.component == "unet")


def _row(node: NodeCost, largest: float) -> list[str]:
    bar = element("span", class_="bar", style=f"width:{100 * node.share / largest:.1f}%")
    return [
        text(node.name),
        percent(node.share),
        element("span", bar, class_="track", aria_hidden="true"),
        datum(node.time_ms, significant(node.time_ms)),
        text(node.kind),
    ]
