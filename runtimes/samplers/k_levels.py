"""What the samplers in k-diffusion's scaling, x = x0 + sigma * noise, have in common.

Each visits spaced timesteps; sigmas follow from those, and where a rule spreads the sigmas anew,
the timesteps follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError
from runtimes.schedule import (
    SIGMA_RULES,
    Float32s,
    Float64s,
    Level,
    NoiseSchedule,
    SigmaRule,
    Spacing,
    check_steps,
    interpolated_sigmas,
    sigmas_to_timesteps,
    spaced_timesteps,
)

CLEAN = Level(1.0, 0.0, 0.0)
"""Where the last step ends."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class KSampler:
    """The levels of a sampler in k-diffusion's scaling, before what is its own.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        sigma_rule: how sigmas follow from the timesteps.
        sigma_min: the smallest sigma of a rule; None for that of the last timestep visited.
        sigma_max: the largest sigma of a rule; None for that of the first timestep visited.
    """

    timestep_spacing: Spacing = "linspace"
    steps_offset: int = 0
    sigma_rule: SigmaRule = "interpolated"
    sigma_min: float | None = None
    sigma_max: float | None = None
    # Whether the Karras rule, too, takes sigma_min and sigma_max: not in all of diffusers' classes.
    karras_has_bounds: ClassVar[bool] = True

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`.

        The first sigma; with leading spacing sqrt(sigma² + 1), as the reference has it.
        """
        sigma = np.float32(max(level.sigma for level in levels))
        return float(np.sqrt(sigma**2 + 1) if self.timestep_spacing == "leading" else sigma)

    def visited(
        self,
        schedule: NoiseSchedule,
        num_inference_steps: int,
        dtype: type[np.float32 | np.float64] = np.float32,
    ) -> tuple[Float64s, Float64s]:
        """The sigmas and timesteps of the steps, descending.

        Args:
            schedule: the noise schedule.
            num_inference_steps: how many.
            dtype: what spaced timesteps are rounded to before sigmas are taken at them.

        Raises:
            UsageError: there can't be so many steps.
        """
        check_steps(num_inference_steps, schedule)
        timesteps = spaced_timesteps(
            self.timestep_spacing,
            schedule.num_train_timesteps,
            num_inference_steps,
            self.steps_offset,
        ).astype(dtype)
        return self.by_rule(schedule, timesteps)

    def by_rule(self, schedule: NoiseSchedule, timesteps: Floats) -> tuple[Float64s, Float64s]:
        """The sigmas that the rule makes of timesteps, and the timesteps of those."""
        sigmas = interpolated_sigmas(schedule, timesteps)
        if self.sigma_rule == "interpolated":
            return sigmas, timesteps.astype(np.float64)
        bounded = self.karras_has_bounds or self.sigma_rule != "karras"
        largest, smallest = float(sigmas[0]), float(sigmas[-1])
        if bounded and self.sigma_max is not None:
            largest = self.sigma_max
        if bounded and self.sigma_min is not None:
            smallest = self.sigma_min
        sigmas = SIGMA_RULES[self.sigma_rule](largest, smallest, len(timesteps))
        return sigmas, sigmas_to_timesteps(schedule, sigmas)


def k_levels(sigmas: Floats, timesteps: Floats) -> list[Level]:
    """The levels of sigmas, as float32 has them, and timesteps, as they are."""
    pairs = zip(sigmas.astype(np.float32).tolist(), timesteps.tolist(), strict=True)
    return [Level(1.0, sigma, timestep) for sigma, timestep in pairs]


def check_no_repeats(sampler: str, sigmas: Floats) -> None:
    """Refuses sigmas of which two in a row are equal, for a sampler that divides by their distance.

    Raises:
        UsageError: says how many steps were asked for.
    """
    if np.any(np.diff(sigmas.astype(np.float32)) == 0):
        raise UsageError(
            f"num_inference_steps is {len(sigmas)}; {sampler} would then repeat a sigma, which it "
            "can't; give fewer steps"
        )


def with_second_calls(steps: Sequence[Level], second: Sequence[Level]) -> tuple[Level, ...]:
    """The levels of two calls a step: each step's start, then its second call.

    The last step has one call alone, since it ends at sigma 0, where the network says nothing.

    Args:
        steps: where each step starts.
        second: the second call of each but the last.
    """
    pairs = zip(steps[:-1], second, strict=True)
    return (*(level for pair in pairs for level in pair), steps[-1], CLEAN)


def log_midpoints(start: Float32s, end: Float32s) -> Float32s:
    """Geometric means of sigmas, in the float32 steps of the reference: timesteps hang on them."""
    log_start, log_end = np.log(start), np.log(end)
    middle = log_end - (log_end - log_start) * np.float32(0.5)
    return cast("Float32s", np.exp(middle))
