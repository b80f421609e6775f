"""`python -m benchmarks.coreml_quality`: pictures of the shapes model as Core ML packages.

Its bundle is compiled for Core ML, once for each compression asked for, and for ONNX Runtime in
fp32. Both draw the same prompts from the same noise through the NumPy runtime: the packages by the
reference executor, which computes what they say on any system. Told are whole pictures' PSNR, and
how often they show what the prompts say beside the fp32 build on the same prompts.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypedDict

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.bench.machine import PACKAGES, describe
from benchmarks.bench.quality import psnr_db
from benchmarks.bench.shapes_accuracy import check_is_shapes
from benchmarks.command_line import run_command
from benchmarks.shapes.generator import CLASSES
from benchmarks.shapes.intervals import Interval, paired_difference
from benchmarks.shapes.painters import PaintConfig
from benchmarks.shapes.score import Prompt, Score, compare, prompts, score_pictures
from exporter.compile import compile as compile_bundle
from exporter.coreml.compress.scheme import parse_scheme
from exporter.coreml.options import DEPLOYMENT_TARGET, CoreMlOptions
from exporter.coreml.targets import check_target
from exporter.export import export
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import UsageError
from runtimes.noise import Generator
from runtimes.pictures import to_uint8
from runtimes.pipeline import Pipeline

NAME = "python -m benchmarks.coreml_quality"
OUTPUT = Path("benchmarks/results/coreml-quality.json")
MODEL = Path("benchmarks/shapes/model")
PLAIN = "fp16"
"""Weights in halves, none compressed."""

SCHEMES = (PLAIN, "palette-8", "palette-6", "palette-4", "int8", "int4")
BOTH = "both"
"""Classes together."""

AT_ONCE = 8
"""Pictures of a call: the U-Net's packages take both halves of their guidance at once, a batch of
16. In NumPy that takes half as long a picture as one by one, and each comes out the same."""

Floats = NDArray[np.float32]
Pictures = dict[str, list[Floats]]


@dataclass(frozen=True)
class Row:
    """What a compression costs.

    Attributes:
        scheme: such as "palette-6", or `PLAIN`.
        deployment_target: the oldest that has it.
        device: of the executor.
        count: prompts a class.
        load_average: of the machine when it began: who else used it.
        seconds: for all pictures.
        unet_bytes: of its package's weights.
        picture_psnr_db: of whole pictures against fp32, peak 1: "mean" and "min"; None where all
            are equal.
        right: class → share of pictures right in every attribute, with its 95 % interval.
        change: class, or "both" → that share less the fp32 build's, with its 95 % interval.
    """

    scheme: str
    deployment_target: str
    device: str
    count: int
    load_average: float | None
    seconds: float
    unet_bytes: int
    picture_psnr_db: dict[str, float | None]
    right: dict[str, Interval]
    change: dict[str, Interval]


def draw(bundle: Path, device: str, asked: Mapping[str, Sequence[Prompt]]) -> Pictures:
    """Draws every prompt from the noise of its own seed.

    Args:
        bundle: compiled; any batch.
        device: of its engine.
        asked: by class.

    Returns:
        Pictures, float32 [64, 64, 3] in [0, 1], in the prompts' order.
    """
    with Pipeline.open(bundle, device=device) as pipe:
        return {known: list(_drawn(pipe, each)) for known, each in asked.items()}


def _drawn(pipe: Pipeline, asked: Sequence[Prompt]) -> Iterator[Floats]:
    config, space = PaintConfig(), pipe.bundle.manifest
    defaults, factor = space.defaults, space.latents.vae_factor
    one = (1, space.latents.channels, defaults.height // factor, defaults.width // factor)
    for first in range(0, len(asked), AT_ONCE):
        part = asked[first : first + AT_ONCE]
        made = pipe(
            [prompt.text for prompt in part],
            latents=np.concatenate([Generator(prompt.seed).randn(one) for prompt in part]),
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
            sampler=config.sampler,
            output_type="np",
        )
        yield from map(np.asarray, made.images)


def deployment_target(scheme: str) -> str:
    """The oldest system whose packages can have a compression, from the default on.

    Raises:
        UsageError: there is no such compression.
    """
    if scheme == PLAIN:
        return DEPLOYMENT_TARGET
    return max(parse_scheme(scheme).since, check_target(DEPLOYMENT_TARGET)).ios


class Measured:
    """The shapes model with its pictures in fp32, from which every compression is judged."""

    def __init__(self, bundle: Bundle, work: Path, count: int) -> None:
        """Compiles for ONNX Runtime in fp32 and draws the prompts.

        Args:
            bundle: portable, of the shapes model.
            work: folder for compiled bundles.
            count: prompts a class.
        """
        self._bundle, self._work = bundle, work
        self._asked: dict[str, Sequence[Prompt]] = {
            known: prompts(known, count) for known in CLASSES
        }
        compiled = work / "fp32"
        compile_bundle(bundle.path, compiled, target="onnxruntime", precision="fp32")
        self._pictures = draw(compiled, "cpu", self._asked)

    def rows(self, scheme: str, counts: Mapping[str, int]) -> Iterator[Row]:
        """Compiles with a compression and draws.

        Args:
            scheme: the compression, or `PLAIN`.
            counts: device → the prompts a class that it draws, at most those drawn in fp32.
        """
        compiled, target = self._work / scheme, deployment_target(scheme)
        compile_bundle(
            self._bundle.path,
            compiled,
            target="coreml",
            batch=2 * AT_ONCE,
            # What a scan of the values would find for this model, and it takes as long as the rest.
            arithmetic="force-fp16",
            coreml=CoreMlOptions(
                deployment_target=target, compression=None if scheme == PLAIN else scheme
            ),
        )
        weights = sum((compiled / path).stat().st_size for path in _unet_weights(compiled))
        for device, count in counts.items():
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            asked = {known: each[:count] for known, each in self._asked.items()}
            start = time.perf_counter()
            pictures = draw(compiled, device, asked)
            seconds = round(time.perf_counter() - start, 1)
            yield Row(
                scheme=scheme,
                deployment_target=target,
                device=device,
                count=count,
                load_average=load,
                seconds=seconds,
                unet_bytes=weights,
                **judged(asked, pictures, self._pictures),
            )


def _unet_weights(compiled: Path) -> tuple[str, ...]:
    return open_bundle(compiled).graph("unet").weights


class Judged(TypedDict):
    """See `Row`."""

    picture_psnr_db: dict[str, float | None]
    right: dict[str, Interval]
    change: dict[str, Interval]


def judged(
    asked: Mapping[str, Sequence[Prompt]], pictures: Pictures, reference: Pictures
) -> Judged:
    """Compares pictures with the reference's, each with that of its prompt.

    Args:
        asked: prompts by class.
        pictures: one for each.
        reference: one for each, or more, of which the first are meant.
    """
    reference = {known: reference[known][: len(each)] for known, each in asked.items()}
    found = {known: _score(each, pictures[known]) for known, each in asked.items()}
    before = {known: _score(each, reference[known]) for known, each in asked.items()}
    decibels = [
        psnr_db(*pair)
        for known in asked
        for pair in zip(pictures[known], reference[known], strict=True)
    ]
    return Judged(
        picture_psnr_db=_summary(decibels),
        right={known: score.accuracy() for known, score in found.items()},
        change={
            **{known: compare(before[known], found[known]) for known in asked},
            BOTH: paired_difference(_all_right(before), _all_right(found)),
        },
    )


def _score(asked: Sequence[Prompt], pictures: Sequence[Floats]) -> Score:
    return score_pictures(asked, map(to_uint8, pictures))


def _all_right(scores: Mapping[str, Score]) -> list[bool]:
    return [right for score in scores.values() for right in score.right()]


def _summary(decibels: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and least of the pictures that differ; None where all are equal."""
    known = [each for each in decibels if each is not None]
    if not known:
        return {"mean": None, "min": None}
    return {"mean": round(statistics.fmean(known), 2), "min": round(min(known), 2)}


def table(rows: Sequence[Row]) -> str:
    """Markdown: a compression and device a line."""
    lines = [
        "| weights | target | device | prompts | picture PSNR, mean (min) | right: "
        f"{', '.join(CLASSES)} | change, points (95 %) | U-Net |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.scheme} | {row.deployment_target} | {row.device} | {len(CLASSES)}×{row.count} | "
        f"{_db(row.picture_psnr_db['mean'])} ({_db(row.picture_psnr_db['min'])}) | "
        f"{', '.join(f'{100 * each.estimate:.1f} %' for each in row.right.values())} | "
        f"{_points(row.change[BOTH])} | {row.unet_bytes / 1e6:.2f} MB |"
        for row in rows
    ]
    return "\n".join(lines)


def _db(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"


def _points(change: Interval) -> str:
    estimate, low, high = (100 * each for each in (change.estimate, change.low, change.high))
    return f"{estimate:+.1f} ({low:+.1f} to {high:+.1f})"


def main(
    schemes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCHEME]...", help=f"Compressions, or {PLAIN}; the usual without."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Portable bundle of the shapes model; exported without.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Prompts a class.")] = 100,
    rounded: Annotated[
        int, typer.Option(min=0, help="Prompts a class with reference:fp16 too; 0 for none.")
    ] = 8,
    work: Annotated[
        Path | None, typer.Option(help="Folder for what is compiled, which goes again.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON; rows of other schemes in it stay.")
    ] = OUTPUT,
) -> None:
    """Measures what Core ML packages of the shapes model draw; prints a table."""
    wanted = schemes or list(SCHEMES)
    for scheme in wanted:
        deployment_target(scheme)
    if rounded > count:
        raise UsageError(f"--rounded {rounded} is more than --count {count}; give at most that.")
    counts = {"reference": count, "reference:fp16": rounded}
    with tempfile.TemporaryDirectory(dir=work) as place:
        folder = Path(place)
        opened = open_bundle(bundle or _exported(folder / "portable"))
        check_is_shapes(opened)
        measured = Measured(opened, folder, count)
        for scheme in wanted:
            print(f"{scheme} is compiled and drawn", file=sys.stderr)
            for row in measured.rows(scheme, {name: n for name, n in counts.items() if n}):
                _write(output, row)
    print(table(_kept(output)))


def _exported(output: Path) -> Path:
    export(MODEL, output, verify="none")
    return output


def _kept(output: Path) -> list[Row]:
    if not output.is_file():
        return []
    return msgspec.convert(json.loads(output.read_bytes())["rows"], list[Row])


def _write(output: Path, row: Row) -> None:
    """Adds a row to a result, in the place of one of the same compression and device."""
    rows = [e for e in _kept(output) if (e.scheme, e.device) != (row.scheme, row.device)]
    result = {
        "command": NAME,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": msgspec.to_builtins(describe((*PACKAGES, "coremltools"))),
        "pictures": asdict(PaintConfig(batch=AT_ONCE)),
        "reference": "ONNX Runtime, fp32, of the same portable bundle",
        "rows": [asdict(each) for each in (*rows, row)],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    # Without arguments a benchmark shows its help; this one has a meaning for none.
    raise SystemExit(run_command(main, NAME, sys.argv[1:] or list(SCHEMES)))
