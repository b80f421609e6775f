"""Tables: named for who can't see them, in boxes that scroll where the screen is narrow."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report.formats import ABSENT
from benchmarks.report.markup import Html, element, join, short, text


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table whose first column names the rows.

    Args:
        caption: what it shows, for readers who hear the page.
        head: of each column.
        rows: cells, as many as `head`. A column with figures (`formats.datum`) is set to the right,
            one that nothing is in is left out.
    """
    kept = [i for i in range(len(head)) if any(row[i] != ABSENT for row in rows)]
    head, rows = [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
    aligned = [any(is_figure(row[i]) for row in rows) for i in range(len(head))]
    heads = [_head(cell, right) for cell, right in zip(head, aligned, strict=True)]
    body = [
        element("tr", *(_cell(i, cell, aligned[i]) for i, cell in enumerate(row))) for row in rows
    ]
    return scrolling(caption, element("thead", element("tr", *heads)), element("tbody", join(body)))


def facts(caption: str, rows: Sequence[tuple[str, str]]) -> Html:
    """A table of names and what belongs to them; a row without is left out."""
    body = [
        element("tr", element("th", text(name), scope="row"), element("td", value))
        for name, value in rows
        if value != ABSENT
    ]
    return scrolling(caption, element("tbody", join(body)), class_="facts")


def scrolling(caption: str, *parts: Html, class_: str | None = None) -> Html:
    """A table of these parts in a box of its own; the keyboard can scroll it."""
    caption = short(caption, 120)
    named = element("caption", caption, class_="heard")
    inner = element("table", named, *parts, class_=class_)
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex=0)


def details(title: str, *children: str) -> Html:
    """What is shown when asked for, and in print."""
    return element("details", element("summary", title), *children)


def is_figure(cell: str) -> bool:
    """Whether a cell holds a figure."""
    return isinstance(cell, Html) and cell.startswith("<data")


def _head(cell: str, right: bool) -> Html:
    return element("th", cell, scope="col", class_="figure" if right else None)


def _cell(index: int, cell: str, right: bool) -> Html:
    if index == 0:
        return element("th", cell, scope="row")
    return element("td", cell, class_="figure" if right else None)
