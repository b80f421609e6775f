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
from runtimes.samplers.k_levels import Floats, KSampler, with_end
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Factor, NotNegative
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import (
    FinalSigmasType,
    Float64s,
    Level,
    NoiseSchedule,
    final_sigma,
    log_linear_sigmas,
)


@dataclass(frozen=True)
class Euler(KSampler):
    """Euler, deterministic without churn.

    The reference has no polyexponential and no lu sigmas: here they lie between the sigmas of the
    first and the last timestep visited, as the others do.

    Attributes: those of `KSampler`, and
        final_sigmas_type: where the last step ends.
        interpolation_type: "log_linear" for sigmas even in their logarithm over the whole schedule,
            whatever timesteps are visited; the last step then ends at the schedule's smallest.
        timestep_type: "continuous" tells a network that predicts v log(sigma) / 4 for the timestep.
        prediction_type: what the network predicts; matters to churn and continuous timesteps alone.
        s_churn: how much noise all steps together add; `Churn` has these four.
        s_tmin: the smallest sigma at which noise is added.
        s_tmax: the largest.
        s_noise: the deviation of the noise that is added.
    """

    final_sigmas_type: FinalSigmasType = "zero"
    interpolation_type: Literal["linear", "log_linear"] = "linear"
    timestep_type: Literal["discrete", "continuous"] = "discrete"
    prediction_type: str = "epsilon"
    s_churn: NotNegative = 0.0
    s_tmin: NotNegative = 0.0
    s_tmax: NotNegative = math.inf
    s_noise: Factor = 1.0
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
        if self._continuous and self.timesteps is not None:
            raise UsageError(
                "timesteps are given, and timestep_type 'continuous' makes them from sigmas; "
                "give sigmas"
            )
        sigmas, timesteps = self.visited(schedule, num_inference_steps)
        if self._continuous:
            timesteps = np.float32(0.25) * np.log(sigmas[:-1].astype(np.float32))
        return with_end(sigmas, timesteps.astype(np.float32))

    @property
    def _continuous(self) -> bool:
        return self.timestep_type == "continuous" and self.prediction_type == "v_prediction"

    def by_rule(self, schedule: NoiseSchedule, timesteps: Floats) -> tuple[Float64s, Float64s]:
        """See `KSampler.by_rule`; log-linear sigmas take the place of the schedule's own."""
        if self.interpolation_type == "linear":
            return super().by_rule(schedule, timesteps)
        sigmas = log_linear_sigmas(schedule, len(timesteps) + 1).astype(np.float64)
        if self.sigma_rule == "interpolated":
            return sigmas, timesteps.astype(np.float64)
        return self.spread(schedule, sigmas, len(timesteps))

    def end_sigma(self, schedule: NoiseSchedule) -> float:
        """See `KSampler.end_sigma`."""
        return final_sigma(schedule, self.final_sigmas_type)

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
