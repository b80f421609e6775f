"""`python -m benchmarks.sampler_table BUNDLE -o x.json`: every sampler on the shapes model.

Prompt accuracy at several numbers of steps, the paired difference to DDIM's 50 steps with its 95 %
interval, and PSNR to the converged picture: as JSON, and as a Markdown table on stdout. The file is
written after each point; an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from benchmarks.command_line import run_command
from benchmarks.samplers.accuracy import (
    BASELINE,
    CONVERGED,
    STEPS,
    Config,
    Measurement,
    Point,
    Table,
)
from benchmarks.samplers.drawing import Way, has_karras
from benchmarks.shapes.intervals import Interval
from runtimes.errors import UsageError
from runtimes.pictures import write_whole
from runtimes.pipeline import Pipeline
from runtimes.samplers import sampler_names

NAME = "python -m benchmarks.sampler_table"
CLOSE = 0.02
"""The difference in accuracy that is called close."""


def as_text(table: Table) -> str:
    """The table in Markdown, and what it says at the steps with the most prompts."""
    config = table.config
    lines = [
        f"| steps | {' | '.join(map(str, config.steps))} |",
        "|---" * (len(config.steps) + 1) + "|",
        *(_row(table, way) for way in config.ways),
        "",
        "Each cell: % of prompts drawn right, the difference to "
        f"{BASELINE}'s {config.baseline_steps} steps on the same prompts with its 95 % interval, "
        "median PSNR to the converged picture "
        f"({CONVERGED}, {config.converged_steps} steps; none where the sampler draws noise). "
        f"{2 * config.count_at('', config.close_steps)} prompts at {config.close_steps} steps, "
        f"{2 * config.count} elsewhere, guidance scale {config.guidance_scale:g}, "
        f"{table.origin.engine}.",
        *_verdict(table),
        *dict.fromkeys(
            f"{point.way} at {point.steps}: {point.refused}"
            for point in table.points
            if point.refused is not None
        ),
    ]
    return "\n".join(lines)


def _row(table: Table, way: str) -> str:
    cells = [_cell(table, table.point(way, steps)) for steps in table.config.steps]
    return f"| {way} | {' | '.join(cells)} |"


def _cell(table: Table, point: Point | None) -> str:
    baseline = table.point(*table.config.baseline)
    if point is None or point.refused is not None or baseline is None:
        return "–"
    told = f"{100 * statistics.fmean(point.all_right):.0f}"
    if point is not baseline:
        told += f" ({_points(point.against(baseline))})"
    near = f", {statistics.median(point.psnr_db):.0f} dB" if point.psnr_db else ""
    return told + near


def _points(difference: Interval) -> str:
    values = (100 * part for part in (difference.estimate, difference.low, difference.high))
    estimate, low, high = (f"{value:+.1f}" for value in values)
    return f"{estimate}, {low} to {high}"


def _verdict(table: Table) -> list[str]:
    """Which deterministic samplers are close to the baseline where most prompts were asked."""
    baseline, steps = table.point(*table.config.baseline), table.config.close_steps
    found = [(way, table.point(way, steps)) for way in table.config.ways]
    gains = {
        way: point.against(baseline)
        for way, point in found
        if baseline is not None and point is not None and point.psnr_db is not None
    }
    near = [way for way, gain in gains.items() if abs(gain.estimate) <= CLOSE]
    sure = [way for way in near if gains[way].low >= -CLOSE]
    off = [f"{way} {_points(gain)}" for way, gain in gains.items() if way not in near]
    return [
        f"Deterministic ones at {steps} steps within {100 * CLOSE:g} points: "
        f"{', '.join(near) or 'none'}.",
        f"Of these no loss above {100 * CLOSE:g} points is within the interval: "
        f"{', '.join(sure) or 'none'}.",
        f"Further off: {'; '.join(off) or 'none'}.",
    ]


def earlier_points(output: Path, config: Config, pipe: Pipeline) -> tuple[Point, ...]:
    """The points of an interrupted run.

    Raises:
        UsageError: the file holds something else, or was measured otherwise.
    """
    if not output.exists() or output.stat().st_size == 0:
        return ()
    try:
        table = msgspec.json.decode(output.read_bytes(), type=Table)
    except msgspec.DecodeError as e:
        raise UsageError(f"{output} is no table of samplers, and is not replaced: {e}.") from e
    if (_same(table.config), table.origin) != (_same(config), pipe.origin):
        raise UsageError(
            f"{output} was measured with another bundle, machine or other options; give another "
            "place, or delete it."
        )
    wanted = {*config.ways, BASELINE}
    return tuple(point for point in table.points if point.way in wanted)


def _same(config: Config) -> Config:
    """What must not change from run to run; samplers and steps may be added."""
    return msgspec.structs.replace(config, ways=(), steps=())


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The shapes model, compiled.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write.")],
    sampler: Annotated[
        list[str] | None,
        typer.Option(help="Such as euler or euler+karras; may be given several times."),
    ] = None,
    karras: Annotated[
        bool, typer.Option("--karras", help="With all samplers, those with Karras' levels too.")
    ] = False,
    steps: Annotated[str, typer.Option(help="Numbers of steps, with commas between.")] = ",".join(
        map(str, STEPS)
    ),
    count: Annotated[int, typer.Option(help="Prompts a class.")] = 25,
    close_count: Annotated[int, typer.Option(help="Prompts a class at 20 steps.")] = 200,
    baseline_steps: Annotated[int, typer.Option(help="Of DDIM, compared with.")] = 50,
    converged_steps: Annotated[int, typer.Option(help="Of the converged pictures.")] = 200,
) -> None:
    """Tell what every sampler makes of the shapes model at several numbers of steps."""
    named = [str(Way.parse(name)) for name in sampler] if sampler else _all_ways(karras)
    if not 1 <= count <= close_count:
        raise UsageError(
            f"--count is at least 1 and at most --close-count; given {count} and {close_count}."
        )
    if not output.parent.is_dir():
        raise UsageError(f"{output} can't be written: its folder does not exist.")
    config = Config(
        ways=tuple(dict.fromkeys(named)),
        steps=_numbers(steps),
        count=count,
        close_count=close_count,
        baseline_steps=baseline_steps,
        converged_steps=converged_steps,
    )
    with Pipeline.open(bundle) as pipe:
        known = earlier_points(output, config, pipe)
        table = Table(config=config, origin=pipe.origin, points=known)
        for table in Measurement(pipe, config, _tell).run(known):
            write_whole(output, msgspec.json.format(msgspec.json.encode(table), indent=1))
    print(as_text(table))


def _all_ways(karras: bool) -> list[str]:
    plain = list(sampler_names())
    more = [str(Way(name, karras=True)) for name in plain if karras and has_karras(name)]
    return sorted([*plain, *more])


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as e:
        raise UsageError(f"--steps takes whole numbers such as 4,8,20; given {text!r}.") from e
    if found[0] < 1:
        raise UsageError(f"--steps takes numbers of 1 and more; given {text!r}.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    return run_command(command, NAME, arguments)


if __name__ == "__main__":
    sys.exit(main())
