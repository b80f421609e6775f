"""`python -m benchmarks.steps BUNDLE`: how many steps of which sampler the shapes model needs.

The same prompts and seeds for every number of steps and every sampler, so that differences are
paired. Accuracy is what the score judges; PSNR tells how far a picture still is from the one that
the sampler's largest number of steps gives.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.command_line import run_command
from benchmarks.shapes.generator import CLASSES, PICTURE_SIZE, SceneClass
from benchmarks.shapes.intervals import Interval, paired_difference, wilson
from benchmarks.shapes.score import Prompt, prompts, score_pictures
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError, unknown_name
from runtimes.latents import latent_shape
from runtimes.noise import Generator
from runtimes.pictures import to_uint8
from runtimes.pipeline import Pipeline
from runtimes.samplers import fitting_samplers, sampler_names
from runtimes.settle import settle

Floats = NDArray[np.float32]
Tell = Callable[[str], None]
Asked = dict[SceneClass, tuple[Prompt, ...]]
NAME = "python -m benchmarks.steps"
STEPS = (2, 4, 8, 12, 20, 50)


@dataclass(frozen=True)
class StepsConfig:
    """What is compared.

    Attributes:
        samplers: their names.
        steps: numbers of steps, ascending; the others are compared with the last.
        count: prompts a class.
        classes: of prompts.
        guidance_scale: classifier-free guidance.
        batch: pictures drawn at once.
    """

    samplers: tuple[str, ...]
    steps: tuple[int, ...] = STEPS
    count: int = 100
    classes: tuple[SceneClass, ...] = CLASSES
    guidance_scale: float = 2.0
    batch: int = 25


@dataclass(frozen=True)
class Point:
    """One sampler at one number of steps.

    Attributes:
        sampler: its name.
        steps: as users count them.
        right: by class: which prompts' pictures are right in every attribute.
        psnr_db: of each picture to that of the most steps, all classes in turn; None for itself.
    """

    sampler: str
    steps: int
    right: dict[SceneClass, tuple[bool, ...]]
    psnr_db: tuple[float, ...] | None

    @property
    def all_right(self) -> tuple[bool, ...]:
        """Of all classes in turn."""
        return tuple(right for rights in self.right.values() for right in rights)


def measure(pipe: Pipeline, config: StepsConfig, tell: Tell) -> tuple[Point, ...]:
    """Draws and judges every prompt with every sampler and number of steps.

    Args:
        pipe: the shapes model.
        config: what is compared.
        tell: called with a line for each as a sampler is done.

    Raises:
        UsageError: a sampler can't take so many steps, or the model draws other pictures.
    """
    _check(pipe, config)
    asked: Asked = {kind: prompts(kind, config.count) for kind in config.classes}
    every = [prompt for kind in config.classes for prompt in asked[kind]]
    found: list[Point] = []
    for sampler in config.samplers:
        *fewer, most = config.steps
        reference = draw(pipe, every, sampler, most, config)
        for steps in fewer:
            pictures = draw(pipe, every, sampler, steps, config)
            psnr_db = _psnr_db(pictures, reference)
            found.append(Point(sampler, steps, _judged(asked, pictures), psnr_db))
        found.append(Point(sampler, most, _judged(asked, reference), None))
        for point in found[-len(config.steps) :]:
            tell(f"{sampler}, {point.steps} steps: {sum(point.all_right)} of {len(every)} right")
    return tuple(found)


def draw(
    pipe: Pipeline, asked: Sequence[Prompt], sampler: str, steps: int, config: StepsConfig
) -> Floats:
    """Pictures of prompts, each from the noise of its own seed.

    Returns:
        float32 [prompts, height, width, 3], in [0, 1].
    """
    space = pipe.bundle.manifest.latents
    shape = latent_shape(space, 1, PICTURE_SIZE, PICTURE_SIZE)
    parts: list[Floats] = []
    for first in range(0, len(asked), config.batch):
        part = asked[first : first + config.batch]
        images = pipe(
            [prompt.text for prompt in part],
            num_inference_steps=steps,
            guidance_scale=config.guidance_scale,
            sampler=sampler,
            # Of a sampler with noise of its own, which all pictures of a call share.
            seed=part[0].seed,
            latents=np.concatenate([Generator(prompt.seed).randn(shape) for prompt in part]),
            output_type="np",
        ).images
        assert isinstance(images, np.ndarray)
        parts.append(images)
    return np.concatenate(parts)


def plateau(points: Sequence[Point]) -> int:
    """The fewest steps that no larger number of steps is better than, as far as the data tell.

    Args:
        points: of one sampler, by ascending steps. Better is a paired difference in accuracy whose
            95 % interval lies above 0.
    """
    for index, point in enumerate(points):
        later = [paired_difference(point.all_right, other.all_right) for other in points[index:]]
        if all(gain.low <= 0 for gain in later):
            return point.steps
    raise AssertionError("the last point is not better than itself")


def as_text(config: StepsConfig, points: Sequence[Point]) -> str:
    """The points as a Markdown table, and a line on where each sampler's plateau begins."""
    kinds = " | ".join(f"{kind}, % right" for kind in config.classes)
    lines = [
        f"| sampler | steps | {kinds} | against {config.steps[-1]} steps | "
        "PSNR to those, dB: median, 10th percentile |",
        "|---" * (len(config.classes) + 4) + "|",
    ]
    for sampler in config.samplers:
        own = [point for point in points if point.sampler == sampler]
        lines += [_row(point, own[-1]) for point in own]
    ends = [
        f"{sampler} {plateau([point for point in points if point.sampler == sampler])}"
        for sampler in config.samplers
    ]
    told = f"No more steps are measurably better from: {', '.join(ends)}."
    return "\n".join([*lines, "", told])


def _row(point: Point, last: Point) -> str:
    rights = [_percent(wilson(sum(right), len(right))) for right in point.right.values()]
    return f"| {' | '.join([point.sampler, str(point.steps), *rights, *_against(point, last)])} |"


def _against(point: Point, last: Point) -> tuple[str, str]:
    if point.psnr_db is None:
        return "", ""
    gain = paired_difference(last.all_right, point.all_right)
    low = float(np.percentile(point.psnr_db, 10))
    return _percent(gain, sign="+"), f"{statistics.median(point.psnr_db):.1f}, {low:.1f}"


def _percent(interval: Interval, sign: str = "") -> str:
    values = (100 * value for value in (interval.estimate, interval.low, interval.high))
    estimate, low, high = (f"{value:{sign}.0f}" for value in values)
    return f"{estimate} ({low} to {high})"


def _judged(asked: Asked, pictures: Floats) -> dict[SceneClass, tuple[bool, ...]]:
    """Which pictures are right, by class; they come in the order of the classes."""
    right: dict[SceneClass, tuple[bool, ...]] = {}
    shown, start = to_uint8(pictures), 0
    for kind, questions in asked.items():
        right[kind] = score_pictures(questions, shown[start : start + len(questions)]).right()
        start += len(questions)
    return right


def _psnr_db(pictures: Floats, reference: Floats) -> tuple[float, ...]:
    errors = np.mean((pictures.astype(np.float64) - reference) ** 2, axis=(1, 2, 3))
    return tuple((10 * np.log10(1 / np.maximum(errors, 1e-12))).tolist())


def _check(pipe: Pipeline, config: StepsConfig) -> None:
    defaults = pipe.bundle.manifest.defaults
    if (defaults.height, defaults.width) != (PICTURE_SIZE, PICTURE_SIZE):
        raise UsageError(
            f"{pipe.bundle.path} draws {defaults.width}×{defaults.height} pixels; the score judges "
            f"the shapes model's {PICTURE_SIZE}×{PICTURE_SIZE}."
        )
    for sampler in config.samplers:
        for steps in config.steps:
            settle(pipe.bundle, "x", num_inference_steps=steps, sampler=sampler)


def command(
    bundle: Annotated[Path, typer.Argument(help="The shapes model, compiled.")],
    steps: Annotated[str, typer.Option(help="Numbers of steps, with commas between.")] = ",".join(
        map(str, STEPS)
    ),
    sampler: Annotated[
        list[str] | None,
        typer.Option(help="May be given several times; else all that fit."),
    ] = None,
    count: Annotated[int, typer.Option(help="Prompts a class.")] = 100,
    guidance_scale: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
) -> None:
    """Tell how the shapes model's pictures depend on the number of steps."""
    for name in sampler or ():
        if name not in sampler_names():
            raise unknown_name("sampler", name, sampler_names())
    if count < 1:
        raise UsageError(f"--count is at least 1; given {count}.")
    numbers = _numbers(steps)
    opened = open_bundle(bundle)
    config = StepsConfig(
        samplers=tuple(sampler or fitting_samplers(opened.scheduler_config)),
        steps=numbers,
        count=count,
        guidance_scale=guidance_scale,
    )
    with Pipeline.open(opened) as pipe:
        points = measure(pipe, config, lambda line: print(line, file=sys.stderr, flush=True))
        origin = _origin(pipe)
    if as_json:
        found = {"bundle": str(bundle), "origin": origin, "config": asdict(config)}
        print(json.dumps({**found, "points": [asdict(point) for point in points]}, indent=2))
    else:
        print(as_text(config, points))


def _origin(pipe: Pipeline) -> dict[str, Any]:
    origin = pipe.origin
    return {"engine": origin.engine, "device": origin.device, "sha256": origin.bundle_sha256}


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as e:
        raise UsageError(f"--steps takes whole numbers such as 4,8,20; given {text!r}.") from e
    if not found or found[0] < 1:
        raise UsageError(f"--steps takes numbers of 1 and more; given {text!r}.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    return run_command(command, NAME, arguments)


if __name__ == "__main__":
    sys.exit(main())
