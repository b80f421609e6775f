"""`latedge report`: a result of `latedge bench` as a page to look at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from runtimes.errors import LatedgeError, UsageError

SUFFIXES = (".html", ".htm")


def report(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A file that `latedge bench --json` wrote.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a report that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Make one HTML file of a benchmark's result; it needs no network."""
    size_bytes, subjects = write_report(result, output, force=force)
    if as_json:
        print(json.dumps({"path": str(output), "size_bytes": size_bytes, "subjects": subjects}))
    else:
        plural = "" if subjects == 1 else "s"
        print(f"{output}: {subjects} subject{plural}, {size_bytes / 1e6:.1f} MB")


def write_report(result: Path, output: Path, *, force: bool) -> tuple[int, int]:
    """Writes the page of a result, whole or not at all.

    Args:
        result: JSON of `latedge bench`.
        output: the HTML file.
        force: replace a report that is there; never another file.

    Returns:
        The page's bytes, and how many subjects it shows.

    Raises:
        UsageError: `output` can't be written there.
        ResultError: `result` can't be read, or its figures are absurd.
        LatedgeError: the disk refuses the page.
    """
    check_output(output, force=force)
    from benchmarks.bench.results import ResultError, read
    from benchmarks.report.page import page
    from runtimes.pictures import write_whole

    found = read(result)
    try:
        data = page(found).encode()
    except ArithmeticError as e:
        raise ResultError(f"{result} has figures that can't be drawn: {e}.") from e
    try:
        write_whole(output, data)
    except OSError as e:
        raise LatedgeError(f"{output} can't be written: {e.strerror}.") from e
    return len(data), len(found.subjects)


def check_output(output: Path, *, force: bool) -> None:
    """Refuses a place for a page before any work.

    Raises:
        UsageError: not a .html, its folder doesn't exist, or something is there that is not to be
            replaced.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"reports are written as HTML: {output} must end in .html.")
    if not output.parent.is_dir():
        raise UsageError(f"{output} can't be written: the folder {output.parent} does not exist.")
    if not os.path.lexists(output):
        return
    if not force:
        raise UsageError(f"{output} exists; give another place, or --force to replace it.")
    if not _is_report(output):
        raise UsageError(
            f"{output} is something else than a report, and is not replaced; give another place."
        )


def _is_report(path: Path) -> bool:
    """Whether a mistyped --force would lose nothing but what can be made again."""
    from benchmarks.report.page import MARK

    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return MARK.encode() in file.read(200)
