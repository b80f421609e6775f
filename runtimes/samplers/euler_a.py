"""Euler's method with ancestral noise: K. Crowson, k-diffusion, 2022.

Follows diffusers' EulerAncestralDiscreteScheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtimes.samplers.ancestral import ancestral
from runtimes.samplers.k_levels import KSampler, with_end
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import Level, NoiseSchedule


@dataclass(frozen=True)
class EulerAncestral(KSampler):
    """Euler ancestral, stochastic; attributes as of `KSampler`.

    The reference has no sigma rules; here they are Euler's.
    """

    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "EulerAncestralDiscreteScheduler"
    OPTIONS: ClassVar[Options] = {
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "prediction_type": ("epsilon", "v_prediction"),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls, at timesteps that may be fractions."""
        sigmas, timesteps = self.visited(schedule, num_inference_steps)
        return with_end(sigmas, timesteps.astype(np.float32))

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws noise at each step, as the reference also at the last."""
        for index in range(begin, len(levels) - 1):
            level, target = levels[index], levels[index + 1]
            denoised = denoiser(x, level)
            down, up = ancestral(level.sigma, target.sigma)
            slope = (x - denoised) / level.sigma
            x = x + slope * (down - level.sigma) + up * noise.randn(x.shape)
            x = replaced(x, (yield Step(index, len(levels) - 1, level, x, denoised)))
        return x
