"""Ratios of the subjects to the first one, with their confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench.results import Ratio, Report
from benchmarks.report.formats import datum
from benchmarks.report.markup import Html, element, join, short, text
from benchmarks.report.names import STAGE_TITLES, in_order, stage_title
from benchmarks.report.plot import Plot, Trace, colour, figure, hover_name, legend_name, names_axis
from benchmarks.report.section import Section
from benchmarks.report.tables import table

_HOVER = (
    "<b>%{customdata[0]}</b> by %{customdata[1]}<br>%{x:.4f} (%{customdata[2]:.4f} to "
    "%{customdata[3]:.4f})<br>%{customdata[4]}<extra></extra>"
)
_NOTE = (
    "Right of the line the subject takes longer than its baseline. An interval that holds 1 tells "
    "no difference."
)


def ratios(report: Report) -> Section | None:
    """The pairs' ratios; None where one subject was measured."""
    if not report.ratios:
        return None
    baselines = dict.fromkeys(ratio.baseline for ratio in report.ratios)
    parts = [_baseline(report, number, name) for number, name in enumerate(baselines)]
    return Section("ratios", "Compared pair by pair", join(parts))


def _baseline(report: Report, number: int, baseline: str) -> Html:
    found = [ratio for ratio in report.ratios if ratio.baseline == baseline]
    stages = in_order((ratio.stage for ratio in found), STAGE_TITLES)
    subjects = list(dict.fromkeys(ratio.subject for ratio in found))
    plot = Plot(
        name=f"ratios-{number}",
        title=f"Time by that of {short(baseline, 60)}",
        summary="; ".join(_told(ratio) for ratio in found),
        data=[_trace(report, found, stages, subjects, name) for name in subjects],
        layout={
            "xaxis": {"title": {"text": "ratio"}, **_scale(found)},
            "yaxis": names_axis([stage_title(stage) for stage in stages]),
            "hovermode": "closest",
            "showlegend": True,
            "shapes": [
                {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper"},
            ],
        },
        height=120 + (24 + 16 * len(subjects)) * len(stages),
    )
    return figure(plot, _figures(found), _NOTE)


def _told(ratio: Ratio) -> str:
    name = short(ratio.subject, 60)
    return f"{name}, {stage_title(ratio.stage)}: {ratio.estimate:.3f}, {ratio.verdict}"


def _scale(found: Sequence[Ratio]) -> dict[str, object]:
    """Twice and half are equally far from 1 on a logarithmic axis."""
    wide = max(r.high for r in found) > 2 or min(r.low for r in found) < 0.5
    return {"type": "log"} if wide and min(r.low for r in found) > 0 else {}


def _trace(
    report: Report, found: Sequence[Ratio], stages: list[str], subjects: list[str], name: str
) -> Trace:
    mine = [ratio for ratio in found if ratio.subject == name]
    offset = 0.6 * ((subjects.index(name) + 0.5) / len(subjects) - 0.5)
    index = next((i for i, subject in enumerate(report.subjects) if subject.name == name), 0)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": legend_name(name),
        "x": [r.estimate for r in mine],
        "y": [stages.index(r.stage) + offset for r in mine],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [r.high - r.estimate for r in mine],
            "arrayminus": [r.estimate - r.low for r in mine],
        },
        "customdata": [
            [hover_name(r.subject), hover_name(r.baseline), r.low, r.high, r.verdict] for r in mine
        ],
        "hovertemplate": _HOVER,
        "meta": colour(index),
    }


def _figures(found: Sequence[Ratio]) -> Html:
    rows = [
        [
            text(stage_title(r.stage)),
            text(r.subject),
            _verdict(r),
            *(datum(value, f"{value:.4f}") for value in (r.estimate, r.low, r.high)),
            datum(r.confidence, f"{100 * r.confidence:g} %"),
            datum(r.pairs),
        ]
        for r in found
    ]
    head = ["Stage", "Subject", "Verdict", "ratio", "low", "high", "confidence", "pairs"]
    return table("Ratios with their confidence intervals", head, rows)


def _verdict(ratio: Ratio) -> Html:
    kinds = {"faster": "badge good", "slower": "badge bad"}
    return element("span", ratio.verdict, class_=kinds.get(ratio.verdict, "badge"))
