"""The whole page: sections in their order, with the styles and scripts that they need within.

Nothing is loaded. The page's own policy forbids the browser every connection, and every script but
the two whose hashes it lists: even a text that came through unescaped could not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib import resources

from benchmarks.bench.results import Report
from benchmarks.report.growth import batches, resolutions
from benchmarks.report.headline import headline
from benchmarks.report.latency import latency
from benchmarks.report.markup import Html, element, text
from benchmarks.report.memory import memory
from benchmarks.report.nodes import nodes
from benchmarks.report.pictures import quality
from benchmarks.report.ratios import ratios
from benchmarks.report.roofline import roofline
from benchmarks.report.section import Section
from benchmarks.report.surroundings import (
    banner,
    builds,
    energy,
    environment,
    notes,
    settings,
    steadiness,
)

MARK = "<!-- made by `latedge report` -->"
"""By which a page is known that may be replaced."""

SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    headline,
    latency,
    ratios,
    quality,
    memory,
    roofline,
    nodes,
    resolutions,
    batches,
    energy,
    builds,
    steadiness,
    environment,
    settings,
    notes,
)
"""The parts of the page; one without data is None."""


def page(report: Report) -> str:
    """A result as an HTML file.

    Raises:
        ResultError: a picture of the result can't be read.
    """
    sections = [found for make in SECTIONS if (found := make(report)) is not None]
    scripts = [Html(_plotly()), Html(_resource("page.js"))]
    head = element("head", *_head(report, scripts))
    body = element("body", _header(report, sections), _main(report, sections), *_scripts(scripts))
    return f"<!DOCTYPE html>\n{MARK}\n{element('html', head, body, lang='en')}\n"


def _head(report: Report, scripts: list[Html]) -> list[Html]:
    return [
        element("meta", charset="utf-8"),
        # The policy comes before all that it is for.
        element("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        # Without it a browser would ask a server for one.
        element("link", rel="icon", href="data:,"),
        element("title", f"latedge bench, {report.date[:40]}"),
        element("style", Html(_resource("page.css"))),
    ]


def _policy(scripts: list[Html]) -> str:
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {hashes}"
    )


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _header(report: Report, sections: list[Section]) -> Html:
    links = [element("a", section.title, href=f"#{section.name}") for section in sections]
    machine = report.machine
    where = ", ".join(part for part in (machine.processor, machine.system) if part)
    button = element("button", "Dark", id="theme", type="button", hidden=True)
    return element(
        "header",
        element("div", element("h1", "latedge bench"), button, class_="top"),
        element("p", element("time", text(report.date)), " · ", text(where), class_="where"),
        element("code", text(report.command), class_="command"),
        element("nav", *links, aria_label="Sections"),
    )


def _main(report: Report, sections: list[Section]) -> Html:
    verdict = banner(report.noise) if report.noise is not None else ""
    without = element(
        "noscript", element("p", "Plots need JavaScript; the tables hold their figures.")
    )
    return element("main", verdict, without, *(section.html() for section in sections))


def _scripts(scripts: list[Html]) -> list[Html]:
    return [Html(f"<script>{script}</script>") for script in scripts]


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _resource(name: str) -> str:
    return (resources.files("benchmarks.report") / name).read_text(encoding="utf-8")
