"""`python -m benchmarks.unet_step`: one call of a U-Net at its true size, engines beside torch.

Torch in float32 and each compiled bundle run in processes of their own, one after the other, on the
same inputs. For each: peak memory, how much of it is mapped files (which the system may take back),
what loading and the call took, and how far the output is from torch's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer

from benchmarks.command_line import run_command
from benchmarks.step_worker import Measured
from exporter.prompts import PICTURE_NUMBERS
from exporter.report import compare, machine, tool_versions
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import LatedgeError
from runtimes.manifest import Port
from runtimes.noise import Generator

TIMESTEP = 500


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one process took and gave.

    Attributes:
        ran: the engine, and the bundle's precision.
        measured: by the process itself.
        psnr_db: of the output against torch's; None for torch, or where they are equal.
        max_abs: largest difference to torch's.
    """

    ran: str
    measured: Measured
    psnr_db: float | None = None
    max_abs: float = 0.0


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """All processes' figures, and what they were measured on."""

    command: str
    bundle: str
    shapes: dict[str, tuple[int, ...]]
    rows: list[Row]
    versions: dict[str, str]
    machine: str


class StepError(LatedgeError):
    """A process of the comparison failed."""


def main(
    portable: Annotated[Path, typer.Argument(help="Portable bundle: torch takes its weights.")],
    compiled: Annotated[list[Path], typer.Argument(help="Bundles that were compiled from it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The JSON file that is written.")],
    height: Annotated[int, typer.Option(help="Of the picture, pixels.")] = 1024,
    width: Annotated[int, typer.Option(help="Of the picture, pixels.")] = 1024,
    batch: Annotated[int, typer.Option(help="Samples in the call.")] = 1,
) -> None:
    """Compare one call of a U-Net in compiled bundles with torch in float32."""
    bundle = open_bundle(portable)
    feeds = _feeds(bundle, height, width, batch)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.savez(folder / "feeds.npz", **feeds)  # pyright: ignore[reportArgumentType]
        reference = folder / "torch.npy"
        rows.append(Row(ran="torch fp32", measured=_run(portable, folder, reference)))
        _tell(rows[-1])
        for path in compiled:
            found = folder / "engine.npy"
            measured = _run(path, folder, found)
            figures = compare([(np.load(reference), np.load(found))])
            graph = open_bundle(path).graph("unet")
            ran = f"{measured.version}, {graph.precision} weights"
            rows.append(
                Row(
                    ran=ran,
                    measured=measured,
                    psnr_db=figures.psnr_db,
                    max_abs=figures.max_abs,
                )
            )
            _tell(rows[-1])
    report = StepReport(
        command=f"python -m benchmarks.unet_step --height {height} --width {width} --batch {batch}",
        bundle=bundle.manifest.family,
        shapes={name: values.shape for name, values in feeds.items()},
        rows=rows,
        versions=tool_versions(),
        machine=machine(),
    )
    output.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def _feeds(bundle: Bundle, height: int, width: int, batch: int) -> dict[str, np.ndarray]:
    """Noise of unit variance, and of a picture what diffusers says by default."""
    factor = bundle.manifest.latents.vae_factor
    sizes = {"batch": batch, "sequence": 77, "height": height // factor, "width": width // factor}
    generator = Generator(0)

    def value(port: Port) -> np.ndarray:
        shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in port.shape)
        if port.role == "timestep":
            return np.full(shape, TIMESTEP, port.dtype)
        if port.role == "time_ids" and shape[-1] in PICTURE_NUMBERS:
            return np.tile(np.array(PICTURE_NUMBERS[shape[-1]][1], np.float32), (batch, 1))
        return generator.randn(shape).astype(port.dtype)

    return {port.name: value(port) for port in bundle.graph("unet").inputs}


def _run(bundle: Path, folder: Path, output: Path) -> Measured:
    """Runs a bundle's U-Net in a process of its own; a portable one in torch."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.step_worker",
        str(bundle),
        str(folder),
        str(output),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise StepError(f"{bundle} did not run: {last}")
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Measured)


def _tell(row: Row) -> None:
    taken = row.measured
    print(
        f"{row.ran}: peak {taken.peak_rss_bytes / 1e9:.2f} GB, {taken.mapped_bytes / 1e9:.2f} of "
        f"files mapped at the end; load {taken.load_s:.1f} s, call {taken.call_s:.1f} s "
        f"({taken.call_cpu_s:.1f} s of CPU); "
        f"{'reference' if row.psnr_db is None else f'{row.psnr_db:.1f} dB'}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(run_command(main, "python -m benchmarks.unet_step"))
