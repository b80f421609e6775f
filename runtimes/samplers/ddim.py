"""DDIM: J. Song, C. Meng and S. Ermon, "Denoising Diffusion Implicit Models", 2021.

Follows diffusers' DDIMScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Offset, Positive, Share
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.samplers.strided import (
    after,
    final_level,
    given_levels,
    strided_levels,
    strided_timesteps,
)
from runtimes.samplers.thresholding import bounded
from runtimes.schedule import Level, NoiseSchedule, Spacing


@dataclass(frozen=True)
class DDIM:
    """DDIM, deterministic at eta 0, as DDPM at eta 1.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        set_alpha_to_one: whether the last step ends without noise, or at timestep 0's.
        clip_sample: whether the denoised estimate is clipped. Not right for latents, and
            diffusers' default all the same.
        clip_sample_range: the largest magnitude clipping leaves.
        thresholding: whether the denoised estimate is thresholded, in place of clipping. Not right
            for latents either.
        dynamic_thresholding_ratio: see `Thresholding`.
        sample_max_value: see `Thresholding`.
        eta: how much of the noise is drawn anew at each step, 0 to 1.
        timesteps: in place of the spaced ones, those of all steps, whole. The reference takes none;
            here each step ends at the next one, and the last where it always does.
    """

    timestep_spacing: Spacing = "leading"
    steps_offset: Offset = 0
    set_alpha_to_one: bool = True
    clip_sample: bool = True
    clip_sample_range: Positive = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Share = 0.995
    sample_max_value: Positive = 1.0
    eta: Share = 0.0
    timesteps: tuple[float, ...] | None = None
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "DDIMScheduler"
    OPTIONS: ClassVar[Options] = {
        "timestep_spacing": ("leading", "linspace", "trailing"),
        "steps_offset": 0,
        "set_alpha_to_one": (True, False),
        "clip_sample": (True, False),
        "clip_sample_range": 1.0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "thresholding": (False, True),
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls."""
        final = final_level(schedule, self.set_alpha_to_one)
        if self.timesteps is not None:
            return (*given_levels(schedule, self.timesteps, num_inference_steps, final), final)
        timesteps = strided_timesteps(
            schedule, num_inference_steps, self.timestep_spacing, self.steps_offset
        )
        stride = schedule.num_train_timesteps // num_inference_steps
        visited = strided_levels(schedule, timesteps.tolist(), stride, final)
        return (*visited, visited[-1].after)

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`: latents have unit variance at every level."""
        return 1.0

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`."""
        for index in range(begin, len(levels) - 1):
            level = levels[index]
            denoised = denoiser(x, level)
            x = self._step(x, denoised, level, after(levels, index), noise)
            x = replaced(x, (yield Step(index, len(levels) - 1, level, x, denoised)))
        return x

    def _step(
        self, x: Latents, denoised: Latents, level: Level, target: Level, noise: Noise
    ) -> Latents:
        """Equation 12, with the noise estimate from before clipping, as the reference has it."""
        eps = (x - level.alpha * denoised) / level.sigma
        fresh = self.eta * _ancestral_sigma(level, target)
        denoised = bounded(denoised, self)
        x = target.alpha * denoised + math.sqrt(target.sigma**2 - fresh**2) * eps
        return x + fresh * noise.randn(x.shape) if fresh > 0 else x


def _ancestral_sigma(level: Level, target: Level) -> float:
    """Equation 16 at eta 1: the noise that DDPM draws anew."""
    if target.sigma == 0:
        return 0.0
    share = 1 - (level.alpha / target.alpha) ** 2
    return target.sigma / level.sigma * math.sqrt(max(share, 0.0))
