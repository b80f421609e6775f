"""A plot: what plotly.js draws, and what is said to those who can't see it.

Colours are not part of it: a trace's `meta` names one, and the page's script paints it in those of
the light or the dark page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.report.markup import Html, element, escape, json_script, short
from benchmarks.report.tables import details

Trace = dict[str, Any]
"""A trace of plotly.js: https://plotly.com/javascript/reference/."""

LABEL = 20
"""Characters of a name beside an axis."""


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        name: unique in the page.
        title: above it.
        summary: what it shows, in words.
        data: the traces.
        layout: of plotly.js, beside what all plots share.
        height: in pixels.
    """

    name: str
    title: str
    summary: str
    data: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict[str, Any])
    height: int = 360


def figure(plot: Plot, table: Html | None = None, note: str = "") -> Html:
    """A plot with its title, a note on how to read it, and its figures as a table."""
    title = element("h3", plot.title)
    graph = element(
        "div",
        class_="plotly-graph-div",
        id=f"plot-{plot.name}",
        role="img",
        aria_label=plot.summary,
        style=f"height:{plot.height}px",
    )
    spec = json_script({"data": list(plot.data), "layout": {**plot.layout, "height": plot.height}})
    told = element("p", note, class_="note") if note else ""
    figures = details("Figures", table) if table is not None else ""
    return element("figure", element("figcaption", title, told), graph, spec, figures)


def label(text: str, limit: int = LABEL) -> str:
    """A text for plotly.js, which reads its texts as a kind of HTML: escaped, one line, cut."""
    return str(escape(short(text, limit)))


def legend_name(text: str) -> str:
    """A name for the legend, which a narrow screen must hold."""
    return label(text, 30)


def hover_name(text: str) -> str:
    """A name for the box that appears under the pointer."""
    return label(text, 60)


def colour(index: int) -> dict[str, int]:
    """The `meta` of a trace: a subject has one colour in all plots."""
    return {"colour": index}


def names_axis(names: Sequence[str], **more: Any) -> dict[str, Any]:
    """A vertical axis of names, the first on top."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [label(name) for name in names],
        "range": [len(names) - 0.5, -0.5],
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
        **more,
    }


def si_axis(unit: str, title: str = "", **more: Any) -> dict[str, Any]:
    """An axis of values in a unit, with the prefixes of the SI."""
    named = {"title": {"text": title}} if title else {}
    return {"tickformat": "~s", "ticksuffix": unit, **named, **more}


def si(value: float, unit: str) -> str:
    """A round value with a prefix of the SI."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m")):
        if value >= size:
            return f"{value / size:g} {prefix}{unit}".rstrip()
    return f"{value / 1e-6:g} µ{unit}".rstrip()


def log_axis(values: Sequence[float], unit: str = "") -> dict[str, Any]:
    """A logarithmic axis that holds values, and some room on both sides.

    Raises:
        OverflowError: a value is not above 0, or infinite.
    """
    if not all(0 < value < math.inf for value in values):
        raise OverflowError("a figure on a logarithmic axis is out of range")
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.08 * (high - low), 0.1)
    steps = (1,) if high - low > 2 else (1, 3) if high - low > 1 else (1, 2, 5)
    decades = range(math.floor(low - room), math.ceil(high + room) + 1)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return {
        "type": "log",
        "range": [low - room, high + room],
        "tickvals": ticks,
        # plotly.js adds no unit to ticks that are given.
        "ticktext": [si(tick, unit) for tick in ticks],
    }
