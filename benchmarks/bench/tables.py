"""A report as tables, for the terminal and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bench.columns import (
    ABSENT,
    COLUMNS,
    STATISTICS,
    Column,
    in_order,
    milliseconds,
    size,
)
from benchmarks.bench.results import (
    PICTURE,
    Noise,
    Report,
    Resolution,
    Stage,
    Subject,
)

TOLD = 0.05
"""Half an interval from which on it is said that small differences can't be told."""

NODES_IN_TEXT = 3
"""Of a component's costliest nodes; the other forms have ten."""

UNBOUND_WIDTH = 200
"""Characters of a line where the output is no terminal."""


@dataclass(frozen=True)
class Table:
    """A table: its first column is aligned to the left, the others to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(report: Report, *, nodes: int = 10) -> list[Table]:
    """Everything that a report holds, as tables; those without a row are left out.

    Args:
        report: what is shown.
        nodes: how many of the costliest nodes of a component.
    """
    found = [
        _subjects(report),
        _stages(report),
        _ratios(report),
        _sizes(report),
        _batches(report),
        _limits(report),
        _costliest(report, nodes),
        _remarks(report),
    ]
    return [table for table in found if table.rows]


def heading(report: Report) -> list[str]:
    """What the figures hold for: settings, plan, machine and its noise, a line each."""
    machine, plan = report.machine, report.plan
    turns = "in turns" if plan.interleaved else "one after the other"
    lines = [
        f"{report.date}, latedge {report.version}: {report.command}",
        f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / 1e9:.0f} GB, "
        f"{machine.system}, Python {machine.python}; "
        + ", ".join(f"{name} {number}" for name, number in machine.packages.items()),
        f"{_counted(plan.sessions, 'session')} of {_counted(plan.rounds, 'picture')}, {turns}",
    ]
    settings = next((each.settings for each in report.subjects if each.settings), None)
    if settings is not None:
        lines[2] += (
            f": {settings.width}×{settings.height}, "
            f"{_counted(settings.num_inference_steps, 'step')} of {settings.sampler}, "
            f"guidance {settings.guidance_scale:g}"
        )
    if report.peaks is not None:
        lines.append(
            f"machine's peak, {_counted(report.peaks.threads, 'thread')}: "
            f"{report.peaks.flops_per_s / 1e9:.0f} GFLOP/s, "
            f"{report.peaks.bytes_per_s / 1e9:.1f} GB/s"
        )
    return lines + noise_lines(report.noise) + ratio_lines(report)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def noise_lines(noise: Noise | None) -> list[str]:
    """How steady the machine was, and why that is said."""
    if noise is None:
        return []
    lines = [f"the machine was {noise.verdict}"]
    return [": ".join([*lines, "; ".join(noise.reasons)])] if noise.reasons else lines


def ratio_lines(report: Report) -> list[str]:
    """What the ratios can't tell, and what would let them."""
    if len(report.subjects) > 1 and report.plan.sessions < 2:
        return ["no ratios: how much processes differ shows in two sessions or more (--sessions)"]
    reach = [each.high / each.estimate - 1 for each in report.ratios if each.stage == PICTURE]
    if not reach or max(reach) <= TOLD:
        return []
    return [
        f"differences of a whole picture below {100 * max(reach):.0f} % can't be told here; more "
        "sessions and rounds narrow that, such as --sessions 10 --rounds 24"
    ]


def as_text(report: Report) -> None:
    """Prints a report on stdout; the subjects stand side by side, a line for each figure."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = UNBOUND_WIDTH
    for line in heading(report):
        console.print(Text(line))
    first, *others = tables(report, nodes=NODES_IN_TEXT)
    for table in (transposed(first), *others):
        shown = RichTable(title=table.title, title_justify="left")
        for index, title in enumerate(table.header):
            shown.add_column(Text(title), justify="right" if index else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(Text(cell) for cell in row))
        console.print(shown)


def transposed(table: Table) -> Table:
    """Rows become columns."""
    header, *rows = zip(table.header, *table.rows, strict=True)
    return Table(table.title, header, rows)


def as_markdown(report: Report) -> str:
    """A report in Markdown."""
    parts = ["\n".join(f"- {_escaped(line)}" for line in heading(report))]
    for table in tables(report):
        marks = ["---", *("---:" for _ in table.header[1:])]
        lines = [table.header, marks, *table.rows]
        body = "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)
        parts.append(f"**{_escaped(table.title)}**\n\n{body}")
    return "\n\n".join(parts)


def _subjects(report: Report) -> Table:
    columns = [column for column in COLUMNS if _has(column, report.subjects)]
    rows = [[column.cell(each) for column in columns] for each in report.subjects]
    return Table("Subjects", [column.title for column in columns], rows)


def _has(column: Column, subjects: Sequence[Subject]) -> bool:
    return any(column.cell(each) != ABSENT for each in subjects)


def _stages(report: Report) -> Table:
    rows = [
        [each.name, name, *(_statistic(found, key) for key in STATISTICS)]
        for each in report.subjects
        for name, found in in_order(each.stages)
    ]
    return Table("Stages", ["subject", "stage", *STATISTICS], rows)


def _statistic(found: Stage, key: str) -> str:
    value = getattr(found.summary, key)
    if key == "n":
        return str(value)
    return f"{100 * value:.1f} %" if key == "spread" else milliseconds(value)


def _ratios(report: Report) -> Table:
    ratios = report.ratios
    rows = [
        [
            f"{each.subject} / {each.baseline}",
            each.stage,
            f"{each.estimate:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            str(each.pairs),
            each.verdict,
        ]
        for each in ratios
    ]
    confidence = f"{100 * ratios[0].confidence:g} %" if ratios else ""
    how = ", pair by pair" if report.plan.interleaved else ""
    title = f"Ratios{how} ({confidence} interval, all stages together)"
    return Table(title, ["ratio", "stage", "estimate", "interval", "pairs", "verdict"], rows)


def _sizes(report: Report) -> Table:
    rows = [
        [
            each.name,
            f"{found.width}×{found.height}",
            milliseconds(found.unet_call_ms),
            milliseconds(found.vae_decoder_ms),
            milliseconds(found.picture_ms),
            size(found.peak_rss),
            *_growth(found, each.resolutions[0]),
            found.error or "",
        ]
        for each in report.subjects
        for found in each.resolutions
    ]
    header = ["subject", "size", "U-Net call", "VAE decoder", "picture", "peak RSS"]
    growth = ["pixels by the first's", "its time", "its memory"]
    return Table("Cost by size", [*header, *growth, "error"], rows)


def _growth(found: Resolution, first: Resolution) -> list[str]:
    """Pixels, time of the picture and memory by those of the first size."""
    pixels = found.height * found.width / (first.height * first.width)
    pairs = ((found.picture_ms, first.picture_ms), (found.peak_rss, first.peak_rss))
    ratios = (above / below if above and below else None for above, below in pairs)
    return [f"× {pixels:.3g}", *(ABSENT if r is None else f"× {r:.3g}" for r in ratios)]


def _batches(report: Report) -> Table:
    rows = [
        [
            each.name,
            str(found.size),
            ABSENT if found.pictures_per_s is None else f"{found.pictures_per_s:.3g}",
            milliseconds(found.batch_ms),
            size(found.peak_rss),
            found.error or "",
        ]
        for each in report.subjects
        for found in each.batches
    ]
    header = ["subject", "at once", "pictures/s", "batch", "peak RSS", "error"]
    return Table("Throughput", header, rows)


def _limits(report: Report) -> Table:
    rows = [
        [
            each.name,
            found.component,
            _scaled(found.flops, 1e9, 2),
            _scaled(found.bytes, 1e6, 1),
            milliseconds(found.time_ms),
            milliseconds(found.compute_ms),
            milliseconds(found.memory_ms),
            ABSENT if found.share is None else f"{100 * found.share:.0f} %",
            found.note or "",
        ]
        for each in report.subjects
        for found in each.limits
    ]
    header = ["subject", "component", "GFLOP", "MB", "call", "at peak FLOP/s", "at peak B/s"]
    return Table("Limits of one call", [*header, "of roofline", "note"], rows)


def _scaled(value: float | None, unit: float, digits: int) -> str:
    return ABSENT if value is None else f"{value / unit:.{digits}f}"


def _costliest(report: Report, most: int) -> Table:
    rows = [
        [each.name, limit.component, node.name, node.kind, f"{100 * node.share:.1f} %"]
        for each in report.subjects
        for limit in each.limits
        for node in limit.costliest[:most]
    ]
    return Table("Costliest nodes", ["subject", "component", "node", "kind", "share"], rows)


def _remarks(report: Report) -> Table:
    rows = [
        [each.name, note]
        for each in report.subjects
        for note in (*each.notes, *(each.quality.notes if each.quality else ()))
    ]
    return Table("Notes", ["subject", "note"], rows)


def _escaped(text: str) -> str:
    marked = re.sub(r"([\\`*\[\]|])", r"\\\1", " ".join(text.split()))
    return marked.replace("&", "&amp;").replace("<", "&lt;")
