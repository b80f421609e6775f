"""Euler's method on the probability-flow ODE.

T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
algorithm 2 without its second order. Follows diffusers' EulerDiscreteScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from runtimes.errors import UsageError
from runtimes.samplers.churn import Churn
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import (
    SIGMA_RULES,
    FinalSigmasType,
    Float32s,
    Level,
    NoiseSchedule,
    SigmaRule,
    Spacing,
    check_steps,
    final_sigma,
    interpolated_sigmas,
    log_linear_sigmas,
    sigmas_to_timesteps,
    spaced_timesteps,
)
from runtimes.schedules.given import check_given_count, given_timesteps


@dataclass(frozen=True)
class Euler:
    """Euler, in k-diffusion's scaling: x = x0 + sigma * noise.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        sigma_rule: how sigmas follow from the timesteps. The reference has no polyexponential and
            no lu ones: here they lie between the sigmas of the first and the last timestep visited,
            as the others do.
        sigma_min: the smallest sigma of a rule; None for that of the last timestep visited.
        sigma_max: the largest sigma of a rule; None for that of the first timestep visited.
        final_sigmas_type: where the last step ends.
        interpolation_type: "log_linear" for sigmas even in their logarithm over the whole schedule,
            whatever timesteps are visited; the last step then ends at the schedule's smallest.
        timestep_type: "continuous" tells a network that predicts v log(sigma) / 4 for the timestep.
        sigmas: in place of all these, those of all steps and where the last one ends.
        timesteps: in place of the spaced ones, those of all steps; they may be fractions.
        prediction_type: what the network predicts; matters to churn and continuous timesteps alone.
        s_churn: how much noise all steps together add; `Churn` has these four.
        s_tmin: the smallest sigma at which noise is added.
        s_tmax: the largest.
        s_noise: the deviation of the noise that is added.
    """

    timestep_spacing: Spacing = "linspace"
    steps_offset: int = 0
    sigma_rule: SigmaRule = "interpolated"
    sigma_min: float | None = None
    sigma_max: float | None = None
    final_sigmas_type: FinalSigmasType = "zero"
    interpolation_type: Literal["linear", "log_linear"] = "linear"
    timestep_type: Literal["discrete", "continuous"] = "discrete"
    prediction_type: str = "epsilon"
    sigmas: tuple[float, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "EulerDiscreteScheduler"
    OPTIONS: ClassVar[Options] = {
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "interpolation_type": ("linear", "log_linear"),
        "timestep_type": ("discrete", "continuous"),
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False, True),
        "use_beta_sigmas": (False, True),
        "sigma_min": None,
        "sigma_max": None,
        "final_sigmas_type": ("zero", "sigma_min"),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls, at timesteps that may be fractions."""
        check_steps(num_inference_steps, schedule)
        if self.sigmas is not None:
            check_given_count("sigmas", len(self.sigmas) - 1, num_inference_steps)
            sigmas = np.array(self.sigmas, np.float32)
            timesteps = sigmas_to_timesteps(schedule, sigmas[:-1]).astype(np.float32)
        else:
            timesteps, sigmas = self._ruled(schedule, num_inference_steps)
        if self._continuous:
            timesteps = np.float32(0.25) * np.log(sigmas[:-1])
        visited = zip(sigmas.tolist(), [*timesteps.tolist(), 0.0], strict=True)
        return tuple(Level(1.0, sigma, timestep) for sigma, timestep in visited)

    @property
    def _continuous(self) -> bool:
        return self.timestep_type == "continuous" and self.prediction_type == "v_prediction"

    def _ruled(self, schedule: NoiseSchedule, n: int) -> tuple[Float32s, Float32s]:
        """The timesteps of n steps, and the n + 1 sigmas that the rules make of them."""
        timesteps = self._spaced(schedule, n)
        if self.interpolation_type == "log_linear":
            sigmas, final = log_linear_sigmas(schedule, n + 1).astype(np.float64), []
        else:
            sigmas = interpolated_sigmas(schedule, timesteps)
            final = [final_sigma(schedule, self.final_sigmas_type)]
        if self.sigma_rule != "interpolated":
            largest = self.sigma_max if self.sigma_max is not None else float(sigmas[0])
            smallest = self.sigma_min if self.sigma_min is not None else float(sigmas[-1])
            sigmas = SIGMA_RULES[self.sigma_rule](largest, smallest, n)
            timesteps = sigmas_to_timesteps(schedule, sigmas).astype(np.float32)
            final = [final_sigma(schedule, self.final_sigmas_type)]
        return timesteps, np.append(sigmas, final).astype(np.float32)

    def _spaced(self, schedule: NoiseSchedule, n: int) -> Float32s:
        last, spacing = schedule.num_train_timesteps, self.timestep_spacing
        if self.timesteps is None:
            return spaced_timesteps(spacing, last, n, self.steps_offset).astype(np.float32)
        if self._continuous:
            raise UsageError(
                "timesteps are given, and timestep_type 'continuous' makes them from sigmas; "
                "give sigmas"
            )
        return given_timesteps(self.timesteps, n, last, whole=False).astype(np.float32)

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`.

        The first sigma; with leading spacing sqrt(sigma² + 1), as the reference has it.
        """
        sigma = np.float32(max(level.sigma for level in levels))
        return float(np.sqrt(sigma**2 + 1) if self.timestep_spacing == "leading" else sigma)

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws noise where churn asks for some."""
        total = len(levels) - 1
        churn = Churn(self.s_churn, self.s_tmin, self.s_tmax, self.s_noise)
        for index in range(begin, total):
            level, target = levels[index], levels[index + 1]
            denoised = denoiser(x, level)
            slope = (x - denoised) / level.sigma
            noisier, sigma = churn(x, level, total, noise)
            if sigma != level.sigma:
                slope = self._churned(slope, denoised, x, level, noisier, sigma)
            x = noisier + slope * (target.sigma - sigma)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x

    def _churned(
        self,
        slope: Latents,
        denoised: Latents,
        x: Latents,
        level: Level,
        noisier: Latents,
        sigma: float,
    ) -> Latents:
        """The slope at latents that noise was added to after the network was called.

        The network's output stands, as in the reference, so the slope hangs on what it predicts;
        of v the reference also keeps the level's own coefficients.
        """
        if self.prediction_type == "epsilon":
            return slope
        if self.prediction_type == "v_prediction":
            denoised = denoised + (noisier - x) / (level.sigma**2 + 1)
        return (noisier - denoised) / sigma
