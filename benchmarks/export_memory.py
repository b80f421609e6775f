"""`python -m benchmarks.export_memory [MODEL…]`: peak memory and time of an export, by phase.

Each model (synthetic, of true size, or any source) is exported in a process of its own. Linux
keeps the largest resident set of each process; it is set back where a phase begins, so that no
peak is missed. What only reads the source before the first phase counts as "open".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.bench.machine import describe
from benchmarks.bench.memory import MemorySampler
from benchmarks.command_line import run_command
from benchmarks.synthetic import MODELS, synthesize
from exporter.export import VERIFY
from exporter.phases import PHASES, WEIGHTS
from runtimes.errors import LatedgeError, UsageError, unknown_name

NAME = "python -m benchmarks.export_memory"
OUTPUT = Path("benchmarks/results/export-memory.json")
OPEN = "open"
_SMALL = ("tiny-", "small-")


@dataclass(frozen=True)
class Phase:
    """A part of the work on a component.

    Attributes:
        component: of the bundle; empty before the first.
        phase: see `exporter.phases.PHASES`, or `OPEN`.
        seconds: from its beginning to the next one's.
        cpu_seconds: of the process, all its threads; on a machine that others use the better one.
        peak_rss: bytes of the process tree, at most.
    """

    component: str
    phase: str
    seconds: float
    cpu_seconds: float
    peak_rss: int


@dataclass(frozen=True)
class Row:
    """One export.

    Attributes:
        model: the synthetic model's name, or the source's folder.
        verify: what was compared with torch.
        weight_bytes: of the bundle's weight files.
        load_average: of the machine when it began: who else used it.
        phases: in their order.
    """

    model: str
    verify: str
    weight_bytes: int
    load_average: float | None
    phases: tuple[Phase, ...]

    @property
    def peak_rss(self) -> int:
        """Bytes of the process tree, at most."""
        return max(phase.peak_rss for phase in self.phases)

    def seconds(self, *, cpu: bool = False, copying: bool = True) -> float:
        """Of all phases, with or without the copying of weights."""
        counted = [phase for phase in self.phases if copying or phase.phase != WEIGHTS]
        return sum(phase.cpu_seconds if cpu else phase.seconds for phase in counted)


def full_sized() -> list[str]:
    """The synthetic models that have a published model's size."""
    return [name for name in MODELS if not name.startswith(_SMALL)]


def measure(model: str, source: Path, output: Path, verify: str) -> Row:
    """Exports a source in a process of its own and samples that process and its children.

    Args:
        model: the name in the row.
        source: what is exported.
        output: the bundle, which stays.
        verify: as `latedge export` takes it.

    Raises:
        LatedgeError: the export failed; its own line is on stderr.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    command = [sys.executable, "-m", "benchmarks.export_worker", str(source), str(output), verify]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            phases = _follow(process)
        finally:
            process.kill()
    if not phases:
        raise LatedgeError(f"{model}: the export that was measured failed.")
    weights = sum(file.stat().st_size for file in output.rglob("*.safetensors"))
    return Row(model, verify, weights, load, tuple(phases))


def _follow(process: subprocess.Popen[str]) -> list[Phase]:
    """The phases of a worker, which waits at each until it is marked; nothing where it failed."""
    assert process.stdout is not None
    assert process.stdin is not None
    sampler = MemorySampler(process.pid)
    sampler.start()
    marks: list[tuple[dict[str, Any], float]] = []
    try:
        for line in process.stdout:
            told = json.loads(line)
            marks.append((told, time.perf_counter()))
            sampler.mark(_stage(told))
            if told["phase"] == "end":
                break
            process.stdin.write("\n")
            process.stdin.flush()
    finally:
        memory = sampler.stop()
    if not marks or marks[-1][0]["phase"] != "end":
        return []
    return [
        Phase(
            component=told["component"],
            phase=told["phase"],
            seconds=round(until - since, 2),
            cpu_seconds=round(after["cpu_seconds"] - told["cpu_seconds"], 2),
            peak_rss=memory.by_stage[_stage(told)],
        )
        for (told, since), (after, until) in pairwise(marks)
    ]


def _stage(told: dict[str, Any]) -> str:
    return f"{told['component']} {told['phase']}"


def table(rows: Sequence[Row]) -> str:
    """Markdown: a model a line, then the phases of the one that took most."""
    lines = [
        "| model | weights | verified | peak RSS | seconds | but for copying | CPU s likewise |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.model} | {_gb(row.weight_bytes)} | {row.verify} | {_gb(row.peak_rss)} | "
        f"{row.seconds():.0f} | {row.seconds(copying=False):.0f} | "
        f"{row.seconds(cpu=True, copying=False):.0f} |"
        for row in rows
    ]
    largest = max(rows, key=lambda row: row.peak_rss)
    lines += ["", f"{largest.model} by phase:", "", "| component | phase | peak RSS | s | CPU s |"]
    lines += ["|---|---|---:|---:|---:|"]
    lines += [
        f"| {each.component} | {each.phase} | {_gb(each.peak_rss)} | {each.seconds:.1f} | "
        f"{each.cpu_seconds:.1f} |"
        for each in largest.phases
    ]
    return "\n".join(lines)


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def main(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Synthetic models by name, or folders of models; none for all of true size.",
        ),
    ] = None,
    verify: Annotated[
        str, typer.Option(help=f"As the export takes it: {', '.join(VERIFY)}.")
    ] = "none",
    work: Annotated[
        Path | None, typer.Option(help="Folder for models and bundles; a temporary one without.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON; rows of other models in it stay.")
    ] = OUTPUT,
) -> None:
    """Measures memory and time of exports by phase; prints a table."""
    if verify not in VERIFY:
        raise unknown_name("verification", verify, VERIFY)
    names = models or full_sized()
    for name in names:
        if name not in MODELS and not Path(name).is_dir():
            known = ", ".join(MODELS)
            raise UsageError(f"{name!r} is neither a folder nor a synthetic model; known: {known}.")
    for name in names:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            _tell(name, "is made")
            place = Path(folder)
            source = Path(name) if name not in MODELS else synthesize(name, place / "model")
            _tell(name, "is exported")
            row = measure(Path(name).name, source, place / "bundle", verify)
        _write(output, row)
    print(table(_kept(output)))


def _tell(name: str, what: str) -> None:
    print(f"{name} {what}", file=sys.stderr)


def _kept(output: Path) -> list[Row]:
    if not output.is_file():
        return []
    return msgspec.convert(json.loads(output.read_bytes())["rows"], list[Row])


def _write(output: Path, row: Row) -> None:
    """Adds a row to a result, in the place of one of the same model and verification."""
    key = (row.model, row.verify)
    rows = [each for each in _kept(output) if (each.model, each.verify) != key]
    result = {
        "command": NAME,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": msgspec.to_builtins(describe()),
        "phases": {OPEN: "what is read and checked before the first component", **PHASES},
        "rows": [asdict(each) for each in (*rows, row)],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    # Without arguments a benchmark shows its help; this one has a meaning for none.
    raise SystemExit(run_command(main, NAME, sys.argv[1:] or ["--verify", "none"]))
