"""What the samplers in k-diffusion's scaling, x = x0 + sigma * noise, have in common.

Each visits spaced timesteps; sigmas follow from those, and where a rule spreads the sigmas anew, or
a caller gives them, the timesteps follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError
from runtimes.samplers.ranges import Offset, Sigma
from runtimes.schedule import (
    Float32s,
    Float64s,
    Level,
    NoiseSchedule,
    SigmaRule,
    Spacing,
    check_first,
    check_steps,
    interpolated_sigmas,
    ruled_sigmas,
    sigmas_to_timesteps,
    spaced_timesteps,
)
from runtimes.schedules.given import check_given_count, check_rule, given_timesteps

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
        sigmas: in place of all these, those of all steps and where the last one ends. Of the
            reference's classes Euler's alone takes them; the others' samplers read them as it does.
        timesteps: in place of the spaced ones, those of all steps; they may be fractions. In the
            reference Euler and Heun take them.
    """

    timestep_spacing: Spacing = "linspace"
    steps_offset: Offset = 0
    sigma_rule: SigmaRule = "interpolated"
    sigma_min: Sigma | None = None
    sigma_max: Sigma | None = None
    sigmas: tuple[float, ...] | None = None
    timesteps: tuple[float, ...] | None = None
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
        """The sigmas of the steps and where the last one ends, and the timesteps of the steps.

        Args:
            schedule: the noise schedule.
            num_inference_steps: how many.
            dtype: what timesteps are rounded to before sigmas are taken at them.

        Returns:
            One sigma more than timesteps; both descend.

        Raises:
            UsageError: there can't be so many steps, or another number is given.
        """
        check_steps(num_inference_steps, schedule)
        if self.sigmas is not None:
            return self._given(schedule, self.sigmas, num_inference_steps)
        timesteps = self._timesteps(schedule, num_inference_steps)
        return self.by_rule(schedule, timesteps.astype(dtype))

    def _given(
        self, schedule: NoiseSchedule, sigmas: tuple[float, ...], n: int
    ) -> tuple[Float64s, Float64s]:
        check_given_count("sigmas", len(sigmas) - 1, n)
        check_rule("sigmas", self.sigma_rule)
        # float32, as the reference's Euler has them before it looks their timesteps up.
        rounded = np.array(sigmas, np.float32)
        return rounded.astype(np.float64), sigmas_to_timesteps(schedule, rounded[:-1])

    def _timesteps(self, schedule: NoiseSchedule, n: int) -> Float64s:
        train = schedule.num_train_timesteps
        if self.timesteps is None:
            spaced = spaced_timesteps(self.timestep_spacing, train, n, self.steps_offset)
            return check_first(spaced, train, self.steps_offset)
        check_rule("timesteps", self.sigma_rule)
        return given_timesteps(self.timesteps, n, train, whole=False)

    def by_rule(self, schedule: NoiseSchedule, timesteps: Floats) -> tuple[Float64s, Float64s]:
        """The sigmas that the rule makes of timesteps, and the end's; the timesteps of those."""
        sigmas = interpolated_sigmas(schedule, timesteps)
        if self.sigma_rule == "interpolated":
            return np.append(sigmas, self.end_sigma(schedule)), timesteps.astype(np.float64)
        return self.spread(schedule, sigmas, len(timesteps))

    def spread(self, schedule: NoiseSchedule, between: Floats, n: int) -> tuple[Float64s, Float64s]:
        """As many sigmas of the rule as there are steps, the end's too, and their timesteps.

        Args:
            schedule: the noise schedule.
            between: the first and the last are the rule's ends where the options name no others.
            n: how many steps.
        """
        bounded = self.karras_has_bounds or self.sigma_rule != "karras"
        largest, smallest = float(between[0]), float(between[-1])
        if bounded and self.sigma_max is not None:
            largest = self.sigma_max
        if bounded and self.sigma_min is not None:
            smallest = self.sigma_min
        sigmas = ruled_sigmas(self.sigma_rule, largest, smallest, n)
        end = self.end_sigma(schedule)
        return np.append(sigmas, end), sigmas_to_timesteps(schedule, sigmas)

    def end_sigma(self, schedule: NoiseSchedule) -> float:
        """Where the last step ends, if no sigmas are given."""
        return 0.0


def k_levels(sigmas: Floats, timesteps: Floats) -> list[Level]:
    """The levels of sigmas, as float32 has them, and timesteps, as they are."""
    pairs = zip(sigmas.astype(np.float32).tolist(), timesteps.tolist(), strict=True)
    return [Level(1.0, sigma, timestep) for sigma, timestep in pairs]


def with_end(sigmas: Floats, timesteps: Floats) -> tuple[Level, ...]:
    """The levels of steps of one call each, and the one where the last of them ends.

    Args:
        sigmas: one more than there are timesteps.
        timesteps: of the steps.
    """
    return tuple(k_levels(sigmas, np.append(timesteps, 0)))


def check_no_repeats(sampler: str, sigmas: Floats) -> None:
    """Refuses sigmas of which two in a row are equal, for a sampler that divides by their distance.

    Args:
        sampler: its name.
        sigmas: of the steps, and where the last one ends.

    Raises:
        UsageError: says how many steps were asked for.
    """
    if np.any(np.diff(sigmas.astype(np.float32)) == 0):
        raise UsageError(
            f"num_inference_steps is {len(sigmas) - 1}; {sampler} would then repeat a sigma, which "
            "it can't; give fewer steps"
        )


def with_second_calls(steps: Sequence[Level], second: Sequence[Level]) -> tuple[Level, ...]:
    """The levels of two calls a step: each step's start, then its second call.

    A last step to sigma 0 has one call alone: there the network says nothing.

    Args:
        steps: where each step starts, and where the last one ends.
        second: the second call of each step but of one to sigma 0.
    """
    *starts, end = steps
    pairs = zip(starts, second, strict=False)
    return (*(level for pair in pairs for level in pair), *starts[len(second) :], end)


def log_midpoints(start: Float32s, end: Float32s) -> Float32s:
    """Geometric means of sigmas, in the float32 steps of the reference: timesteps hang on them."""
    log_start, log_end = np.log(start), np.log(end)
    middle = log_end - (log_end - log_start) * np.float32(0.5)
    return cast("Float32s", np.exp(middle))
