"""DPM-Solver-2 as k-diffusion has it: the midpoint method in sigma, its midpoint in log(sigma).

After algorithm 2 of T. Karras et al., 2022, and DPM-Solver-2 of C. Lu et al., "DPM-Solver", 2022.
Follows diffusers' KDPM2DiscreteScheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtimes.samplers.k_levels import (
    KSampler,
    k_levels,
    log_midpoints,
    with_end,
    with_second_calls,
)
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import Float32s, Level, NoiseSchedule, sigmas_to_timesteps


@dataclass(frozen=True)
class DPM2(KSampler):
    """DPM2, deterministic, two calls a step but for a last one to sigma 0.

    Attributes: those of `KSampler`.
    """

    calls_per_step: ClassVar[int] = 2
    REFERENCE: ClassVar[str] = "KDPM2DiscreteScheduler"
    OPTIONS: ClassVar[Options] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False, True),
        "use_beta_sigmas": (False, True),
        "prediction_type": ("epsilon", "v_prediction"),
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        # Not among the class's fields, but it reads what an Euler config leaves it.
        "sigma_min": None,
        "sigma_max": None,
        # The class overlooks the field, and would run such a model on another schedule.
        "rescale_betas_zero_snr": (False,),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: two calls a step but for one to sigma 0.

        The reference rounds the timesteps of Karras sigmas, and none of the midpoints'.
        """
        sigmas, timesteps = self.visited(schedule, num_inference_steps)
        steps = with_end(sigmas, timesteps.round() if self.sigma_rule == "karras" else timesteps)
        middles = self._middles(sigmas[sigmas > 0].astype(np.float32))
        between = sigmas_to_timesteps(schedule, middles).astype(np.float32)
        return with_second_calls(steps, k_levels(middles, between))

    def _middles(self, sigmas: Float32s) -> Float32s:
        """The sigma of the second call of each step from one of the sigmas to the next."""
        return log_midpoints(sigmas[1:], sigmas[:-1])

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`. `begin` is even: where a step starts."""
        total = len(levels) - 1
        for index in range(begin, total, 2):
            level, middle = levels[index], levels[index + 1]
            denoised = denoiser(x, level)
            start_x = x
            x = start_x + (x - denoised) / level.sigma * (middle.sigma - level.sigma)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
            if index + 1 < total:
                denoised = denoiser(x, middle)
                slope = (x - denoised) / middle.sigma
                x = self._whole_step(start_x, slope, level, levels[index + 2], noise)
                x = replaced(x, (yield Step(index + 1, total, middle, x, denoised)))
        return x

    def _whole_step(
        self, x: Latents, slope: Latents, level: Level, target: Level, noise: Noise
    ) -> Latents:
        """From the step's start to its end by the slope at the midpoint; draws no noise."""
        return x + slope * (target.sigma - level.sigma)
