"""How right and how near to the converged picture each sampler is at each number of steps.

The same prompts and seeds for all, so that differences are paired. What they are paired with is
DDIM at 50 steps; what "converged" means is a high-order deterministic solver at many
steps from the same noise, to which all deterministic samplers tend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import msgspec

from benchmarks.samplers.drawing import (
    Drawing,
    Floats,
    Way,
    draw,
    is_deterministic,
    judged,
    psnr_db,
    refusal,
)
from benchmarks.shapes.generator import CLASSES, PICTURE_SIZE, SceneClass
from benchmarks.shapes.intervals import Interval, paired_difference
from benchmarks.shapes.score import Prompt, prompts
from runtimes.errors import UsageError
from runtimes.metadata import Origin
from runtimes.pipeline import Pipeline

STEPS = (4, 8, 12, 20, 50)
BASELINE = "ddim"
CONVERGED = "dpmpp-2m"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured.

    Attributes:
        ways: samplers, "+karras" behind those with Karras' levels.
        steps: numbers of steps, ascending.
        count: prompts a class.
        close_steps: the number of steps at which more prompts are asked.
        close_count: prompts a class there, `count` at least. Where 4 in 100 pictures are judged
            otherwise than the baseline's, which is usual, 200 a class give an interval of ±2 points
            and 800 one of ±1.
        baseline_steps: of DDIM, which all are compared with.
        converged_steps: of the picture that PSNR is measured to.
        guidance_scale: classifier-free guidance.
    """

    ways: tuple[str, ...]
    steps: tuple[int, ...] = STEPS
    count: int = 25
    close_steps: int = 20
    close_count: int = 200
    baseline_steps: int = 50
    converged_steps: int = 200
    guidance_scale: float = 2.0

    @property
    def baseline(self) -> tuple[str, int]:
        """What all are compared with: the sampler and its number of steps."""
        return BASELINE, self.baseline_steps

    def count_at(self, way: str, steps: int) -> int:
        """Prompts a class at a number of steps; as many for what they are paired with."""
        compared = steps == self.close_steps or (way, steps) == self.baseline
        return self.close_count if compared else self.count


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One sampler at one number of steps.

    Attributes:
        way: the sampler.
        steps: as users count them.
        right: by class: which prompts' pictures are right in every attribute.
        psnr_db: to the converged pictures of the first prompts of each class; None of a stochastic
            sampler, which has none.
        refused: why the sampler doesn't run so; then there is nothing else.
    """

    way: str
    steps: int
    right: dict[SceneClass, tuple[bool, ...]] = {}
    psnr_db: tuple[float, ...] | None = None
    refused: str | None = None

    @property
    def all_right(self) -> tuple[bool, ...]:
        """Of all classes in turn."""
        return tuple(right for rights in self.right.values() for right in rights)

    def against(self, other: Point) -> Interval:
        """The difference in accuracy to another on the prompts that both were asked."""
        mine: list[bool] = []
        theirs: list[bool] = []
        for kind, rights in self.right.items():
            both = list(zip(rights, other.right[kind], strict=False))
            mine += [right for right, _ in both]
            theirs += [right for _, right in both]
        return paired_difference(theirs, mine)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        config: what was measured.
        origin: the bundle, its engine and the machine.
        points: the baseline first, then in the config's order.
    """

    config: Config
    origin: Origin
    points: tuple[Point, ...]

    def point(self, way: str, steps: int) -> Point | None:
        """A point, if it was measured yet."""
        found = (point for point in self.points if (point.way, point.steps) == (way, steps))
        return next(found, None)


class Measurement:
    """Draws and judges, point by point.

    Args:
        pipe: the shapes model.
        config: what is measured.
        tell: called with a line of progress.
    """

    def __init__(self, pipe: Pipeline, config: Config, tell: Callable[[str], None]) -> None:
        self._pipe, self._config, self._tell = pipe, config, tell
        self._drawing = Drawing(config.guidance_scale)

    def run(self, known: Sequence[Point] = ()) -> Iterator[Table]:
        """The table, as it is after each new point.

        Args:
            known: points of an earlier run of the same config.

        Raises:
            UsageError: the model draws pictures that the score can't judge.
        """
        check_draws_shapes(self._pipe)
        points = list(known)
        done = {(point.way, point.steps) for point in points}
        wanted = [key for key in self._wanted() if key not in done]
        for number, (way, steps) in enumerate(wanted, start=1):
            began = time.perf_counter()
            point = self._point(way, steps)
            points.append(point)
            took_s = time.perf_counter() - began
            self._tell(f"{number} of {len(wanted)}: {_said(point)} ({took_s:.0f} s)")
            yield Table(config=self._config, origin=self._pipe.origin, points=tuple(points))

    def _wanted(self) -> list[tuple[str, int]]:
        all_points = [(way, steps) for way in self._config.ways for steps in self._config.steps]
        return list(dict.fromkeys([self._config.baseline, *all_points]))

    def _point(self, name: str, steps: int) -> Point:
        way = Way.parse(name)
        refused = refusal(self._pipe, way, steps)
        if refused is not None:
            return Point(way=name, steps=steps, refused=refused)
        count = self._config.count_at(name, steps)
        asked: dict[SceneClass, tuple[Prompt, ...]] = {
            kind: prompts(kind, count) for kind in CLASSES
        }
        pictures = draw(self._pipe, _flat(asked), way, steps, self._drawing)
        near = None
        if is_deterministic(self._pipe, way, steps):
            first = self._config.count
            kept = [pictures[at : at + first] for at in range(0, len(pictures), count)]
            near = tuple(
                value
                for mine, best in zip(kept, self._converged, strict=True)
                for value in psnr_db(mine, best)
            )
        return Point(way=name, steps=steps, right=judged(asked, pictures), psnr_db=near)

    @cached_property
    def _converged(self) -> list[Floats]:
        """The converged pictures of the first prompts, by class."""
        self._tell(f"the converged pictures: {CONVERGED}, {self._config.converged_steps} steps")
        return [
            draw(
                self._pipe,
                prompts(kind, self._config.count),
                Way(CONVERGED),
                self._config.converged_steps,
                self._drawing,
            )
            for kind in CLASSES
        ]


def check_draws_shapes(pipe: Pipeline) -> None:
    """Refuses a bundle whose pictures the score can't judge.

    Raises:
        UsageError: it draws another size.
    """
    defaults = pipe.bundle.manifest.defaults
    if (defaults.height, defaults.width) != (PICTURE_SIZE, PICTURE_SIZE):
        raise UsageError(
            f"{pipe.bundle.path} draws {defaults.width}×{defaults.height} pixels; the score judges "
            f"the shapes model's {PICTURE_SIZE}×{PICTURE_SIZE}."
        )


def _flat(asked: dict[SceneClass, tuple[Prompt, ...]]) -> list[Prompt]:
    return [prompt for questions in asked.values() for prompt in questions]


def _said(point: Point) -> str:
    if point.refused is not None:
        return f"{point.way}, {point.steps} steps: refused"
    right = point.all_right
    return f"{point.way}, {point.steps} steps: {sum(right)} of {len(right)} right"
