"""Heun's method on the probability-flow ODE.

T. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022,
algorithm 1. Follows diffusers' HeunDiscreteScheduler, which has no churn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtimes.samplers.k_levels import KSampler, k_levels, with_end, with_second_calls
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Positive
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import Level, NoiseSchedule, sigmas_to_timesteps


@dataclass(frozen=True)
class Heun(KSampler):
    """Heun, deterministic, two calls a step but for a last one to sigma 0.

    Attributes: those of `KSampler`, and
        clip_sample: whether the denoised estimate is clipped. Not right for latents.
        clip_sample_range: the largest magnitude clipping leaves.
    """

    clip_sample: bool = False
    clip_sample_range: Positive = 1.0
    calls_per_step: ClassVar[int] = 2
    REFERENCE: ClassVar[str] = "HeunDiscreteScheduler"
    OPTIONS: ClassVar[Options] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False, True),
        "use_beta_sigmas": (False, True),
        "clip_sample": (False, True),
        "clip_sample_range": 1.0,
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        # Not among the class's fields, but it reads what an Euler config leaves it.
        "sigma_min": None,
        "sigma_max": None,
        # The class overlooks the field, and would run such a model on another schedule.
        "rescale_betas_zero_snr": (False,),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: two calls a step but for one to sigma 0."""
        sigmas, timesteps = self.visited(schedule, num_inference_steps)
        timesteps = timesteps.astype(np.float32)
        ends = sigmas[1:][sigmas[1:] > 0]
        end = sigmas_to_timesteps(schedule, ends[-1:].astype(np.float32)).astype(np.float32)
        second = k_levels(ends, np.append(timesteps[1:], end)[: len(ends)])
        return with_second_calls(with_end(sigmas, timesteps), second)

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws no noise. `begin` is even: where a step starts."""
        total = len(levels) - 1
        for index in range(begin, total, 2):
            level, target = levels[index], levels[index + 1]
            denoised = self._clip(denoiser(x, level))
            start_x, start_slope = x, (x - denoised) / level.sigma
            step = target.sigma - level.sigma
            x = start_x + start_slope * step
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
            if index + 1 < total:
                denoised = self._clip(denoiser(x, target))
                slope = (start_slope + (x - denoised) / target.sigma) / 2
                x = start_x + slope * step
                x = replaced(x, (yield Step(index + 1, total, target, x, denoised)))
        return x

    def _clip(self, denoised: Latents) -> Latents:
        if not self.clip_sample:
            return denoised
        return np.clip(denoised, -self.clip_sample_range, self.clip_sample_range)
