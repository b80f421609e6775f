"""The command line of `benchmarks.shapes.score`."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.command_line import run_command
from benchmarks.shapes.generator import CLASSES, Picture, SceneClass
from benchmarks.shapes.intervals import Interval
from benchmarks.shapes.painters import PaintConfig, Painter, painter
from benchmarks.shapes.score import ATTRIBUTES, Score, compare, prompts, score_pictures
from runtimes.errors import UsageError, unknown_name

DEFAULTS = PaintConfig()
NAME = "python -m benchmarks.shapes.score"
Tell = Callable[[], None]


def score_models(
    path: Annotated[Path, typer.Argument(help="A Diffusers folder or a compiled bundle.")],
    path2: Annotated[
        Path | None, typer.Argument(help="Another, compared with the first prompt by prompt.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Sampler steps.")] = DEFAULTS.steps,
    guidance_scale: Annotated[
        float, typer.Option(help="Classifier-free guidance; 1 turns it off.")
    ] = DEFAULTS.guidance_scale,
    sampler: Annotated[str, typer.Option(help="Of the pictures.")] = DEFAULTS.sampler,
    count: Annotated[int, typer.Option(help="Prompts a class.")] = 500,
    scene_class: Annotated[
        str, typer.Option("--class", help=f"{', '.join(CLASSES)}, or both if absent.")
    ] = "",
    batch: Annotated[
        int, typer.Option(help="Pictures at once, where torch makes them.")
    ] = DEFAULTS.batch,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
) -> None:
    """Score how often a model's pictures show what the prompts say."""
    for name, value in (("--steps", steps), ("--count", count), ("--batch", batch)):
        if value < 1:
            raise UsageError(f"{name} is at least 1; given {value}.")
    if scene_class and scene_class not in CLASSES:
        raise unknown_name("class of prompts", scene_class, CLASSES)
    classes: list[SceneClass] = [known for known in CLASSES if scene_class in ("", known)]
    config = PaintConfig(steps, guidance_scale, sampler, batch)
    paths = [given for given in (path, path2) if given is not None]
    scores: dict[SceneClass, list[Score]] = {known: [] for known in classes}
    for opened in [(given, painter(given, config)) for given in paths]:
        for known in classes:
            scores[known].append(_score(*opened, known, count))
    print(_as_json(paths, config, scores) if as_json else _as_text(paths, scores))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives 0 done, 1 failed, 2 wrong usage."""
    return run_command(score_models, NAME, arguments)


def _score(path: Path, paint: Painter, scene_class: SceneClass, count: int) -> Score:
    asked = prompts(scene_class, count)
    with _progress(f"{path.name}, {scene_class}", count) as tell:
        pictures = paint([prompt.text for prompt in asked], [prompt.seed for prompt in asked])
        return score_pictures(asked, _told(pictures, tell))


def _told(pictures: Iterable[Picture], tell: Tell) -> Iterator[Picture]:
    for picture in pictures:
        yield picture
        tell()


@contextmanager
def _progress(label: str, total: int) -> Generator[Tell]:
    """A bar on stderr, where that is a terminal; gives what moves it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


def _as_json(
    paths: Sequence[Path], config: PaintConfig, scores: dict[SceneClass, list[Score]]
) -> str:
    result: dict[str, Any] = {"models": [str(path) for path in paths], "config": asdict(config)}
    for scene_class, made in scores.items():
        entry: dict[str, Any] = {
            "count": len(made[0].verdicts),
            "accuracy": [
                {attribute: asdict(score.accuracy(attribute)) for attribute in ATTRIBUTES}
                for score in made
            ],
        }
        if len(made) == 2:
            entry["difference"] = {
                attribute: asdict(compare(made[0], made[1], attribute)) for attribute in ATTRIBUTES
            }
        result[scene_class] = entry
    return json.dumps(result, indent=2)


def _as_text(paths: Sequence[Path], scores: dict[SceneClass, list[Score]]) -> str:
    lines: list[str] = []
    for scene_class, made in scores.items():
        lines.append(f"{scene_class}, {len(made[0].verdicts)} prompts, % right (95 % interval)")
        for attribute in ATTRIBUTES:
            cells = [_percent(score.accuracy(attribute)) for score in made]
            if len(made) == 2:
                cells.append(
                    "difference " + _percent(compare(made[0], made[1], attribute), sign="+")
                )
            lines.append(f"  {attribute:<11}" + "   ".join(cells))
    header = [f"{'second' if i else 'first'}: {path}" for i, path in enumerate(paths)]
    return "\n".join([*(header if len(paths) == 2 else header[:0]), *lines])


def _percent(interval: Interval, sign: str = "") -> str:
    estimate, low, high = (
        100 * value for value in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"
