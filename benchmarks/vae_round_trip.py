"""`python -m benchmarks.vae_round_trip MODEL [IMAGES…]`: what a VAE loses of a picture.

No picture of a latent diffusion model is better than what its VAE brings back of a real one. A
picture is encoded, the mean of the latents is decoded without noise, and the two are compared.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from benchmarks.command_line import run_command
from benchmarks.frequency_bands import NAMES, band_energies
from benchmarks.shapes.generator import CLASSES, draw, scene
from benchmarks.shapes.score import FIRST_PROMPT_SEED
from benchmarks.vae_halves import Vae, open_vae
from runtimes.errors import UsageError

Picture = NDArray[np.uint8]
NAME = "python -m benchmarks.vae_round_trip"


@dataclass(frozen=True)
class RoundTrip:
    """What came back of one picture.

    Attributes:
        name: the picture's.
        psnr_db: of the picture as it would be shown: clipped to [0, 1], which is the peak.
        lost: energy of the difference as a share of the picture's variance.
        signal: energy of the picture by band of `benchmarks.frequency_bands`, mean squares.
        residual: energy of the difference by band; without what the mean colour moved.
    """

    name: str
    psnr_db: float
    lost: float
    signal: tuple[float, ...]
    residual: tuple[float, ...]


def round_trip(vae: Vae, name: str, picture: Picture) -> RoundTrip:
    """Encodes and decodes one picture and compares.

    Args:
        vae: the VAE.
        name: the picture's, for the report.
        picture: [height, width, 3], sides multiples of the VAE's factor.

    Raises:
        UsageError: the picture is of one colour, of which no share can be lost.
    """
    unit = picture.astype(np.float64) / 255
    signal = band_energies(unit)
    if signal.sum() < 1e-12:
        raise UsageError(f"{name} is of one colour; give a picture that shows something.")
    planes = (unit * 2 - 1).astype(np.float32).transpose(2, 0, 1)[np.newaxis]
    back = vae.decode(vae.encode(planes))[0].transpose(1, 2, 0)
    shown = np.clip(back.astype(np.float64) / 2 + 0.5, 0, 1)
    difference = shown - unit
    error = float(np.mean(difference**2))
    return RoundTrip(
        name=name,
        psnr_db=float(10 * np.log10(1 / max(error, 1e-30))),
        lost=error / float(signal.sum()),
        signal=tuple(signal.tolist()),
        residual=tuple(band_energies(difference).tolist()),
    )


def shapes_pictures(count: int) -> Iterator[tuple[str, Picture]]:
    """The generator's pictures that no training saw, both classes in turn."""
    for index in range(count):
        kind = CLASSES[index % len(CLASSES)]
        yield f"{kind} {index // 2}", draw(scene(kind, FIRST_PROMPT_SEED + index // 2))


def read_pictures(paths: Sequence[Path], vae: Vae) -> Iterator[tuple[str, Picture]]:
    """Picture files, cut at the right and at the bottom to multiples of the VAE's factor.

    Raises:
        UsageError: no such file, no picture, or one that is too small.
    """
    for path in paths:
        try:
            with Image.open(path) as image:
                picture = np.asarray(image.convert("RGB"))
        except OSError as e:
            raise UsageError(f"{path} can't be read as a picture: {e}.") from e
        height, width = (side // vae.factor * vae.factor for side in picture.shape[:2])
        if not height or not width:
            raise UsageError(
                f"{path} has {picture.shape[1]}×{picture.shape[0]} pixels; the VAE takes "
                f"{vae.factor} and more each way."
            )
        yield str(path), picture[:height, :width]


def measure(path: Path, images: Sequence[Path], count: int) -> tuple[str, tuple[RoundTrip, ...]]:
    """Runs a model's VAE on pictures; gives the engine and a result for each.

    Args:
        path: a bundle or a Diffusers folder.
        images: picture files; without any, the shapes generator's.
        count: how many of the generator's.

    Raises:
        UsageError: a picture doesn't fit or can't be read.
        BundleError, SourceError, WeightError: the model is refused.
    """
    with open_vae(path) as vae:
        pictures = read_pictures(images, vae) if images else shapes_pictures(count)
        results: list[RoundTrip] = []
        for name, picture in pictures:
            size = (picture.shape[0], picture.shape[1])
            if vae.size is not None and size != vae.size:
                raise UsageError(
                    f"{name} has {size[1]}×{size[0]} pixels; this VAE was built for "
                    f"{vae.size[1]}×{vae.size[0]}. Give such pictures, or a bundle of any size."
                )
            results.append(round_trip(vae, name, picture))
        return vae.engine, tuple(results)


def as_text(engine: str, results: Sequence[RoundTrip], *, each: bool) -> str:
    """The figures as lines: of each picture, of all, and by band."""
    decibels = [result.psnr_db for result in results]
    lost = [result.lost for result in results]
    lines = [f"{r.name:24} {r.psnr_db:6.1f} dB   {r.lost:8.3%} lost" for r in results] * each
    lines += [
        f"{len(results)} pictures through {engine}",
        f"PSNR, dB: min {min(decibels):.1f}, median {statistics.median(decibels):.1f}",
        f"lost of the variance: median {statistics.median(lost):.3%}, max {max(lost):.3%}",
        "cycles per pixel    share of the pictures' energy    lost of it",
    ]
    signal, residual = (
        np.array([getattr(result, name) for result in results]).sum(axis=0)
        for name in ("signal", "residual")
    )
    for name, has, loses in zip(NAMES, signal, residual, strict=True):
        share = f"{loses / has:.2%}" if has > 0 else "none there"
        lines.append(f"{name:19} {has / signal.sum():28.2%} {share:>13}")
    return "\n".join(lines)


def command(
    model: Annotated[Path, typer.Argument(help="A bundle, or a Diffusers folder (run by torch).")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Picture files; without any, the shapes' own.")
    ] = None,
    count: Annotated[int, typer.Option(help="Pictures of the shapes generator.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
) -> None:
    """Tell what a VAE loses of pictures, in all and by spatial frequency."""
    if count < 1:
        raise UsageError(f"--count is at least 1; given {count}.")
    engine, results = measure(model, images or (), count)
    if as_json:
        found = {"model": str(model), "engine": engine, "bands": NAMES}
        print(json.dumps({**found, "pictures": [asdict(result) for result in results]}, indent=2))
    else:
        print(as_text(engine, results, each=bool(images)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    return run_command(command, NAME, arguments)


if __name__ == "__main__":
    sys.exit(main())
