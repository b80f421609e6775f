"""Levels at whole timesteps: a fixed stride apart, as diffusers' DDIM and PNDM count, or given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtimes.schedule import (
    Level,
    NoiseSchedule,
    Spacing,
    check_first,
    check_steps,
    spaced_timesteps,
)
from runtimes.schedules.given import given_timesteps


@dataclass(frozen=True)
class StridedLevel(Level):
    """A level that knows its neighbours.

    The stride is `num_train_timesteps // num_inference_steps` even where the spacing is not that
    regular (linspace; trailing at 15 steps), so a step may end beside the next level, not on it.
    Timesteps that a caller gave have no stride: their neighbours are each other.

    Attributes:
        before: one stride, or one given timestep, noisier.
        after: as much cleaner: where a step from here ends.
    """

    before: Level
    after: Level


def strided_timesteps(
    schedule: NoiseSchedule, num_inference_steps: int, spacing: Spacing, steps_offset: int
) -> NDArray[np.int64]:
    """Whole timesteps, descending.

    Raises:
        UsageError: there can't be so many steps.
    """
    check_steps(num_inference_steps, schedule)
    train = schedule.num_train_timesteps
    timesteps = spaced_timesteps(spacing, train, num_inference_steps, steps_offset).round()
    return check_first(timesteps, train, steps_offset).astype(np.int64)


def final_level(schedule: NoiseSchedule, set_alpha_to_one: bool) -> Level:
    """Where a step past timestep 0 ends: clean, or as noisy as timestep 0."""
    return Level(1.0, 0.0, 0.0) if set_alpha_to_one else schedule.level(0)


def strided_levels(
    schedule: NoiseSchedule, timesteps: Iterable[int], stride: int, final: Level
) -> list[StridedLevel]:
    """The levels of timesteps, each with its neighbours a stride away, `final` below 0."""
    last = schedule.num_train_timesteps - 1

    def level(timestep: int) -> Level:
        return schedule.level(min(timestep, last)) if timestep >= 0 else final

    return [
        StridedLevel(here.alpha, here.sigma, here.timestep, level(t + stride), level(t - stride))
        for t in map(int, timesteps)
        for here in [level(t)]
    ]


def given_levels(
    schedule: NoiseSchedule,
    timesteps: tuple[float, ...],
    num_inference_steps: int,
    final: Level,
) -> list[StridedLevel]:
    """The levels of timesteps that a caller gave, each with its neighbours among them.

    Before the first lies itself, after the last `final`.

    Raises:
        UsageError: another number of them, or one is past the schedule's end or a fraction.
    """
    whole = given_timesteps(
        timesteps, num_inference_steps, schedule.num_train_timesteps, whole=True
    )
    visited = [schedule.level(int(timestep)) for timestep in whole]
    around = zip([visited[0], *visited], visited, [*visited[1:], final], strict=False)
    return [
        StridedLevel(here.alpha, here.sigma, here.timestep, noisier, cleaner)
        for noisier, here, cleaner in around
    ]


def before(levels: Sequence[Level], index: int) -> Level:
    """One stride noisier than the level at `index`; for a plain level, the one visited before."""
    level = levels[index]
    return level.before if isinstance(level, StridedLevel) else levels[index - 1]


def after(levels: Sequence[Level], index: int) -> Level:
    """Where the step from the level at `index` ends; for a plain level, at the next one."""
    level = levels[index]
    return level.after if isinstance(level, StridedLevel) else levels[index + 1]
