"""`python -m benchmarks.vae_tiles [BUNDLE]`: what the VAE in tiles costs and how near it comes.

A picture of the shapes generator, enlarged, is encoded and decoded whole and in tiles. For each
size of tile: the memory above the loaded VAE, the time, the PSNR to what came of the whole, and how
much the tiles' borders show.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from benchmarks.bench.memory import MemorySampler
from benchmarks.bench.results import LOAD
from benchmarks.command_line import run_command
from benchmarks.seams import border_lines, psnr_db, seams
from benchmarks.shapes.generator import draw, scene
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import UsageError
from runtimes.latents import built_cells
from runtimes.parts import Parts
from runtimes.tiling import windows
from runtimes.vae import decode, encode

Floats = NDArray[np.float32]

NAME = "python -m benchmarks.vae_tiles"
HALVES = ("vae_encoder", "vae_decoder")
SCENE = ("pair", 3)
"""A scene with two objects on a plain background: on it a seam would show."""


@dataclass(frozen=True)
class Run:
    """What one way through a half of the VAE took and gave.

    Attributes:
        half: "decode" or "encode".
        tile: pixels of a tile's side, or None for the whole picture at once.
        rss_bytes: the most memory above what the loaded VAE takes.
        seconds: of the one call.
        psnr_db: to the whole, of pictures in [0, 1], of latents by their largest value; None where
            nothing was compared.
        seam_rows: see `benchmarks.seams.Seams`.
        seam_columns: likewise.
    """

    half: str
    tile: int | None
    rss_bytes: int
    seconds: float
    psnr_db: float | None = None
    seam_rows: float | None = None
    seam_columns: float | None = None


@contextmanager
def synthetic_vae(name: str) -> Generator[Path]:
    """The VAE of a synthetic model, compiled for ONNX Runtime at any size."""
    from benchmarks.synthetic import synthesize
    from exporter.compile import compile
    from exporter.export import export

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        synthesize(name, folder / "model")
        export(folder / "model", folder / "portable", components=HALVES, verify="none")
        compile(folder / "portable", folder / "compiled", target="onnxruntime")
        yield folder / "compiled"


@dataclass(frozen=True)
class Measured:
    """What a half of the VAE gave, the most memory above the loaded VAE's, and the time."""

    values: Floats
    rss_bytes: int
    seconds: float


class Meter:
    """Runs a half of the VAE and measures it.

    Attributes:
        bundle: whose VAE.
    """

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        """Loads both halves; the memory that they take is where measuring starts."""
        self.bundle = bundle
        self._loaded_bytes = 0
        self._sampler = MemorySampler(os.getpid())
        self._sampler.start()
        self._sampler.mark(LOAD)
        self._parts = Parts.open(bundle, HALVES, device="cpu", threads=threads)
        # Engines read weights when they are first used: a small call leaves them in memory.
        channels, small = bundle.manifest.latents.channels, 8 * bundle.manifest.latents.vae_factor
        self.encode(np.zeros((1, 3, small, small), np.float32), (8, 8))
        self.decode(np.zeros((1, channels, 8, 8), np.float32), (8, 8))
        self._sampler.mark("loaded")
        self._loaded_bytes = self._sampler.peak_since_mark

    def close(self) -> None:
        """Frees the VAE and ends sampling."""
        self._parts.close()
        self._sampler.stop()

    def decode(self, latents: Floats, tile: tuple[int, int]) -> Measured:
        """Decodes latents of unit variance, in tiles of so many cells."""
        with self._parts.use("vae_decoder") as decoder:
            return self._measure(
                lambda: decode(decoder, latents, self.bundle.manifest.latents, tile)
            )

    def encode(self, pixels: Floats, tile: tuple[int, int]) -> Measured:
        """Encodes pictures, in tiles of so many cells."""
        with self._parts.use("vae_encoder") as encoder:
            return self._measure(
                lambda: encode(encoder, pixels, self.bundle.manifest.latents, tile)
            )

    def _measure(self, work: Callable[[], Floats]) -> Measured:
        self._sampler.mark("work")
        start = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - start
        return Measured(found, self._sampler.peak_since_mark - self._loaded_bytes, seconds)


def measure(
    path: Path,
    size: int,
    tiles: Sequence[int],
    *,
    whole: bool = True,
    threads: int | None = None,
    picture: Path | None = None,
) -> list[Run]:
    """Measures the VAE of a bundle.

    Args:
        path: a compiled bundle whose VAE takes any size.
        size: pixels of the picture's side.
        tiles: pixels of the tiles' sides.
        whole: whether the picture also goes through whole; without it nothing is compared.
        threads: threads within an operation.
        picture: where what the last tiles gave is written, right of the whole one.

    Raises:
        UsageError: a size doesn't fit the VAE.
        BundleError, EngineError: the bundle is refused or fails.
    """
    bundle = open_bundle(path)
    space = bundle.manifest.latents
    _check(bundle, size, tiles)
    image = Image.fromarray(draw(scene(*SCENE))).resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[np.newaxis] / 127.5 - 1
    meter = Meter(bundle, threads)
    sides = [*([size] if whole else []), *tiles]
    cells = {side: (side // space.vae_factor, side // space.vae_factor) for side in sides}
    try:
        encoded = [meter.encode(pixels, cells[side]) for side in sides]
        latents = encoded[0].values[:, : space.channels] * np.float32(space.scaling_factor)
        decoded = [meter.decode(latents, cells[side]) for side in sides]
    finally:
        meter.close()
    if picture is not None:
        shown = np.concatenate([decoded[0].values[0], decoded[-1].values[0]], axis=1)
        Image.fromarray(np.round(shown * 255).astype(np.uint8)).save(picture)
    moved = [Measured(m.values.transpose(0, 2, 3, 1), m.rss_bytes, m.seconds) for m in encoded]
    return [
        *_runs("encode", moved, sides, whole=whole, factor=space.vae_factor, per_cell=1),
        *_runs(
            "decode",
            decoded,
            sides,
            whole=whole,
            factor=space.vae_factor,
            per_cell=space.vae_factor,
        ),
    ]


def _check(bundle: Bundle, size: int, tiles: Sequence[int]) -> None:
    factor = bundle.manifest.latents.vae_factor
    for side in (size, *tiles):
        if side < 1 or side % factor:
            raise UsageError(f"{side} is not a multiple of {factor}, the VAE's factor.")
    for half in HALVES:
        if any(built_cells(bundle, half)):
            raise UsageError(f"{bundle.path}: its VAE was built for one size; give one of any.")


def _runs(
    half: str,
    found: Sequence[Measured],
    sides: Sequence[int],
    *,
    whole: bool,
    factor: int,
    per_cell: int,
) -> list[Run]:
    """The figures of a half; `per_cell` values of its output make a latent cell."""
    runs: list[Run] = []
    size = found[0].values.shape[1] // per_cell
    for index, (side, measured) in enumerate(zip(sides, found, strict=True)):
        if whole and not index:
            runs.append(Run(half, None, measured.rss_bytes, measured.seconds))
            continue
        run = Run(half, side, measured.rss_bytes, measured.seconds)
        if whole:
            expected, values = found[0].values, measured.values
            lines = border_lines(windows(size, side // factor, per_cell), per_cell)
            seen = seams(values[0], expected[0], lines, lines)
            peak = 1.0 if per_cell > 1 else float(np.abs(expected).max())
            run = replace(
                run,
                psnr_db=psnr_db(values, expected, peak),
                seam_rows=seen.rows,
                seam_columns=seen.columns,
            )
        runs.append(run)
    return runs


def as_text(size: int, runs: Sequence[Run]) -> str:
    """The figures as a table."""
    lines = [f"{size}×{size} pixels", "half    tile   RSS above loaded   time      PSNR    seams"]
    for run in runs:
        tile = "whole" if run.tile is None else str(run.tile)
        line = f"{run.half}  {tile:>5}   {run.rss_bytes / 1e6:13.0f} MB {run.seconds:6.1f} s"
        if run.psnr_db is not None:
            line += f"  {run.psnr_db:5.1f} dB"
        if run.seam_rows is not None and run.seam_columns is not None:
            line += f"  {run.seam_rows:.3f} {run.seam_columns:.3f}"
        lines.append(line)
    return "\n".join(lines)


def command(
    bundle: Annotated[
        Path | None, typer.Argument(help="A compiled bundle with both halves of the VAE.")
    ] = None,
    synthetic: Annotated[
        str | None, typer.Option(help="Make the VAE of this synthetic model, such as sd15.")
    ] = None,
    size: Annotated[int, typer.Option(help="Pixels of the picture's side.")] = 512,
    tiles: Annotated[str, typer.Option(help="Pixels of tiles' sides, by commas.")] = "384,256",
    whole: Annotated[
        bool, typer.Option(help="Whether the picture goes through whole, to compare with.")
    ] = True,
    threads: Annotated[int | None, typer.Option(help="Threads within an operation.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the whole picture and that of the last tiles here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
) -> None:
    """Tell what the VAE takes in tiles, and how near it comes to the whole picture."""
    if (bundle is None) == (synthetic is None):
        raise UsageError("give a bundle, or the name of a synthetic model with --synthetic.")
    sides = _sides(tiles)
    with nullcontext(bundle) if synthetic is None else synthetic_vae(synthetic) as path:
        assert path is not None
        runs = measure(path, size, sides, whole=whole, threads=threads, picture=picture)
    if as_json:
        print(json.dumps({"size": size, "runs": [asdict(run) for run in runs]}, indent=2))
    else:
        print(as_text(size, runs))


def _sides(tiles: str) -> list[int]:
    try:
        return [int(tile) for tile in tiles.split(",")]
    except ValueError as e:
        raise UsageError(f"--tiles is whole numbers of pixels by commas, not {tiles!r}.") from e


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    return run_command(command, NAME, arguments)


if __name__ == "__main__":
    sys.exit(main())
