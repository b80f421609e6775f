"""`python -m benchmarks.coreml_conversion BUNDLE…`: memory and time of conversions to Core ML.

Each component of a portable bundle is converted in a process of its own, as `latedge compile
--target coreml` does it, at the model's own size; the packages go again. The process tells its peak
itself. Of that, pages of mapped files (the weights, which the system may drop whenever another
needs memory) are told apart from what is the process's own: samples of it, on Linux alone.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from benchmarks.bench.children import OwnMemory, cpu_seconds
from benchmarks.bench.machine import PACKAGES, describe
from benchmarks.command_line import run_command
from exporter.arithmetic import is_upcast
from exporter.compile_config import CompileConfig
from exporter.coreml.compress.scheme import Kind, parse_scheme
from exporter.coreml.job import Job
from exporter.coreml.options import ATTENTION, DEPLOYMENT_TARGET, CoreMlOptions
from exporter.coreml.targets import check_target
from exporter.coreml.worker import convert
from exporter.targets.coreml import BATCH, COMPRESSED, CoreMl
from runtimes.bundle import Bundle, open_bundle, read_json
from runtimes.errors import UsageError, unknown_name

NAME = "python -m benchmarks.coreml_conversion"
OUTPUT = Path("benchmarks/results/coreml-conversion.json")


@dataclass(frozen=True)
class Form:
    """How a component is converted.

    Attributes:
        deployment_target: such as "iOS17".
        attention: such as "split-einsum".
        compression: such as "palette-6"; None for halves as they are.
        chunked: the U-Net in two packages.
    """

    deployment_target: str = DEPLOYMENT_TARGET
    attention: str = ATTENTION
    compression: str | None = None
    chunked: bool = False


@dataclass(frozen=True)
class Row:
    """One conversion.

    Attributes:
        model: name of the bundle's folder.
        component: of the bundle.
        size: height and width of pictures in pixels, and samples of a call.
        precision: "fp16" or "fp32", computed in.
        form: the rest.
        load_average: of the machine when it began: who else used it.
        seconds: from the start of the process to its end.
        cpu_seconds: of the process, all its threads.
        peak_rss: bytes that it held at most, as it tells; mapped pages of files are among them.
        peak_own: bytes that were the process's own at most, as samples saw; None where the system
            doesn't tell.
        weight_bytes: of the component's weight file in the portable bundle.
        package_bytes: of the packages.
    """

    model: str
    component: str
    size: tuple[int, int, int]
    precision: str
    form: Form
    load_average: float | None
    seconds: float
    cpu_seconds: float
    peak_rss: int | None
    peak_own: int | None
    weight_bytes: int
    package_bytes: int

    @property
    def key(self) -> tuple[object, ...]:
        """What a later measurement must share to take this one's place."""
        return (self.model, self.component, self.size, self.precision, self.form)


def job_of(bundle: Bundle, component: str, form: Form, folder: Path) -> Job:
    """The work on a component as the target would ask for it, at the model's own size.

    What may be computed in half precision isn't looked for: the VAEs of whose values diffusers says
    that they don't fit are converted in fp32, all else in fp16.
    """
    config = read_json(bundle.path / component / "config.json")
    recipe = bundle.manifest.components[component].recipe
    assert recipe is not None, "a portable bundle has recipes"
    defaults = bundle.manifest.defaults
    return Job(
        bundle=str(bundle.path.absolute()),
        component=component,
        folder=str(folder.absolute()),
        precision="fp32" if is_upcast(bundle.manifest, config) else "fp16",
        arithmetic=None,
        deployment_target=form.deployment_target,
        attention=form.attention,
        compression=form.compression if component in COMPRESSED else None,
        sizes=((defaults.height, defaults.width),),
        batch=BATCH if recipe.component == "unet" else 1,
        unet_batch=BATCH,
        chunked=form.chunked and recipe.component == "unet",
        max_memory=None,
    )


def measure(bundle: Bundle, component: str, form: Form, work: Path | None = None) -> Row:
    """Converts one component and measures that.

    Args:
        bundle: portable.
        component: its name there.
        form: how.
        work: folder for the packages, which go again; None takes the system's temporary one.

    Raises:
        CompileError: it can't be converted.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory(dir=work) as place:
        folder = Path(place)
        (folder / component).mkdir()
        job = job_of(bundle, component, form, folder)
        start, cpu = time.perf_counter(), cpu_seconds()
        with OwnMemory() as seen:
            _, peak = convert(job)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        written = _size(folder.glob("*/*.mlpackage"))
    ((height, width),) = job.sizes
    recipe = bundle.manifest.components[component].recipe
    assert recipe is not None, "a portable bundle has recipes"
    return Row(
        model=bundle.path.name,
        component=component,
        size=(height, width, job.batch),
        precision=job.precision,
        form=replace(form, compression=job.compression, chunked=job.chunked),
        load_average=load,
        seconds=round(seconds, 1),
        cpu_seconds=round(cpu, 1),
        peak_rss=peak,
        peak_own=seen.peak,
        weight_bytes=(bundle.path / recipe.weights).stat().st_size,
        package_bytes=written,
    )


def _size(folders: Iterable[Path]) -> int:
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)


def table(rows: Sequence[Row]) -> str:
    """Markdown: a conversion a line."""
    lines = [
        "| model | component | size, batch | target, attention | weights | peak RSS | own | s | "
        "CPU s | package |",
        "|---|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.model} | {row.component} | {row.size[0]}×{row.size[1]}, {row.size[2]} | "
        f"{row.form.deployment_target}, {row.form.attention} | "
        f"{row.form.compression or row.precision} | {_gb(row.peak_rss)} | {_gb(row.peak_own)} | "
        f"{row.seconds:.0f} | {row.cpu_seconds:.0f} | {_gb(row.package_bytes)} |"
        for row in rows
    ]
    return "\n".join(lines)


def _gb(size: int | None) -> str:
    return "not told" if size is None else f"{size / 1e9:.2f} GB"


def main(
    bundles: Annotated[list[Path], typer.Argument(help="Portable bundles.")],
    components: Annotated[
        list[str] | None, typer.Option("--component", help="Of them; all without.")
    ] = None,
    deployment_target: Annotated[
        str, typer.Option(help="As compile takes it.")
    ] = DEPLOYMENT_TARGET,
    attention: Annotated[str, typer.Option(help="Likewise.")] = ATTENTION,
    compression: Annotated[
        str | None, typer.Option("--compress", help="Likewise; of one scheme for all weights.")
    ] = None,
    chunked: Annotated[bool, typer.Option("--chunk-unet", help="Likewise.")] = False,
    work: Annotated[
        Path | None, typer.Option(help="Folder for the packages, which go again.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON; rows of other conversions in it stay.")
    ] = OUTPUT,
) -> None:
    """Measures memory and time of conversions to Core ML; prints a table."""
    form = Form(check_target(deployment_target).ios, attention, compression, chunked)
    opened = [open_bundle(bundle) for bundle in bundles]
    asked = [(bundle, name) for bundle in opened for name in _chosen(bundle, components)]
    for bundle in opened:
        check_form(form, bundle)
    for bundle, name in asked:
        print(f"{bundle.path.name}, {name} is converted", file=sys.stderr)
        _write(output, measure(bundle, name, form, work))
    print(table(_kept(output)))


def check_form(form: Form, bundle: Bundle) -> None:
    """Refuses, before slow work, what can't be converted or isn't measured here.

    Raises:
        UsageError: the deployment target lacks the attention or compression, or the compression is
            chosen weight by weight.
        CompileError: the bundle has a component that no package is made of.
    """
    options = CoreMlOptions(
        deployment_target=form.deployment_target,
        attention=form.attention,
        compression=form.compression,
        chunked=form.chunked,
    )
    CoreMl(options).settle(bundle, CompileConfig("coreml"))
    if form.compression is None:
        return
    scheme = parse_scheme(form.compression)
    if scheme.kind is Kind.MIXED or scheme.activations:
        raise UsageError(
            f"{scheme.name} is chosen from what a model's own layers bear, which isn't part of "
            "what is measured here; give one scheme for all weights, such as palette-6."
        )


def _chosen(bundle: Bundle, components: Sequence[str] | None) -> tuple[str, ...]:
    """Those that are asked for, in the bundle's order.

    Raises:
        UsageError: the bundle is compiled, or has no such component.
    """
    if bundle.manifest.target is not None:
        raise UsageError(
            f"{bundle.path} is compiled for {bundle.manifest.target}; give a portable bundle."
        )
    known = tuple(bundle.manifest.components)
    for name in components or ():
        if name not in known:
            raise unknown_name(f"component of {bundle.path.name}", name, known)
    return tuple(name for name in known if name in (components or known))


def _kept(output: Path) -> list[Row]:
    if not output.is_file():
        return []
    return msgspec.convert(json.loads(output.read_bytes())["rows"], list[Row])


def _write(output: Path, row: Row) -> None:
    """Adds a row to a result, in the place of one of the same conversion."""
    rows = [each for each in _kept(output) if each.key != row.key]
    result = {
        "command": NAME,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": msgspec.to_builtins(describe((*PACKAGES, "coremltools"))),
        "rows": [asdict(each) for each in (*rows, row)],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(run_command(main, NAME))
