"""Shows that `latedge verify` names the node of a planted fault, and what finding it costs.

    python -m benchmarks.find_faults BUNDLE --against SOURCE [--component unet] [--kind K] [--json]

For each kind of fault one is planted in a copy of the component, and the copy is verified by the
command line in a process of its own, with `--locate`: a single node that computes in fp16 leaves
most components above their threshold. Seconds and peak memory are those of that process.

`--search-alone` leaves out what verification does before it looks for the node: the component is
captured once and torch runs once for all faults, and seconds are those of each search. Peak memory
is that of the whole process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.command_line import run_command
from benchmarks.planted_faults import KINDS, Planted, plant
from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError, unknown_name

NAME = "python -m benchmarks.find_faults"

Row = Mapping[str, Any]


def find(planted: Planted, bundle: Path, source: Path, component: str) -> Row:
    """Verifies a bundle with a planted fault in a process of its own.

    Args:
        planted: the fault.
        bundle: the copy that has it.
        source: where torch's weights come from.
        component: the only component of the copy.
    """
    words = [sys.executable, "-m", "latedge", "verify", str(bundle), "--against", str(source)]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([*words, "--locate", "--json"], stdout=out)
        # Of this one process, where getrusage gives the largest of all that have ended.
        _, _, usage = os.wait4(process.pid, 0)
        out.seek(0)
        printed = out.read()
    report = json.loads(printed)["components"][component] if printed else {}
    found = report.get("departure") or {}
    seconds = time.perf_counter() - start
    return _row(
        planted,
        found.get("node"),
        found.get("psnr_db"),
        report.get("passed"),
        seconds,
        usage.ru_maxrss,
    )


class Searcher:
    """Searches copies of a bundle's component, which is captured once for all of them."""

    def __init__(self, bundle: Path, source: Path, component: str) -> None:
        """Captures the component and runs torch on it.

        Args:
            bundle: the portable bundle.
            source: where torch's weights come from.
            component: the component.
        """
        from exporter.locate import Recaptured
        from exporter.reference import Carried, carried_widths, run_reference
        from exporter.verify import references

        opened = open_bundle(bundle)
        item = references(opened, source)[component]
        widths = carried_widths(item.config if component == "unet" else None)
        carried = Carried.initial(opened.manifest, *widths)
        samples, _ = run_reference(opened.path, opened.manifest, item, carried)
        self._feeds = samples[0].feeds
        self._captured = Recaptured.of(item)
        self._component = component

    def find(self, planted: Planted, bundle: Path) -> Row:
        """Searches a copy with a planted fault."""
        from exporter.departure import find_departure
        from exporter.locate import subject_of
        from exporter.verify import threshold_db

        opened = open_bundle(bundle)
        graph = opened.graph(self._component)
        start = time.perf_counter()
        subject = subject_of(bundle, graph, self._captured, threshold_db(opened.manifest, graph))
        found = find_departure(subject, self._feeds, lambda _: None)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        node, psnr_db = (None, None) if found is None else (found.node, found.psnr_db)
        return _row(planted, node, psnr_db, None, seconds, peak)


def _row(
    planted: Planted,
    node: str | None,
    psnr_db: float | None,
    passed: bool | None,
    seconds: float,
    peak_rss: int,
) -> Row:
    scale = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return {
        "kind": planted.kind,
        "what": planted.what,
        "planted": planted.node,
        "found": node,
        "right": node == planted.node,
        "psnr_db": psnr_db,
        "component_passed": passed,
        "seconds": round(seconds, 1),
        "peak_rss_gb": round(peak_rss * scale / 1e9, 2),
    }


def command(
    bundle: Annotated[Path, typer.Argument(help="A portable bundle.")],
    against: Annotated[Path, typer.Option(help="The source that it was exported from.")],
    component: Annotated[str, typer.Option(help="Where faults are planted.")] = "unet",
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of nodes.")] = 0,
    search_alone: Annotated[
        bool, typer.Option("--search-alone", help="Only search, in this process; capture once.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Rows as JSON on stdout.")] = False,
) -> None:
    """Plant a fault of each kind and tell whether verification names its node."""
    for name in kind or ():
        if name not in KINDS:
            raise unknown_name("kind of fault", name, KINDS)
    open_bundle(bundle).graph(component)
    searcher = Searcher(bundle, against, component) if search_alone else None
    rows: list[Row] = []
    for name in kind or KINDS:
        with tempfile.TemporaryDirectory(dir=bundle.absolute().parent) as place:
            copy = Path(place) / "planted"
            try:
                planted = plant(bundle, component, name, seed, copy)
            except LookupError as e:
                print(f"{name}: left out, {e}", file=sys.stderr)
                continue
            row = (
                find(planted, copy, against, component)
                if searcher is None
                else searcher.find(planted, copy)
            )
        rows.append(row)
        if not as_json:
            print(_line(row), flush=True)
    if as_json:
        print(json.dumps(rows, indent=1))
    wrong = [row for row in rows if not row["right"]]
    print(f"{len(rows) - len(wrong)} of {len(rows)} named exactly", file=sys.stderr)
    if wrong or not rows:
        raise LatedgeError("a planted fault was not named" if rows else "no fault was planted")


def _line(row: Row) -> str:
    mark = "named" if row["right"] else f"MISSED ({row['found']})"
    psnr = "" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB at the node, "
    return (
        f"{row['kind']}: {mark}, {row['planted']}; {psnr}{row['seconds']} s, "
        f"{row['peak_rss_gb']} GB"
    )


if __name__ == "__main__":
    sys.exit(run_command(command, NAME))
