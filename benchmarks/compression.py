"""`python -m benchmarks.compression MODEL`: what compressed weights cost the shapes model.

Its weights are compressed as for a Core ML package and put back decompressed, as an engine reads
them; torch computes in float32, so that nothing else differs. The U-Net's outputs are compared on a
guided trajectory, whole pictures with those of the weights as they are, and the pictures with what
their prompts say.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.command_line import run_command
from benchmarks.shapes.generator import CLASSES, Picture
from benchmarks.shapes.painters import PaintConfig, painter
from benchmarks.shapes.score import compare, prompts, score_pictures
from exporter.coreml.compress.compression import Compression, is_compressible
from exporter.coreml.compress.quantization import quantization
from exporter.coreml.compress.replaced import ReplacedNetwork, compressed_values
from exporter.coreml.compress.scheme import Kind, Scheme, parse_scheme
from exporter.coreml.compress.sensitivity import Sensitivity, measure_sensitivity
from exporter.coreml.compress.tensor import compress
from exporter.export import export
from exporter.prepare import Prepared
from exporter.progress import Progress
from exporter.reference import Carried, Sample, carried_widths, run_reference
from exporter.verify import references
from exporter.weights import Tensor, read_header, write_safetensors
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError

NAME = "python -m benchmarks.compression"
SCHEMES = ("palette-8", "palette-6", "palette-4", "palette-4-g16", "mixed-4.5", "int8", "int4")
REST = parse_scheme("palette-6")
"""Of the text encoder beside a U-Net of mixed bits, whose sensitivity alone is measured."""

Pictures = dict[str, list[Picture]]


@dataclass(frozen=True)
class Row:
    """What a scheme takes and costs.

    Attributes:
        scheme: its name.
        bits: of a compressed weight of the U-Net on average, tables and scales included.
        unet_psnr_db: of the U-Net's outputs against those of the weights as they are.
        picture_psnr_db: of all pictures against those of the weights as they are, peak 255.
        right: class of prompts → share of pictures that are right in every attribute.
        change: class → change of that share, with its 95 % interval, in points.
    """

    scheme: str
    bits: float
    unet_psnr_db: float | None
    picture_psnr_db: float | None
    right: dict[str, float]
    change: dict[str, tuple[float, float, float]]


class Measured:
    """A model with its U-Net's samples, from which every scheme is judged."""

    def __init__(self, model: Path, folder: Path, count: int, progress: Progress) -> None:
        """Exports the model, runs its U-Net and paints with the weights as they are.

        Args:
            model: Diffusers folder.
            folder: a new one, for what is made.
            count: pictures a class.
            progress: called with lines on what is done.
        """
        self.model, self.folder, self.count, self.progress = model, folder, count, progress
        self.unet, self.samples = _unet_samples(model, folder / "bundle", progress)
        self.pictures = self.paint(model)
        self._sensitivities: dict[str, Sensitivity] = {}

    def row(self, scheme: Scheme) -> Row:
        """Compresses by a scheme, runs and paints."""
        compression = self.compression(scheme)
        changed = self.folder / scheme.name
        compress_folder(self.model, changed, compression)
        pictures = self.paint(changed)
        shutil.rmtree(changed)
        network = ReplacedNetwork(self.unet, compressed_values(compression))
        pairs = [
            (before, after)
            for known in CLASSES
            for before, after in zip(self.pictures[known], pictures[known], strict=True)
        ]
        return Row(
            scheme=scheme.name,
            bits=_bits(self.unet, compression),
            unet_psnr_db=network.compare(self.samples).psnr_db,
            picture_psnr_db=_psnr_db(pairs),
            right={known: self._right(pictures, known)[0] for known in CLASSES},
            change={known: self._right(pictures, known)[1] for known in CLASSES},
        )

    def compression(self, scheme: Scheme) -> Compression:
        """Of the U-Net; its sensitivity is measured once, where a scheme wants it."""
        if scheme.kind is not Kind.MIXED:
            return Compression(scheme)
        if not self._sensitivities:
            self._sensitivities = measure_sensitivity(
                self.unet, self.samples, progress=self.progress
            )
        chosen = quantization("unet", "", scheme, self._sensitivities, samples=len(self.samples))
        return chosen.compression

    def paint(self, model: Path) -> Pictures:
        """Pictures of the fixed prompts of each class."""
        self.progress(f"{model.name}: painting {self.count} pictures a class")
        paint = painter(model, PaintConfig())
        found: Pictures = {}
        for known in CLASSES:
            asked = prompts(known, self.count)
            made = paint([prompt.text for prompt in asked], [prompt.seed for prompt in asked])
            found[known] = list(made)
        return found

    def _right(self, pictures: Pictures, known: Any) -> tuple[float, tuple[float, float, float]]:
        asked = prompts(known, self.count)
        before = score_pictures(asked, self.pictures[known])
        after = score_pictures(asked, pictures[known])
        change = compare(before, after)
        points = tuple(100 * value for value in (change.estimate, change.low, change.high))
        return after.accuracy().estimate, (points[0], points[1], points[2])


def compress_folder(model: Path, output: Path, compression: Compression) -> None:
    """Copies a Diffusers folder with compressed and decompressed weights, halves.

    Args:
        model: the folder.
        output: the new folder.
        compression: of the U-Net; the text encoder's is the same, or `REST` beside mixed bits. The
            VAE is small and gives the picture: it stays as it is, as in a package.
    """
    shutil.copytree(model, output)
    rest = REST if compression.scheme.kind is Kind.MIXED else compression.scheme
    for folder, own in (("unet", compression), ("text_encoder", Compression(rest))):
        (path,) = (output / folder).glob("*.safetensors")
        tensors = read_header(model / path.relative_to(output))
        values = compressed_values(own)

        def halves(key: str, tensors: Mapping[str, Tensor] = tensors, values: Any = values) -> Any:
            found: NDArray[Any] = values(key, tensors[key].read())
            return [found.astype("<f2").tobytes()]

        write_safetensors(path, {k: ("F16", t.shape) for k, t in tensors.items()}, halves)


def _unet_samples(model: Path, bundle: Path, progress: Progress) -> tuple[Prepared, list[Sample]]:
    export(model, bundle, verify="none", progress=progress)
    opened = open_bundle(bundle)
    prepared = references(opened, None)
    manifest = opened.manifest
    carried = Carried.initial(manifest, *carried_widths(prepared["unet"].config))
    _, carried = run_reference(bundle, manifest, prepared["text_encoder"], carried)
    samples, _ = run_reference(bundle, manifest, prepared["unet"], carried)
    return prepared["unet"], samples


def _bits(item: Prepared, compression: Compression) -> float:
    """Of a compressed weight on average."""
    size = elements = 0
    for key, tensor in item.weights.items():
        if not is_compressible(key, tensor.shape):
            continue
        scheme = compression.scheme_of(key, tensor.shape)
        values = tensor.read().astype(np.float16)
        whole = 16 * values.size
        size += whole if scheme is None else compress(values, scheme, key=key).size_bits
        elements += values.size
    return size / elements


def _psnr_db(pairs: Sequence[tuple[Picture, Picture]]) -> float | None:
    """Over all pictures at once, peak 255."""
    errors = [np.mean((a.astype(float) - b.astype(float)) ** 2) for a, b in pairs]
    error = float(np.mean(errors))
    return None if error == 0 else float(10 * np.log10(255**2 / error))


def compression(
    model: Annotated[Path, typer.Argument(help="The shapes model, a Diffusers folder.")],
    schemes: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(SCHEMES),
    count: Annotated[int, typer.Option(help="Pictures a class.")] = 250,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
) -> None:
    """Measure what compressed weights cost the shapes model, by scheme."""
    wanted = [parse_scheme(name) for name in schemes.split(",")]
    if refused := [scheme.name for scheme in wanted if scheme.activations]:
        raise UsageError(f"{refused[0]} rounds more than weights; give schemes of weights alone.")
    if count < 1:
        raise UsageError(f"--count is at least 1; given {count}.")
    with TemporaryDirectory() as folder:
        measured = Measured(model, Path(folder), count, lambda line: print(line, file=sys.stderr))
        rows = [measured.row(scheme) for scheme in wanted]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(f"{model}, {count} pictures a class: change of accuracy in points (95 % interval)")
    for row in rows:
        print(_line(row))


def _line(row: Row) -> str:
    cells = [f"{row.scheme:<14}{row.bits:6.2f} bits"]
    for name, value in (("U-Net", row.unet_psnr_db), ("pictures", row.picture_psnr_db)):
        cells.append(f"{name} {'equal' if value is None else f'{value:.1f} dB'}")
    for known, right in row.right.items():
        estimate, low, high = row.change[known]
        cells.append(f"{known} {100 * right:.1f} % ({estimate:+.1f}; {low:+.1f} to {high:+.1f})")
    return "  ".join(cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    return run_command(compression, NAME, arguments)


if __name__ == "__main__":
    sys.exit(main())
