"""Euler's method on the probability-flow ODE.

T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
algorithm 2 without its second order. Follows diffusers' EulerDiscreteScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtimes.samplers.churn import Churn
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import (
    FinalSigmasType,
    Level,
    NoiseSchedule,
    SigmaRule,
    Spacing,
    check_steps,
    final_sigma,
    interpolated_sigmas,
    karras_sigmas,
    sigmas_to_timesteps,
    spaced_timesteps,
)


@dataclass(frozen=True)
class Euler:
    """Euler, in k-diffusion's scaling: x = x0 + sigma * noise.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        sigma_rule: how sigmas follow from the timesteps.
        sigma_min: the smallest Karras sigma; None for that of the last timestep visited.
        sigma_max: the largest Karras sigma; None for that of the first timestep visited.
        final_sigmas_type: where the last step ends.
        prediction_type: what the network predicts; matters to churn alone.
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
    prediction_type: str = "epsilon"
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
        "interpolation_type": ("linear",),
        "timestep_type": ("discrete",),
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False,),
        "use_beta_sigmas": (False,),
        "sigma_min": None,
        "sigma_max": None,
        "final_sigmas_type": ("zero", "sigma_min"),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls, at timesteps that may be fractions."""
        n = num_inference_steps
        check_steps(n, schedule)
        timesteps = spaced_timesteps(
            self.timestep_spacing, schedule.num_train_timesteps, n, self.steps_offset
        ).astype(np.float32)
        sigmas = interpolated_sigmas(schedule, timesteps)
        if self.sigma_rule == "karras":
            largest = self.sigma_max if self.sigma_max is not None else float(sigmas[0])
            smallest = self.sigma_min if self.sigma_min is not None else float(sigmas[-1])
            sigmas = karras_sigmas(largest, smallest, n)
            timesteps = sigmas_to_timesteps(schedule, sigmas).astype(np.float32)
        visited = zip(sigmas.astype(np.float32).tolist(), timesteps.tolist(), strict=True)
        final = Level(1.0, final_sigma(schedule, self.final_sigmas_type), 0.0)
        return (*(Level(1.0, sigma, timestep) for sigma, timestep in visited), final)

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
