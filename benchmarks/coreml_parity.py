"""`python -m benchmarks.coreml_parity BUNDLE`: a U-Net's Core ML packages against torch, one call.

Torch runs the network once in float32, on noise and random embeddings at a timestep from the middle
(`benchmarks.layer_memory` does likewise). For each compression asked for the U-Net is converted as
`benchmarks.coreml_conversion` does it, and the reference executor evaluates its package on the same
call. `latedge verify` compares whole bundles, on real trajectories: four such calls and all other
components; this takes a quarter of that for each further compression.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from benchmarks.bench.machine import PACKAGES, describe
from benchmarks.command_line import run_command
from benchmarks.coreml_conversion import Form, check_form, job_of
from benchmarks.coreml_quality import PLAIN, deployment_target
from benchmarks.layer_memory import TIMESTEP, feeds_of
from exporter.coreml.options import ATTENTION
from exporter.coreml.worker import convert
from exporter.reference import Sample, recording
from exporter.report import Comparison, compare
from exporter.targets.coreml import BATCH
from exporter.verify import references
from runtimes.bundle import Bundle, open_bundle
from runtimes.component import as_fed
from runtimes.engines.mil import DEVICES, MilEngine
from runtimes.errors import UsageError, unknown_name
from runtimes.manifest import Graph

NAME = "python -m benchmarks.coreml_parity"
OUTPUT = Path("benchmarks/results/coreml-parity.json")
UNET = "unet"


@dataclass(frozen=True)
class Row:
    """A package's parity.

    Attributes:
        model: name of the bundle's folder.
        size: height and width of pictures in pixels, and samples of the call.
        form: how it was converted.
        device: of the executor.
        load_average: of the machine when it began: who else used it.
        seconds: of the executor's call, loading included.
        figures: of its output against torch's.
    """

    model: str
    size: tuple[int, int, int]
    form: Form
    device: str
    load_average: float | None
    seconds: float
    figures: Comparison


class Reference:
    """A U-Net's call and what torch makes of it."""

    def __init__(self, bundle: Bundle) -> None:
        """Runs torch.

        Args:
            bundle: portable, with a U-Net, whose own pictures are square.
        """
        self.bundle = bundle
        item = references(bundle, None)[UNET]
        cells = bundle.manifest.defaults.height // bundle.manifest.latents.vae_factor
        samples: list[Sample] = []
        with recording(item.component, item.config, item.weights, samples) as run:
            run(feeds_of(item.config, cells, BATCH))
        (self.sample,) = samples

    def rows(self, form: Form, devices: Sequence[str], work: Path | None) -> list[Row]:
        """Converts the U-Net and evaluates its package on each device.

        Args:
            form: how it is converted.
            devices: of the executor.
            work: folder for the package, which goes again.
        """
        with tempfile.TemporaryDirectory(dir=work) as place:
            folder = Path(place)
            (folder / UNET).mkdir()
            job = job_of(self.bundle, UNET, form, folder)
            entry, _ = convert(job)
            graph = entry.graphs["model"]
            return [self._row(folder, graph, form, device) for device in devices]

    def _row(self, folder: Path, graph: Graph, form: Form, device: str) -> Row:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        defaults, start = self.bundle.manifest.defaults, time.perf_counter()
        engine = MilEngine(folder, graph, device=device, threads=None)
        found = engine({p.name: as_fed(self.sample.feeds[p.role], p) for p in graph.inputs})
        engine.close()
        (output,) = graph.outputs
        return Row(
            model=self.bundle.path.name,
            size=(defaults.height, defaults.width, BATCH),
            form=form,
            device=device,
            load_average=load,
            seconds=round(time.perf_counter() - start, 1),
            figures=compare([(self.sample.outputs[output.role], found[output.name])]),
        )


def table(rows: Sequence[Row]) -> str:
    """Markdown: a package and device a line."""
    lines = [
        "| model | size, batch | target, attention | weights | device | PSNR | max abs | s |",
        "|---|---|---|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row.model} | {row.size[0]}×{row.size[1]}, {row.size[2]} | "
        f"{row.form.deployment_target}, {row.form.attention} | {row.form.compression or PLAIN} | "
        f"{row.device} | {_db(row.figures)} | {row.figures.max_abs:.2g} | {row.seconds:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _db(figures: Comparison) -> str:
    if figures.non_finite:
        return f"{figures.non_finite} values are not finite"
    return "equal" if figures.psnr_db is None else f"{figures.psnr_db:.1f} dB"


def main(
    bundle: Annotated[Path, typer.Argument(help="A portable bundle with a U-Net.")],
    schemes: Annotated[
        list[str] | None,
        typer.Option("--compress", help=f"Compressions; {PLAIN} for none, which is the default."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--deployment-target", help="As compile takes it; the oldest without."),
    ] = None,
    attention: Annotated[str, typer.Option(help="As compile takes it.")] = ATTENTION,
    devices: Annotated[
        list[str] | None, typer.Option("--device", help="Of the executor; reference without.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for the packages, which go again.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON; rows of other packages in it stay.")
    ] = OUTPUT,
) -> None:
    """Compares a U-Net's Core ML packages with torch on one call; prints a table."""
    forms = [
        Form(target or deployment_target(name), attention, None if name == PLAIN else name)
        for name in schemes or [PLAIN]
    ]
    for device in devices or ():
        if device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
    opened = _opened(bundle)
    for form in forms:
        check_form(form, opened)
    reference = Reference(opened)
    for form in forms:
        print(f"{form.compression or PLAIN} is converted and evaluated", file=sys.stderr)
        for row in reference.rows(form, devices or ["reference"], work):
            _write(output, row)
    print(table(_kept(output)))


def _opened(path: Path) -> Bundle:
    """The bundle, if such a call can be made of it.

    Raises:
        UsageError: it is compiled, has no U-Net, or its own pictures are not square.
    """
    bundle = open_bundle(path)
    manifest, defaults = bundle.manifest, bundle.manifest.defaults
    if manifest.target is not None or UNET not in manifest.components:
        raise UsageError(f"{path} is no portable bundle with a U-Net; give one.")
    if defaults.height != defaults.width:
        raise UsageError(
            f"{path} draws {defaults.height}×{defaults.width}, and the call is of square latents; "
            "give a bundle of square pictures."
        )
    return bundle


def _kept(output: Path) -> list[Row]:
    if not output.is_file():
        return []
    return msgspec.convert(json.loads(output.read_bytes())["rows"], list[Row])


def _write(output: Path, row: Row) -> None:
    """Adds a row to a result, in the place of one of the same package and device."""
    key = (row.model, row.size, row.form, row.device)
    rows = [e for e in _kept(output) if (e.model, e.size, e.form, e.device) != key]
    result = {
        "command": NAME,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": msgspec.to_builtins(describe((*PACKAGES, "coremltools"))),
        "call": f"noise and random embeddings, timestep {TIMESTEP}; torch in float32",
        "rows": [msgspec.to_builtins(each) for each in (*rows, row)],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(run_command(main, NAME))
